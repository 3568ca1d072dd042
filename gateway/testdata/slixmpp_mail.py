"""A Jabber user who writes to mail addresses, by slixmpp.

    slixmpp_mail.py HOST PORT JID PASSWORD [--managed] [--clear] [--bot]

Logs in over STARTTLS, or in clear text with --clear, prints a line of JSON for each
message and error that comes, and does what the lines of its stdin say, each a JSON
object with "do" and what that needs: "type" has texts typed to somebody, as a client
does it for a person who makes breaks, corrects himself and looks elsewhere, and "reply"
answers the last message. With --managed it enables stream management (XEP-0198), with
--bot it answers every message. It ends when its stdin does.
"""
import asyncio
import json
import logging
import ssl
import sys

import slixmpp

host, port, jid, password = sys.argv[1:5]
managed, clear, bot = ("--" + o in sys.argv for o in ("managed", "clear", "bot"))
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def say(**event):
    print(json.dumps(event), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password)
        for plugin in ("xep_0030", "xep_0085", "xep_0115", "xep_0184", "xep_0199", "xep_0308", "xep_0333", "xep_0359"):
            self.register_plugin(plugin)
        self["xep_0184"].auto_request = True
        if managed:
            self.register_plugin("xep_0198")
        self.last = None
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("message", self.message)
        self.add_event_handler("message_error", self.refused)
        self.add_event_handler("failed_all_auth", lambda _: say(event="failed_auth"))

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def started(self, _):
        await self.get_roster()
        self.send_presence()
        await self["xep_0199"].ping(self.boundjid.bare, timeout=60)
        say(event="online", jid=self.boundjid.full)

    def message(self, msg):
        self.last = msg
        say(event="message", id=msg["id"], type=msg["type"], body=msg["body"], subject=msg["subject"], thread=msg["thread"],
            **{"from": msg["from"].full})
        if bot and msg["body"]:
            msg.reply("I am away. You wrote: " + msg["body"][:40]).send()

    def refused(self, msg):
        say(event="refused", body="%s: %s" % (msg["error"]["condition"], msg["error"]["text"]), **{"from": msg["from"].full})

    def states(self, to, *names):
        for name in names:
            msg = self.make_message(mto=to, mtype="chat")
            msg["chat_state"] = name
            msg.send()

    def text(self, to, body, replaces=None):
        msg = self.make_message(mto=to, mbody=body, mtype="chat")
        msg["chat_state"] = "active"
        msg.enable("markable")
        if replaces:
            msg["replace"]["id"] = replaces
        msg.send()
        return msg["id"]

    def do_type(self, to, texts):
        for i, text in enumerate(texts):
            self.states(to, "composing", "paused", "composing")
            written = self.text(to, text)
            self["xep_0333"].send_marker(to, written, ("received", "displayed", "acknowledged")[i % 3])
            receipt = self.make_message(mto=to, mtype="chat")
            receipt["receipt"] = written
            receipt.send()
            self.make_message(mto=to, mbody="", mtype="chat").send()
            self.make_message(mto=to, mbody=" \n\t", mtype="chat").send()
            self.states(to, "composing", "active")
            self.text(to, text + ", corrected", replaces=written)
            self.states(to, "inactive", "gone")

    def do_reply(self, body):
        self.states(self.last["from"], "composing")
        self.last.reply(body).send()


async def commands():
    reader = asyncio.StreamReader()
    await client.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        what = json.loads(line)
        getattr(client, "do_" + what.pop("do"))(**what)


client = Client()
client.connect(address=(host, int(port)), force_starttls=not clear, disable_starttls=clear)
client.loop.run_until_complete(commands())
client.disconnect(wait=1.0)
client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 5))
