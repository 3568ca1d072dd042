package convert

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestMarks: what a mail is, the JID that it comes from says, and the stanza (XEP-0131).
func TestMarks(t *testing.T) {
	t.Parallel()
	const own = "m3.hash.c5h66@mail.jabber.example"
	for _, tt := range []struct{ name, reason, from, header, want string }{
		{"mail", "by a person", "a@x.example", "", `a\40x.example@mail.jabber.example`},
		{"said to be by a person", "RFC 3834 §5", "a@x.example", "Auto-Submitted: no\r\n", `a\40x.example@mail.jabber.example`},
		{"automatic", "its comment does not count", "a@x.example", "Auto-Submitted: Auto-Replied (vacation)\r\n", `a\40x.example@mail.jabber.example/automatic Auto-Submitted=auto-replied`},
		{"extension", "all but no is automatic", "a@x.example", "Auto-Submitted: x-robot; a=b\r\n", `a\40x.example@mail.jabber.example/automatic Auto-Submitted=auto-generated`},
		{"null path", "of reports; nobody can answer the gateway itself", "", "", `mail.jabber.example Auto-Submitted=auto-replied`},
		{"one of our users", "his JID is his own", "bob@jabber.example", "Auto-Submitted: auto-generated\r\n", `bob@jabber.example Auto-Submitted=auto-generated`},
		{"from a gateway", "counted there", "a@x.example", "Jabber-Gateway-Hops: 2\r\n", `a\40x.example@mail.jabber.example/hop-2 Jabber-Gateway-Hops=2`},
		{"answer to a mail of ours", "counted in the Message-ID", "a@x.example", "In-Reply-To: <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3 Jabber-Gateway-Hops=3`},
		{"answer to it in the references", "the highest counts", "a@x.example", "Jabber-Gateway-Hops: 1\r\nReferences: <a@b> <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3 Jabber-Gateway-Hops=3`},
		{"no number", "beyond all bounds", "a@x.example", "Jabber-Gateway-Hops: -1\r\n", `a\40x.example@mail.jabber.example/hop-20 Jabber-Gateway-Hops=20`},
		{"both", "the mark that sends nothing", "a@x.example", "Jabber-Gateway-Hops: 1\r\nPrecedence: junk\r\n", `a\40x.example@mail.jabber.example/automatic Jabber-Gateway-Hops=1 Auto-Submitted=auto-replied`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(parse(t, tt.header+"From: a@x.example\r\n\r\nhello\r\n"))
			in.From = tt.from
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Stanza.From.String()
			if e := r.Stanza.Element.Child(headers); e != nil {
				for h := range e.Elements() {
					got += " " + h.Attr("name") + "=" + h.Text()
				}
			}
			if got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.reason, got, tt.want)
			}
		})
	}
}

// hop is a mail on its way between two who answer by themselves.
type hop struct {
	raw      []byte
	from, to string
}

// robot is an account that answers each message, as programs do: to the JID that it came
// from, some in the same thread.
func robot(c *Converter, h hop, format MailFormat, thread, bare bool) (hop, error) {
	m, err := mcmt.Parse(h.raw, mcmt.Limits{})
	if err != nil {
		return hop{}, err
	}
	in, err := c.Convert(Input{ID: "q", From: h.from, To: h.to, Message: m, Received: received, Now: received})
	if err != nil {
		return hop{}, err
	}
	st := in.Stanza
	to := st.From
	if bare {
		to = to.Bare()
	}
	answer := stanza.NewMessage(to, st.To, stanza.TypeChat, "I am away")
	answer.ID = "a"
	if thread && threadOf(st) != "" {
		answer.Element.Add(xmlwire.New(stanza.Client, "thread").AddText(threadOf(st)))
	}
	addr, err := c.MailRecipient(to)
	if err != nil {
		return hop{}, err
	}
	from, err := c.AuthorAddress(st.To)
	if err != nil {
		return hop{}, err
	}
	res, err := c.Mail(MailInput{ID: "q", Stanzas: []*stanza.Stanza{answer}, From: from, To: addr, Accepted: received, Format: format})
	return hop{res.Raw, from, addr}, err
}

// TestLoopOfMail: a program that answers mail by itself and one that answers messages stop.
func TestLoopOfMail(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct {
		name, reason string
		header       string // of the answers
		refers       bool   // they say what they answer
		null         bool   // they come from the null path
		most         int    // mails from Jabber
	}{
		{"RFC 3834", "it says what it is", "Auto-Submitted: auto-replied (vacation)\r\n", true, false, 1},
		{"null path", "RFC 3834 §3.3", "", false, true, 1},
		{"vacation(1)", "older than the field", "Precedence: junk\r\n", false, false, 1},
		{"Exchange", "likewise", "X-Autoreply: yes\r\n", false, false, 1},
		{"says only what it answers", "the Message-ID counts", "", true, false, MaxHops},
	} {
		for _, thread := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/thread=%t", tt.name, thread), func(t *testing.T) {
				t.Parallel()
				h := hop{[]byte("From: alice@other.example\r\nMessage-ID: <1@other.example>\r\n\r\nhello\r\n"), "alice@other.example", "bob@jabber.example"}
				n := 0
				for ; n <= MaxHops; n++ {
					answer, err := robot(c, h, PlainMail, thread, false)
					if err != nil {
						t.Logf("after %d: %v", n, err)
						break
					}
					m, err := mcmt.Parse(answer.raw, mcmt.Limits{})
					if err != nil {
						t.Fatal(err)
					}
					header := "From: alice@other.example\r\n" + tt.header
					if tt.refers {
						header += "In-Reply-To: <" + m.Email.MessageID + ">\r\n"
					}
					h = hop{[]byte(header + "\r\nalso away\r\n"), "alice@other.example", answer.from}
					if tt.null {
						h.from = ""
					}
				}
				if n > tt.most {
					t.Errorf("%s: %d mails, want at most %d", tt.reason, n, tt.most)
				}
			})
		}
	}
}

// exchange lets two accounts, each behind a gateway, answer each other by robot, at most
// times mails, and returns how many there were and why there are no more.
func exchange(t *testing.T, most int, format MailFormat, thread, bare bool) (n int, err error) {
	t.Helper()
	at := []*Converter{newConverter(t, nil), newFar(t)}
	h := hop{[]byte("From: carol@far.example\r\n\r\nhello\r\n"), "carol@far.example", "bob@jabber.example"}
	for ; n < most; n++ {
		if h, err = robot(at[n%2], h, format, thread, bare); err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestLoopOfGateways: two programs in Jabber, each behind a gateway, stop; two people whose
// clients write to bare JIDs need not.
func TestLoopOfGateways(t *testing.T) {
	t.Parallel()
	for _, format := range []MailFormat{PlainMail, MCMTMail} {
		for _, thread := range []bool{true, false} {
			n, err := exchange(t, 2*MaxHops, format, thread, false)
			var loop *LoopError
			if n > MaxHops || !errors.As(err, &loop) {
				t.Errorf("programs: %d mails, %v", n, err)
			}
			if n, err := exchange(t, 3*MaxHops, format, thread, true); err != nil {
				t.Errorf("people: %d mails, %v", n, err)
			}
		}
	}
}

// TestForwardedLoop: a message that is forwarded between gateways as it is stops too.
func TestForwardedLoop(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	raw, from := []byte("From: alice@other.example\r\n\r\nhello\r\n"), "alice@other.example"
	for n := 0; ; n++ {
		m, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := c.Convert(Input{ID: "q", From: from, To: "bob@jabber.example", Message: m, Received: received, Now: received.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		in.Stanza.To, in.Stanza.From = jid.MustParse(`alice\40other.example@mail.jabber.example`), jid.MustParse("bob@jabber.example")
		res, err := c.Mail(mailInput(in.Stanza))
		var loop *LoopError
		if errors.As(err, &loop) {
			if n != MaxHops {
				t.Errorf("after %d", n)
			}
			return
		}
		if err != nil || n > MaxHops {
			t.Fatal(n, err)
		}
		raw = res.Raw
	}
}
