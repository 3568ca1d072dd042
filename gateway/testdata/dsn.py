"""Delivery status notifications, asked for by smtplib and read by email, of Python.

    dsn.py send HOST PORT FROM TO ENVID [NOTIFY]
    dsn.py read

"send" sends a mail and asks for what NOTIFY says; "read" prints what a mail on stdin is,
as a JSON object.
"""
import email
import email.policy
import json
import smtplib
import sys


def send(host, port, sender, to, envid, notify=None):
    with smtplib.SMTP(host, int(port), timeout=180) as smtp:
        smtp.ehlo()
        assert smtp.has_extn("dsn")
        text = "From: %s\r\nTo: %s\r\nSubject: Report, please\r\nMessage-ID: <%s@corp.example>\r\n\r\nHello!\r\n" % (sender, to, envid)
        options = ["ORCPT=rfc822;" + to] + (["NOTIFY=" + notify] if notify else [])
        refused = smtp.sendmail(sender, [to], text, mail_options=["RET=HDRS", "ENVID=" + envid], rcpt_options=options)
        assert not refused, refused


def read():
    m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
    defects = [str(d) for p in m.walk() for d in p.defects]
    parts = list(m.iter_parts())
    blocks = [dict(b.items()) for b in parts[1].get_payload()]
    returned = parts[2].get_payload(decode=True).decode()
    print(json.dumps({
        "type": m.get_content_type(), "report": m["Content-Type"].params.get("report-type"), "auto": m["Auto-Submitted"],
        "to": m["To"].addresses[0].addr_spec, "parts": [p.get_content_type() for p in parts], "defects": defects,
        "human": parts[0].get_content(), "message": blocks[0], "recipients": blocks[1:],
        "returned": email.message_from_string(returned)["Message-ID"],
    }))


{"send": send, "read": read}[sys.argv[1]](*sys.argv[2:])
