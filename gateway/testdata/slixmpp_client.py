"""A Jabber client for the tests, by slixmpp.

    slixmpp_client.py HOST PORT JID PASSWORD MECHANISM [--managed] [TO TEXT]

Logs in over STARTTLS with one SASL mechanism, or of its own choice where that is
empty, prints a line of JSON for each
event, and sends TEXT to TO when they are given. It ends when its stdin does.

With --managed it enables stream management (XEP-0198). The line "cut" on stdin loses
its connection, "connect" makes a new one.
"""
import asyncio
import json
import logging
import ssl
import sys

import slixmpp

managed = "--managed" in sys.argv
if managed:
    sys.argv.remove("--managed")
host, port, jid, password, mechanism = sys.argv[1:6]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def say(**event):
    print(json.dumps(event), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech=mechanism or None)
        for plugin in ("xep_0030", "xep_0092", "xep_0199", "xep_0203", "xep_0359"):
            self.register_plugin(plugin)
        if managed:
            self.register_plugin("xep_0198")
            self.add_event_handler("sm_enabled", lambda e: say(event="enabled", id=e["id"]))
            self.add_event_handler("session_resumed", lambda _: say(event="resumed"))
            self.add_event_handler("sm_failed", lambda _: say(event="sm_failed"))
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("message", self.message)
        self.add_event_handler("failed_all_auth", lambda _: say(event="failed_auth"))
        self.add_event_handler("disconnected", lambda _: say(event="disconnected"))

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def started(self, _):
        self.send_presence()
        roster = await self.get_roster()
        info = await self["xep_0030"].get_info(jid=self.boundjid.domain)
        await self["xep_0199"].ping(self.boundjid.domain, timeout=10)
        say(event="online", jid=self.boundjid.full, mechanism=self["feature_mechanisms"].mech.name, items=len(roster["roster"]["items"]),
            features=sorted(info["disco_info"]["features"]))
        if len(sys.argv) > 7:
            self.send_message(mto=sys.argv[6], mbody=sys.argv[7], mtype="chat")
            say(event="sent")

    def reach(self):
        self.connect(address=(host, int(port)), force_starttls=True)

    def message(self, msg):
        delay = msg.xml.find("{urn:xmpp:delay}delay")
        say(event="message", id=msg["id"], type=msg["type"], body=msg["body"], subject=msg["subject"],
            thread=msg["thread"], delayed=delay is not None, **{"from": msg["from"].full})


async def stdin_closed():
    loop = asyncio.get_event_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"cut\n":
            client.transport.abort()
        elif line == b"connect\n":
            client.reach()


client = Client()
client.reach()
client.loop.run_until_complete(stdin_closed())
client.disconnect(wait=1.0)
client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 5))
