package convert

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	at := "-" + strconv.FormatInt(received.Unix(), 36)
	for _, tt := range []struct{ name, reason, from, header, want string }{
		{"mail", "by a person", "a@x.example", "", `a\40x.example@mail.jabber.example`},
		{"said to be by a person", "RFC 3834 §5", "a@x.example", "Auto-Submitted: no\r\n", `a\40x.example@mail.jabber.example`},
		{"automatic", "its comment does not count", "a@x.example", "Auto-Submitted: Auto-Replied (vacation)\r\n", `a\40x.example@mail.jabber.example/automatic-0` + at + ` Auto-Submitted=auto-replied`},
		{"extension", "all but no is automatic", "a@x.example", "Auto-Submitted: x-robot; a=b\r\n", `a\40x.example@mail.jabber.example/automatic-0` + at + ` Auto-Submitted=auto-generated`},
		{"null path", "of reports; nobody can answer the gateway itself", "", "", `mail.jabber.example Auto-Submitted=auto-replied`},
		{"one of our users", "his JID is his own", "bob@jabber.example", "Auto-Submitted: auto-generated\r\n", `bob@jabber.example Auto-Submitted=auto-generated`},
		{"from a gateway", "counted there", "a@x.example", "Jabber-Gateway-Hops: 2\r\n", `a\40x.example@mail.jabber.example/hop-2` + at + ` Jabber-Gateway-Hops=2`},
		{"answer to a mail of ours", "counted in the Message-ID", "a@x.example", "In-Reply-To: <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3` + at + ` Jabber-Gateway-Hops=3`},
		{"answer to it in the references", "the highest counts", "a@x.example", "Jabber-Gateway-Hops: 1\r\nReferences: <a@b> <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3` + at + ` Jabber-Gateway-Hops=3`},
		{"no number", "beyond all bounds", "a@x.example", "Jabber-Gateway-Hops: -1\r\n", `a\40x.example@mail.jabber.example/hop-200` + at + ` Jabber-Gateway-Hops=200`},
		{"both", "the mark that sends nothing", "a@x.example", "Jabber-Gateway-Hops: 1\r\nPrecedence: junk\r\n", `a\40x.example@mail.jabber.example/automatic-1` + at + ` Jabber-Gateway-Hops=1 Auto-Submitted=auto-replied`},
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

// answering is how an account answers messages.
type answering struct {
	thread bool          // in the same thread
	bare   bool          // to the bare JID, not to the one that the message came from
	after  time.Duration // so long after the mail was accepted
}

// answer answers a mail by a message.
func answer(c *Converter, h hop, format MailFormat, how answering) (hop, error) {
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
	if how.bare {
		to = to.Bare()
	}
	answer := stanza.NewMessage(to, st.To, stanza.TypeChat, "I am away")
	answer.ID = "a"
	if how.thread && threadOf(st) != "" {
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
	res, err := c.Mail(MailInput{ID: "q", Stanzas: []*stanza.Stanza{answer}, From: from, To: addr, Accepted: received.Add(how.after), Format: format})
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
					sent, err := answer(c, h, PlainMail, answering{thread: thread})
					if err != nil {
						t.Logf("after %d: %v", n, err)
						break
					}
					m, err := mcmt.Parse(sent.raw, mcmt.Limits{})
					if err != nil {
						t.Fatal(err)
					}
					header := "From: alice@other.example\r\n" + tt.header
					if tt.refers {
						header += "In-Reply-To: <" + m.Email.MessageID + ">\r\n"
					}
					h = hop{[]byte(header + "\r\nalso away\r\n"), "alice@other.example", sent.from}
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

// exchange lets two accounts, each behind a gateway, answer each other, at most so many
// times, and returns how many mails there were and why there are no more.
func exchange(t *testing.T, most int, format MailFormat, how answering) (n int, err error) {
	t.Helper()
	at := []*Converter{newConverter(t, nil), newFar(t)}
	h := hop{[]byte("From: carol@far.example\r\n\r\nhello\r\n"), "carol@far.example", "bob@jabber.example"}
	for ; n < most; n++ {
		if h, err = answer(at[n%2], h, format, how); err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestLoopOfGateways: two programs in Jabber, each behind a gateway, stop, sooner where they
// are quick; two people need not, and certainly not those whose clients write to bare JIDs.
func TestLoopOfGateways(t *testing.T) {
	t.Parallel()
	for _, format := range []MailFormat{PlainMail, MCMTMail} {
		for _, thread := range []bool{true, false} {
			for _, tt := range []struct {
				name string
				how  answering
				most int // mails; zero: as many as they like
			}{
				{"programs", answering{thread: thread, after: quick - 1}, MaxHops},
				{"people", answering{thread: thread, after: quick}, MaxSlowHops},
				{"people with bare JIDs", answering{thread: thread, bare: true}, 0},
			} {
				n, err := exchange(t, MaxSlowHops+10, format, tt.how)
				var loop *LoopError
				if tt.most > 0 && (n != tt.most || !errors.As(err, &loop)) || tt.most == 0 && err != nil {
					t.Errorf("%s: %d mails, %v", tt.name, n, err)
				}
			}
		}
	}
}

// TestAnswerToAutomatic: a person may answer an automatic mail, and the count goes on.
func TestAnswerToAutomatic(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	h := hop{[]byte("From: alice@other.example\r\nAuto-Submitted: auto-replied\r\nIn-Reply-To: <m5.x@mail.jabber.example>\r\n\r\nI am away\r\n"), "alice@other.example", "bob@jabber.example"}
	var loop *LoopError
	if _, err := answer(c, h, PlainMail, answering{after: quick - 1}); !errors.As(err, &loop) {
		t.Errorf("an answer as quick as a program's: %v", err)
	}
	sent, err := answer(c, h, PlainMail, answering{after: quick})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(sent.raw), hopsField+": 6\r\n") {
		t.Errorf("the count does not go on: %s", sent.raw)
	}
}

// TestAnswered: the resources that the gateway gives, those of older versions, and others.
func TestAnswered(t *testing.T) {
	t.Parallel()
	then := time.Unix(received.Unix(), 0)
	for _, tt := range []struct {
		resource string
		want     answered
	}{
		{answered{true, 7, received}.resource(), answered{true, 7, then}},
		{answered{false, 0, received}.resource(), answered{false, 0, then}},
		{"automatic", answered{automatic: true}},
		{"hop-3", answered{hops: 3}},
		{"hop-x", answered{hops: MaxSlowHops}},
		{"hop-3-???", answered{hops: 3}},
		{"hopper", answered{}},
		{"automatically-3", answered{}},
		{"", answered{}},
	} {
		if got := answeredBy(tt.resource); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.resource, got, tt.want)
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
