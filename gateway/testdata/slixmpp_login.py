"""Logs in by SASL mechanisms, with slixmpp.

    slixmpp_login.py HOST PORT PASSWORD CERTIFICATE JID=MECHANISM...

Logs in over STARTTLS as each JID by its mechanism: with TLS 1.2 for those that bind to
it, as slixmpp knows no binding of TLS 1.3, and with the certificate and key of that file
for EXTERNAL. SCRAM without a binding follows a try with one: slixmpp says then that it has
one, and a server that offered some must refuse that (RFC 5802 §6), unless it has seen the
try. Prints a line of JSON for each and ends by itself.
"""
import asyncio
import json
import logging
import ssl
import sys

import slixmpp

host, port, password, certificate = sys.argv[1:5]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def say(**event):
    print(json.dumps(event), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, mechanism):
        super().__init__(jid, password)
        self.mechanism = mechanism
        self["feature_mechanisms"].use_mechs = {mechanism, mechanism + "-PLUS"}
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("failed_all_auth", lambda _: say(event="failed_auth", body=mechanism))

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.mechanism.endswith("-PLUS"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if self.mechanism == "EXTERNAL":
            context.load_cert_chain(certificate)
        return context

    def started(self, _):
        say(event="online", jid=self.boundjid.bare, mechanism=self["feature_mechanisms"].mech.name)
        self.disconnect(wait=1.0)


async def scenario():
    clients = [Client(*arg.split("=")) for arg in sys.argv[5:]]
    for client in clients:
        client.connect(address=(host, int(port)), force_starttls=True)
    await asyncio.gather(*(client.disconnected for client in clients))


asyncio.get_event_loop().run_until_complete(asyncio.wait_for(scenario(), 120))
