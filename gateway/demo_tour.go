package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// tour is the demonstration: one list of steps.
func (d *demo) tour(ctx context.Context, cfg *config.Config) error {
	d.printf("mcmt2xmpp %s\n\n", version())
	for _, a := range d.app.Addresses() {
		d.printf("  %-10s %s\n", a.Title, a.URL)
	}
	d.printf("\n")
	roots, err := app.Certificate(cfg)
	if err != nil {
		return err
	}
	for _, name := range []string{"alice", "bob"} {
		if err := d.login(ctx, name, roots); err != nil {
			return err
		}
	}
	now := time.Now()
	message := func(to, text, xmpp, sms string) ([]byte, error) {
		return mcmt.Build(mcmt.Draft{From: "timetable@trains.example", To: []string{to}, Subject: "Your train", Text: text,
			XMPP: []byte(xmpp), SMS: sms, Date: now, MessageID: string(mcmt.NewID(now)) + "@trains.example"})
	}
	const states = `xmlns:cs="http://jabber.org/protocol/chatstates"`
	for _, s := range []struct {
		title, to, text, xmpp, sms string
		over                       func(context.Context, string, []byte) error
		want                       string // body that arrives; empty: filtered
	}{
		{"MCMT over SMTP, with an XMPP part", "alice@localhost", "Your train leaves from track 7.",
			`<message type="chat"><body>Track 7!</body></message>`, "Track 7", d.smtp, "Track 7!"},
		{"MCMT over HTTP, with an SMS part", "bob@localhost", "Your train is 5 minutes late.", "", "5 min late", d.http, "5 min late"},
		{"MCMT over HTTP, mail part only", "alice@localhost", "Your ticket is attached.", "", "", d.http, "Your ticket is attached."},
		{"a chat state alone: noise", "bob@localhost", "(typing)",
			`<message type="chat" ` + states + `><cs:composing/></message>`, "", d.smtp, ""},
		{"a chat state beside a body: passes", "bob@localhost", "Doors are closing.",
			`<message type="chat" ` + states + `><body>Doors are closing.</body><cs:active/></message>`, "", d.smtp, "Doors are closing."},
	} {
		raw, err := message(s.to, s.text, s.xmpp, s.sms)
		if err != nil {
			return err
		}
		d.printf("── %s, to %s\n", s.title, s.to)
		if err := d.step(ctx, s.to, raw, s.want, s.over); err != nil {
			d.printf("   FAILED: %v\n", err)
			return reportedError{err}
		}
		d.printf("\n")
	}
	d.printf("All steps succeeded.\n")
	return nil
}

// step injects one message and follows it to its end.
func (d *demo) step(ctx context.Context, to string, raw []byte, want string, over func(context.Context, string, []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	defer d.flush()
	d.begun = time.Now()
	if err := over(ctx, to, raw); err != nil {
		return err
	}
	p := progress{received: want == ""}
	for !p.stored || !p.ended || !p.received {
		select {
		case e := <-d.events:
			if err := d.event(&p, e, want); err != nil {
				return err
			}
		case st := <-d.clients[to].received:
			body := st.Element.Child(nameBody)
			if body == nil || strings.TrimSpace(body.Text()) != want {
				return fmt.Errorf("%s received something else: %s", to, st.Append(nil, ""))
			}
			d.received(d.clients[to], st)
			p.received = true
		case <-ctx.Done():
			return fmt.Errorf("no end after %s", demoPatience)
		}
	}
	return nil
}

// received notes what a client got.
func (d *demo) received(c *demoClient, st arrival) {
	text := ""
	if body := st.Element.Child(nameBody); body != nil {
		text = strings.TrimSpace(body.Text())
	}
	d.line(st.at, "received", fmt.Sprintf("by %s from %s: %q", c.client.JID(), st.From, text))
}

// progress of one message: what the gateway says, and what the client saw.
type progress struct{ stored, ended, received bool }

var nameBody = xmlwire.Name{Space: stream.NSClient, Local: "body"}

// event prints e and takes it into account. want is the body that should
// arrive, empty where the message should be filtered.
func (d *demo) event(p *progress, e trace.Event, want string) error {
	d.show(e)
	switch {
	case e.Stage == trace.Failed:
		return errors.New(e.Reason)
	case e.Stage == trace.Stored:
		p.stored = true // the broker may hand a message on before it answers us
	case e.Stage == trace.Delivered:
		p.ended = true
	case e.Stage == trace.Filtered && e.Verdict == "drop" && want != "":
		return fmt.Errorf("filtered: %s", e.Reason)
	case e.Stage == trace.Filtered && e.Verdict == "drop":
		p.ended = true
	}
	return nil
}

// show prints one event of the gateway.
func (d *demo) show(e trace.Event) {
	var words []string
	add := func(format, value string) {
		if value != "" {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	switch e.Stage {
	case trace.Accepted:
		add("on %s", e.Listener)
		add("from %s", e.From)
		words = append(words, fmt.Sprintf("%d bytes", e.Size))
	case trace.Stored:
		add("as %s", e.ID)
	case trace.Converted:
		add("from the %s part", e.Part)
		add("for %s", e.JID)
	case trace.Filtered:
		add("%s", e.Filter+": "+e.Verdict)
		add("(%s)", e.Reason)
	case trace.Delivered:
		add("to %s", e.JID)
		add("proven by %s", e.Proof)
	default:
		add("%s", e.Reason)
	}
	d.line(e.Time, string(e.Stage), strings.Join(words, " "))
}

func (d *demo) line(at time.Time, stage, text string) {
	d.lines = append(d.lines, demoLine{at, stage, text})
}

// flush prints what happened in the order in which it did: the client and the
// gateway tell of it each on its own.
func (d *demo) flush() {
	slices.SortStableFunc(d.lines, func(a, b demoLine) int { return a.at.Compare(b.at) })
	for _, l := range d.lines {
		d.printf("   %8.2f ms  %-10s %s\n", float64(l.at.Sub(d.begun).Microseconds())/1000, l.stage, l.text)
	}
	d.lines = nil
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }
