package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Login is SASL seen from the initiating entity (RFC 6120 §6).
type Login struct {
	// Login is who logs in. TLS and ChannelBindings are filled in from the stream.
	Login sasl.Login
}

// Initiate logs in, once. The error for a refusal is a *sasl.Failure.
func (f Login) Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error) {
	if !s.user.IsZero() {
		return Continue, nil
	}
	login := f.Login
	login.TLS = s.TLS()
	if e := list.Child(nameBindings); e != nil {
		login.ChannelBindings = []string{}
		for c := range e.Elements() {
			login.ChannelBindings = append(login.ChannelBindings, c.Attr("type"))
		}
	}
	var offered []string
	if e := list.Child(xmlwire.Name{Space: nsSASL, Local: "mechanisms"}); e != nil {
		for c := range e.Elements() {
			offered = append(offered, c.Text())
		}
	}
	client, err := f.try(ctx, s, login, offered)
	if unbound(login, client, err) {
		login.ChannelBindings = []string{}
		client, err = f.try(ctx, s, login, offered)
	}
	if err != nil {
		return 0, err
	}
	user, err := jid.New(login.Username, s.local.Domain(), "")
	if err != nil {
		return 0, fmt.Errorf("login: %w", err)
	}
	s.restart()
	s.authenticated(user, client.Mechanism())
	return Restart, nil
}

// try goes through one exchange by the strongest mechanism.
func (f Login) try(ctx context.Context, s *Stream, login sasl.Login, offered []string) (sasl.Client, error) {
	client, err := login.Choose(offered)
	if err != nil {
		return nil, err
	}
	if err := f.exchange(ctx, s, client); err != nil {
		return client, fmt.Errorf("login by %s: %w", client.Mechanism(), err)
	}
	return client, nil
}

// unbound says whether to try once more without channel binding: with a server that has
// announced no types (XEP-0440 §2) and says that it does not understand the one which was
// assumed. COMPAT ejabberd 23: it offers SCRAM-…-PLUS and knows only tls-unique, whose
// place tls-exporter has taken under TLS 1.3 (RFC 9266). Whoever could make a server say so
// could take the offer away as well; that he stands between is for its certificate to show.
func unbound(login sasl.Login, client sasl.Client, err error) bool {
	var refused *sasl.Failure
	return client != nil && strings.HasSuffix(client.Mechanism(), "-PLUS") && login.ChannelBindings == nil &&
		errors.As(err, &refused) && strings.Contains(strings.ToLower(refused.Text), "channel binding")
}

func (f Login) exchange(ctx context.Context, s *Stream, client sasl.Client) error {
	initial, err := client.Start()
	if err != nil {
		return err
	}
	e := xmlwire.New(nsSASL, "auth", "mechanism", client.Mechanism())
	if initial != nil {
		e.AddText(encode(initial))
	}
	for {
		if err := s.Send(ctx, e); err != nil {
			return err
		}
		answer, err := s.Receive(ctx, s.expires())
		if err != nil {
			return lost("sasl", err)
		}
		switch answer.Name {
		case xmlwire.Name{Space: nsSASL, Local: "success"}:
			data, err := decodeInitial(answer.Text())
			if err != nil {
				return err
			}
			return client.Finish(data)
		case xmlwire.Name{Space: nsSASL, Local: "failure"}:
			return parseFailure(answer)
		case xmlwire.Name{Space: nsSASL, Local: "challenge"}:
		default:
			return fmt.Errorf("peer answers %s", answer.Name.Local)
		}
		challenge, err := decodeInitial(answer.Text())
		if err != nil {
			return err
		}
		response, err := client.Step(challenge)
		if err != nil {
			// §6.4.4: the server should know that we gave up; why is ours.
			return errors.Join(err, s.Send(ctx, xmlwire.New(nsSASL, "abort")))
		}
		e = xmlwire.New(nsSASL, "response")
		if len(response) > 0 {
			e.AddText(encode(response))
		}
	}
}

func parseFailure(e *xmlwire.Element) *sasl.Failure {
	f := &sasl.Failure{Condition: sasl.NotAuthorized}
	for c := range e.Elements() {
		if c.Name.Local == "text" {
			f.Text = c.Text()
		} else {
			f.Condition = sasl.Condition(c.Name.Local)
		}
	}
	return f
}
