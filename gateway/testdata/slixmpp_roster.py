"""A Jabber client for the tests of rosters, by slixmpp.

    slixmpp_roster.py HOST PORT JID PASSWORD

Logs in over STARTTLS and prints a line of JSON for each presence, change of the
roster and subscription stanza. It does what the lines of its stdin say, each a JSON
object with "do" and what that needs, and approves and answers every request, as
slixmpp does by itself. It ends when its stdin does.
"""
import asyncio
import json
import logging
import ssl
import sys

import slixmpp

host, port, jid, password = sys.argv[1:5]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def say(**event):
    print(json.dumps(event), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password)
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("roster_update", self.roster_update)
        self.add_event_handler("failed_all_auth", lambda _: say(event="failed_auth"))
        for kind in ("available", "away", "chat", "dnd", "xa", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed"):
            self.add_event_handler("presence_" + kind, self.presence)

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def started(self, _):
        await self.get_roster()
        self.send_presence()
        say(event="online", jid=self.boundjid.full, features=sorted(self.features))

    def presence(self, p):
        if p["from"].bare != self.boundjid.bare:
            say(event=p["type"] if p["type"] in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "unavailable") else "available",
                show=p["show"], status=p["status"], **{"from": p["from"].full})

    def roster_update(self, iq):
        for contact, item in iq["roster"]["items"].items():
            say(event="roster", jid=contact.full, subscription=item["subscription"], ask=item["ask"], name=item["name"], groups=item["groups"])

    def do(self, do, **what):
        if do == "subscribe":
            self.send_presence_subscription(pto=what["jid"], ptype="subscribe")
        elif do == "rename":
            self.update_roster(what["jid"], name=what["name"], groups=what["groups"])
        elif do == "remove":
            self.del_roster_item(what["jid"])
        elif do == "presence":
            self.send_presence(pshow=what["show"])


async def commands():
    loop = asyncio.get_event_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        client.do(**json.loads(line))


client = Client()
client.connect(address=(host, int(port)), force_starttls=True)
client.loop.run_until_complete(commands())
client.disconnect(wait=1.0)
client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 5))
