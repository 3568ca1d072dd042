# A mail server with TLS and a login, by aiosmtpd. It prints its port, then a line of
# JSON for each message, and ends with its input.
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, exclude = sys.argv[1], sys.argv[2:]


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"us" and data.password == b"hunter2"
    return AuthResult(success=good, handled=False, auth_data=[mechanism, data.login.decode()])


class Handler:
    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "content": envelope.content.decode(),
            "hello": session.host_name, "auth": session.auth_data, "tls": session.ssl is not None,
        }), flush=True)
        return "250 2.0.0 taken"


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(
        Handler(), hostname="localhost", tls_context=context, require_starttls=True, enable_SMTPUTF8=True,
        authenticator=authenticate, auth_required=True, auth_exclude_mechanism=exclude,
    ), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
