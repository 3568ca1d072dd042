"""A gateway to mail and mobile, tried by slixmpp.

    slixmpp_gateway.py HOST PORT

Logs in as alice@localhost over STARTTLS with the password "secret", finds the gateway,
registers, adds a mail address and a phone number by what it types, asks them what can
be asked, writes, unregisters, and prints a line of JSON for each step with what came of
it. It ends by itself.
"""
import asyncio
import json
import logging
import ssl
import sys
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError

host, port = sys.argv[1:3]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
GATEWAY = "{jabber:iq:gateway}"
TIME = "{urn:xmpp:time}"
CAPS = "{http://jabber.org/protocol/caps}c"


def step(name, result):
    print(json.dumps({"event": "step", "name": name, "body": str(result)}), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid):
        super().__init__(jid, "secret")
        for plugin in ("xep_0030", "xep_0054", "xep_0077", "xep_0085", "xep_0092", "xep_0199", "xep_0202"):
            self.register_plugin(plugin)
        self.roster.auto_authorize = True  # approves, and asks in return (XEP-0100 §4.1.1)
        self.roster.auto_subscribe = True
        self.presences = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.add_event_handler("presence", self.seen)
        self.add_event_handler("message_error", self.errors.put_nowait)

    def seen(self, presence):
        if presence["from"].bare != self.boundjid.bare:
            self.presences.put_nowait(presence)

    def get_ssl_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def presence_of(self, jid, kind):
        while True:
            p = await asyncio.wait_for(self.presences.get(), 30)
            if p["from"] == jid and p["type"] == kind:
                return p

    async def jid_of(self, gateway, text):
        iq = self.make_iq_set(ito=gateway)
        query = ET.Element(GATEWAY + "query")
        ET.SubElement(query, GATEWAY + "prompt").text = text
        iq.append(query)
        return (await iq.send()).xml.find(GATEWAY + "query").find(GATEWAY + "jid").text

    def subscription(self, jid):
        """The one that the pushes have told of: they come before the presence."""
        return self.client_roster[jid]["subscription"] if jid in self.client_roster else "none"


async def scenario():
    alice = Client("alice@localhost/x")
    bound = asyncio.get_event_loop().create_future()
    alice.add_event_handler("session_start", lambda _: bound.done() or bound.set_result(None))
    alice.connect(address=(host, int(port)), force_starttls=True)
    await asyncio.wait_for(bound, 30)
    await alice.get_roster()
    alice.send_presence()

    items = (await alice["xep_0030"].get_items("localhost"))["disco_items"]["items"]
    gateway = [item[0] for item in items if item[0] != "localhost"][0]  # itself, for uploads
    info = (await alice["xep_0030"].get_info(gateway))["disco_info"]
    step("found", "%s %s" % (gateway, sorted("/".join(i[:2]) for i in info["identities"])))
    step("features", all(f in info["features"] for f in ("jabber:iq:register", "jabber:iq:gateway", "jid\\20escaping")))

    form = (await alice["xep_0077"].get_registration(jid=gateway))["register"]
    step("asked for", "registered %s, fields %s" % (bool(form["registered"]), sorted(form["fields"])))
    iq = alice.make_iq_set(ito=gateway)
    iq["register"].set_fields([])
    await iq.send()
    await alice.presence_of(gateway, "subscribed")
    p = await alice.presence_of(gateway, "available")
    step("registered", bool((await alice["xep_0077"].get_registration(jid=gateway))["register"]["registered"]))
    step("capabilities", p.xml.find(CAPS).get("hash"))
    step("roster", alice.subscription(gateway))

    iq = alice.make_iq_get(ito=gateway)
    iq.append(ET.Element(GATEWAY + "query"))
    step("prompt", (await iq.send()).xml.find(GATEWAY + "query").find(GATEWAY + "desc").text)
    for what in ("Bob <bob@corp.example>", "0151 234567"):
        try:
            step("refused", await alice.jid_of(gateway, what))
        except IqError as e:
            step("refused", "%s: %s" % (e.condition, e.text))
    for what in ("bob@corp.example", "+49 151 234567"):
        contact = await alice.jid_of(gateway, what)
        step("JID", contact)
        alice.send_presence_subscription(pto=contact)
        await alice.presence_of(contact, "subscribed")
        await alice.presence_of(contact, "available")
        step("contact", alice.subscription(contact))
        identities = (await alice["xep_0030"].get_info(contact))["disco_info"]["identities"]
        step("identity", ["/".join(i[:2]) for i in identities])
        card = (await alice["xep_0054"].get_vcard(contact, cached=False))["vcard_temp"]
        step("vCard", "%s, %s, %s" % (card["FN"], [e["USERID"] for e in card["emails"]], [t["NUMBER"] for t in card["telephone_numbers"]]))
        step("version", (await alice["xep_0092"].get_version(contact))["software_version"]["name"])
        # COMPAT slixmpp 1.8: it adds a second Z to the time before it reads it.
        answer = await alice["xep_0202"].get_entity_time(contact)
        step("time", answer.xml.find(TIME + "time").find(TIME + "utc").text.endswith("Z"))
        await alice["xep_0199"].ping(contact, timeout=30)
        state = alice.make_message(mto=contact, mtype="chat")
        state["chat_state"] = "composing"
        state.send()
        alice.send_message(mto=contact, mbody="hello", mtype="chat")
        await alice["xep_0199"].ping("localhost", timeout=30)  # what it says to the message comes before the answer
        if alice.errors.empty():
            step("message", "taken")
        else:
            e = alice.errors.get_nowait()
            step("message", "%s %s: %s" % (e["from"], e["error"]["condition"], e["error"]["text"]))
    step("further errors", alice.errors.qsize())

    iq = alice.make_iq_set(ito=gateway)
    iq["register"]["remove"] = True
    await iq.send()
    await alice.presence_of(gateway, "unsubscribed")
    await alice.presence_of(gateway, "unavailable")
    step("unregistered", alice.subscription(gateway))
    contact = "+49151234567@" + gateway
    alice.del_roster_item(contact)
    await alice.presence_of(contact, "unavailable")
    step("deleted", alice.subscription(contact))
    alice.disconnect(wait=1.0)
    await asyncio.wait_for(alice.disconnected, 5)
    step("end", "")


asyncio.get_event_loop().run_until_complete(asyncio.wait_for(scenario(), 120))
