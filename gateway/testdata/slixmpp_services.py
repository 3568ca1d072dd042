"""What a server keeps for its accounts, tried by slixmpp.

    slixmpp_services.py HOST PORT

Logs in as alice@localhost, twice, and as bob@localhost, over STARTTLS with the password
"secret", goes through carbons, blocking, the archive, vCards, private XML and an upload,
and prints a line of JSON for each step with what came of it. It ends by itself.
"""
import asyncio
import hashlib
import json
import logging
import ssl
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0048 import Bookmarks

host, port = sys.argv[1:3]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
UPLOAD = "{urn:xmpp:http:upload:0}"


def step(name, result):
    print(json.dumps({"event": "step", "name": name, "body": str(result)}), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid):
        super().__init__(jid, "secret")
        for plugin in ("xep_0030", "xep_0048", "xep_0049", "xep_0054", "xep_0059", "xep_0153", "xep_0191", "xep_0199", "xep_0203",
                       "xep_0280", "xep_0297", "xep_0313", "xep_0359"):
            self.register_plugin(plugin)
        self.seen = asyncio.Queue()
        self.add_event_handler("message", lambda m: m["body"] and self.seen.put_nowait(("message", m)))
        self.add_event_handler("message_error", lambda m: self.seen.put_nowait(("error", m)))
        self.add_event_handler("carbon_received", lambda m: self.seen.put_nowait(("received", m["carbon_received"])))
        self.add_event_handler("carbon_sent", lambda m: self.seen.put_nowait(("sent", m["carbon_sent"])))
        self.add_event_handler("blocked", lambda iq: self.seen.put_nowait(("blocked", sorted(str(j) for j in iq["block"]["items"]))))

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def enter(self, presence=True):
        bound = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", lambda _: bound.done() or bound.set_result(None))
        self.connect(address=(host, int(port)), force_starttls=True)
        await asyncio.wait_for(bound, 30)
        if presence:
            self.send_presence()
            await self["xep_0199"].ping(self.boundjid.domain, timeout=10)

    async def next(self, want):
        kind, what = await asyncio.wait_for(self.seen.get(), 30)
        if kind != want:
            raise Exception("%s gets %s %s, not %s" % (self.boundjid, kind, what, want))
        return what


async def scenario():
    bob = Client("bob@localhost/x")
    await bob.enter()
    m = await bob.next("message")
    step("offline", m["body"] + (" delayed" if m["delay"].xml.attrib else ""))

    desk, phone = Client("alice@localhost/desk"), Client("alice@localhost/phone")
    await desk.enter()
    await phone.enter(presence=False)
    await phone["xep_0280"].enable()
    desk.send_message(mto="bob@localhost", mbody="from the desk", mtype="chat")
    m = await bob.next("message")
    step("message", m["body"])
    copy = await phone.next("sent")
    step("carbon sent", copy["body"])
    bob.send_message(mto="alice@localhost/desk", mbody="to the desk", mtype="chat")
    step("answer", (await desk.next("message"))["body"])
    step("carbon received", (await phone.next("received"))["body"])

    bodies = []
    async for page in bob["xep_0313"].retrieve(with_jid="alice@localhost", iterator=True, rsm={"max": 1}):
        for result in page["mam"]["results"]:
            bodies.append(result["mam_result"]["forwarded"]["stanza"]["body"])
    step("archive", ", ".join(bodies))
    bodies = []
    async for page in bob["xep_0313"].retrieve(iterator=True, reverse=True, rsm={"max": 2}):
        bodies.append(" ".join(result["mam_result"]["forwarded"]["stanza"]["body"] for result in page["mam"]["results"]))
    step("archive, from its end", ", ".join(bodies))

    await phone["xep_0191"].get_blocked()
    await desk["xep_0191"].block(["bob@localhost"])
    step("block pushed", await phone.next("blocked"))
    bob.send_message(mto="alice@localhost", mbody="do you hear me?", mtype="chat")
    step("blocked", (await bob.next("error"))["error"]["condition"])
    listed = await desk["xep_0191"].get_blocked()
    step("block list", sorted(str(j) for j in listed["blocklist"]["items"]))
    await desk["xep_0191"].unblock(["bob@localhost"])
    bob.send_message(mto="alice@localhost", mbody="and now?", mtype="chat")
    step("unblocked", (await desk.next("message"))["body"])

    card = desk["xep_0054"].make_vcard()
    card["FN"] = "Alice"
    card["PHOTO"]["TYPE"] = "image/png"
    card["PHOTO"]["BINVAL"] = b"image"
    await desk["xep_0054"].publish_vcard(card)
    seen = await bob["xep_0054"].get_vcard("alice@localhost", cached=False)
    step("vCard", seen["vcard_temp"]["FN"] + " " + hashlib.sha1(seen["vcard_temp"]["PHOTO"]["BINVAL"]).hexdigest())

    marks = Bookmarks()
    marks.add_conference("room@muc.example", "alice", autojoin=True)
    await desk["xep_0049"].store(marks)
    kept = await phone["xep_0049"].retrieve("bookmarks")
    step("private XML", [c["jid"] for c in kept["private"]["bookmarks"]["conferences"]])

    iq = bob.make_iq_get(ito="localhost")
    iq.append(ET.Element(UPLOAD + "request", {"filename": "a b.txt", "size": "5", "content-type": "text/plain"}))
    slot = (await iq.send()).xml.find(UPLOAD + "slot")
    put = slot.find(UPLOAD + "put")
    headers = {h.get("name"): h.text for h in put.findall(UPLOAD + "header")}
    headers["Content-Type"] = "text/plain"
    request = urllib.request.Request(put.get("url"), data=b"12345", headers=headers, method="PUT")
    loop = asyncio.get_event_loop()
    status = (await loop.run_in_executor(None, urllib.request.urlopen, request)).status
    got = await loop.run_in_executor(None, urllib.request.urlopen, slot.find(UPLOAD + "get").get("url"))
    step("upload", "%d %s %s" % (status, got.read().decode(), got.headers["Content-Disposition"]))

    for client in (bob, desk, phone):
        client.disconnect(wait=1.0)
        await asyncio.wait_for(client.disconnected, 5)
    step("end", "")


asyncio.get_event_loop().run_until_complete(asyncio.wait_for(scenario(), 120))
