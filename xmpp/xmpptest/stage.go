package xmpptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// Stage is where a transcript is played. The zero value has an address for nobody.
type Stage struct {
	// Address is where an actor connects to.
	Address func(actor string) string
	// Known is what {names} stand for already.
	Known map[string]string
	// Content is the content namespace. Empty: that of clients.
	Content string
	// Certificate is what an actor shows by that name.
	Certificate func(name string) tls.Certificate

	// Accept waits for the server to connect to a domain.
	Accept func(ctx context.Context, domain string) (net.Conn, error)
	// Send has a user of the server send a stanza.
	Send func(ctx context.Context, e *xmlwire.Element) error
	// Call is what a CALL step does.
	Call func() error
	// Got and Kept wait for what users have got, and for what was given back.
	Got, Kept func(ctx context.Context) (*xmlwire.Element, error)
}

func (g Stage) content() string {
	if g.Content == "" {
		return "jabber:client"
	}
	return g.Content
}

func (g Stage) certificate(name string) []tls.Certificate {
	if name == "" || g.Certificate == nil {
		return nil
	}
	return []tls.Certificate{g.Certificate(name)}
}

// header is an initial or response stream header; an attribute without a value is left out.
func (g Stage) header(attrs ...string) string {
	b := "<?xml version='1.0'?><stream:stream version='1.0' xmlns='" + g.content() + "' xmlns:stream='" + xmlwire.Streams + "'"
	if g.content() == "jabber:server" {
		b += " xmlns:db='" + xmlwire.Dialback + "'"
	}
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			b += " " + attrs[i] + "='" + attrs[i+1] + "'"
		}
	}
	return b + ">"
}

// PlayOn plays on a stage. It returns what {names} stand for at the end; the error names
// the line.
func (s *Script) PlayOn(ctx context.Context, g Stage) (map[string]string, error) {
	p := &player{stage: g, actors: make(map[string]*actor), matcher: matcher{make(map[string]string)}}
	maps.Copy(p.captured, g.Known)
	defer p.close()
	for _, st := range s.steps {
		if err := p.step(ctx, st); err != nil {
			return nil, fmt.Errorf("line %d: %s%s: %w", st.line, st.verb, st.actor, err)
		}
	}
	return p.captured, nil
}

func (p *player) step(ctx context.Context, st step) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch st.verb {
	case "DIAL":
		return p.accept(ctx, st)
	case "SEND":
		return p.user(ctx, st.text)
	case "CALL":
		return p.stage.Call()
	case "GOT":
		return p.outcome(ctx, st.text, p.stage.Got)
	case "KEPT":
		return p.outcome(ctx, st.text, p.stage.Kept)
	}
	a, err := p.actor(ctx, st.actor)
	if err != nil {
		return err
	}
	return p.play(a, st)
}

// accept has an actor enter to whom the server connects. One of that name leaves.
func (p *player) accept(ctx context.Context, st step) error {
	conn, err := p.stage.Accept(ctx, st.text)
	if err != nil {
		return err
	}
	if old := p.actors[st.actor]; old != nil {
		_ = old.raw.Close()
	}
	p.enter(st.actor, conn).accepted = true
	return conn.SetDeadline(time.Now().Add(patience))
}

// header sends the header of an actor to whom the server has connected.
func (p *player) header(a *actor, rest string) error {
	f := strings.Fields(rest)
	if len(f) != 3 {
		return errors.New("HEADER needs from, to and id")
	}
	p.captured["id"+a.name] = f[2]
	return a.send(p.stage.header("from", f[0], "to", f[1], "id", f[2]))
}

func (p *player) user(ctx context.Context, text string) error {
	text, err := expand(text, p.captured)
	if err != nil {
		return err
	}
	e, err := parse(text)
	if err != nil {
		return fmt.Errorf("transcript: %w", err)
	}
	return p.stage.Send(ctx, e)
}

func (p *player) outcome(ctx context.Context, text string, next func(context.Context) (*xmlwire.Element, error)) error {
	got, err := next(ctx)
	if err != nil {
		return err
	}
	return p.compareIn("jabber:client", text, got)
}
