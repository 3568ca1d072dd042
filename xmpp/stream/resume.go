package stream

import (
	"context"
	"fmt"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// clientManagement is what a Client knows of stream management (XEP-0198).
type clientManagement struct {
	managed bool
	resumed bool
	id      string // SM-ID; empty: the stream cannot be resumed
	handled uint32
	early   []*xmlwire.Element // came while <enabled/> was awaited
}

// requestResume is Management seen from the initiating entity.
type requestResume struct {
	old      *Client // whose stream to resume; nil: none
	managing Managing
	offered  bool // the server offers stream management
	clientManagement
}

// Initiate asks for the former stream. The server's refusal leaves binding (§5).
func (f *requestResume) Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error) {
	f.offered = list.Child(xmlwire.Name{Space: NSManagement, Local: "sm"}) != nil
	if !f.offered || f.old == nil || f.old.sm.id == "" {
		return Continue, nil
	}
	req := Ack(f.old.sm.handled)
	req.Name.Local = "resume"
	req.SetAttr("previd", f.old.sm.id)
	if err := s.Send(ctx, req); err != nil {
		return 0, fmt.Errorf("resume: %w", err)
	}
	answer, err := s.Receive(ctx, s.expires())
	switch {
	case err != nil:
		return 0, lost("resume", err)
	case answer.Name == xmlwire.Name{Space: NSManagement, Local: "failed"}:
		if h, err := ParseCount(answer); err == nil {
			f.old.s.out.Suspend().received(h) // §5: what need not be given back
		}
		return Continue, nil
	case answer.Name != xmlwire.Name{Space: NSManagement, Local: "resumed"}:
		return 0, &Error{UnsupportedStanzaType, "expected the answer to resume"}
	}
	h, err := ParseCount(answer)
	if err != nil {
		return 0, err
	}
	old := f.old.s
	// The old writer may not know yet that its connection is dead.
	if err := s.out.resume(old.out.Suspend(), h, nil, f.managing); err != nil {
		return 0, fmt.Errorf("resume: %w", err)
	}
	s.bound, f.clientManagement = old.bound, f.old.sm
	f.resumed, f.early = true, nil
	return Done, nil
}

// enable asks for stream management and waits for the answer.
func (c *Client) enable(ctx context.Context, o Managing) error {
	req := xmlwire.New(NSManagement, "enable", "resume", "true")
	if err := c.s.out.Manage(ctx, req, o); err != nil {
		return fmt.Errorf("enable stream management: %w", err)
	}
	for {
		e, err := c.s.Receive(ctx, c.s.expires())
		switch {
		case err != nil:
			return lost("enable stream management", err)
		case e.Name == xmlwire.Name{Space: NSManagement, Local: "enabled"}:
			c.sm.managed = true
			if r := e.Attr("resume"); r == "true" || r == "1" {
				c.sm.id = e.Attr("id")
			}
			return nil
		case !stanza.Is(e.Name):
			return &Error{UnsupportedStanzaType, "expected the answer to enable"}
		}
		c.sm.early = append(c.sm.early, e)
	}
}

// manage takes an element of stream management from the server.
func (c *Client) manage(ctx context.Context, e *xmlwire.Element) error {
	switch e.Name.Local {
	case "r":
		return c.s.Send(ctx, Ack(c.sm.handled))
	case "a":
		h, err := ParseCount(e)
		if err != nil {
			return err
		}
		return c.s.out.Acknowledge(h)
	}
	return &Error{UnsupportedStanzaType, "not an element of stream management"}
}

// Resumed says whether the client goes on with the stream of another.
func (c *Client) Resumed() bool { return c.sm.resumed }

// SMID is the SM-ID of the stream; empty: the server will not let it be resumed.
func (c *Client) SMID() string { return c.sm.id }

// Resumable says whether the server will let the stream be resumed.
func (c *Client) Resumable() bool { return c.sm.id != "" }

// Prove returns when the server has acknowledged all stanzas that were sent
// before. Another goroutine has to receive meanwhile.
func (c *Client) Prove(ctx context.Context) error { return c.s.out.Prove(ctx) }
