package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const version = "1.0"

// sendHeader opens our direction of the stream (RFC 6120 §4.7).
func (s *Stream) sendHeader(ctx context.Context) error {
	err := s.out.queue(ctx, item{}, func(b []byte, _ string) []byte { return s.appendHeader(b) })
	if err != nil {
		return fmt.Errorf("send stream header: %w", err)
	}
	return nil
}

// appendHeader writes the stream header with the attributes that §4.7.6 asks of
// this side.
func (s *Stream) appendHeader(b []byte) []byte {
	s.answered = true
	attrs := []string{"version", version}
	if s.o.Content == stanza.Component {
		attrs = nil // XEP-0114 §3
	}
	from, to := s.local.String(), s.peer.String()
	if s.o.Receiving {
		s.id = newID()
		attrs = append(attrs, "id", s.id)
	} else if s.o.Content != stanza.Server {
		from, to = "", s.local.String()
		// §4.7.1: a client says who it is only where the stream is protected.
		if s.tls != nil && !s.user.IsZero() {
			from = s.user.String()
		}
	}
	for _, a := range [][2]string{{"from", from}, {"to", to}} {
		if a[1] != "" {
			attrs = append(attrs, a[0], a[1])
		}
	}
	lang := s.lang
	if lang == "" {
		lang = "en" // §4.7.4: texts of ours are in English
	}
	if s.o.Wire != nil {
		s.o.Wire(true, xmlwire.New(xmlwire.Streams, "stream", attrs...))
	}
	if s.o.Observer != nil && s.o.Observer.Observing() {
		s.out.observe(nil, xmlwire.New(xmlwire.Streams, "stream", attrs...))
	}
	end := ">"
	if s.out.framed {
		b, end = append(b, "<open xmlns='"+nsFraming+"'"...), "/>"
	} else {
		b = append(b, "<?xml version='1.0'?><stream:stream xmlns='"...)
		b = append(b, s.o.Content...)
		b = append(b, "' xmlns:stream='"+xmlwire.Streams+"'"...)
		if s.o.Content == stanza.Server {
			b = append(b, " xmlns:db='"+xmlwire.Dialback+"'"...) // XEP-0220 §2.4.1
		}
	}
	for i := 0; i < len(attrs); i += 2 {
		b = appendAttr(b, attrs[i], attrs[i+1])
	}
	b = appendAttr(b, "xml:lang", lang)
	return append(b, end...)
}

func appendAttr(b []byte, name, value string) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, "='"...)
	b = xmlwire.AppendValue(b, value)
	return append(b, '\'')
}

// receiveHeader reads the peer's stream header and checks what both sides ask of
// it: namespaces, prefix, version. The header is returned with such an error too,
// so that the answer can be addressed.
func (s *Stream) receiveHeader(ctx context.Context) (*xmlwire.Element, error) {
	s.arm(ctx, s.expires())
	h, err := s.dec.Header()
	if err != nil {
		return nil, s.headerError(ctx, err)
	}
	if s.o.Wire != nil {
		s.o.Wire(false, h)
	}
	s.observeIn(h)
	s.lang, _ = h.LookupAttr(nameLang)
	if err := s.checkNames(h); err != nil {
		return h, err
	}
	if s.o.Content == stanza.Component {
		return h, nil // XEP-0114 §3: it has no version
	}
	v, ok := h.LookupAttr(xmlwire.Name{Local: "version"})
	if s.o.Content == stanza.Server {
		db, _ := s.dec.Namespace("db")
		s.dialback, s.ancient = db == xmlwire.Dialback, !ok
		if s.ancient && s.dialback {
			return h, nil // dialback is older than versions
		}
	}
	return h, checkVersion(v)
}

func (s *Stream) headerError(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("stream header: connection ended: %w", io.ErrUnexpectedEOF)
	}
	return lost("stream header", s.readError(ctx, err))
}

// checkNames holds the opening tag to RFC 6120 §4.8.
func (s *Stream) checkNames(h *xmlwire.Element) error {
	content, _ := s.dec.Namespace("")
	prefix, _ := s.dec.Namespace("stream")
	switch {
	case h.Name.Local != "stream":
		return &Error{BadFormat, "expected a stream header"}
	case h.Name.Space != xmlwire.Streams:
		return &Error{InvalidNamespace, "stream is not in " + xmlwire.Streams} // §4.9.3.10
	case prefix != xmlwire.Streams:
		// §4.8.5 lets a peer insist on this prefix, and elements of ours bear it.
		return &Error{BadNamespacePrefix, "the stream namespace needs the prefix stream"}
	case content != s.o.Content:
		return &Error{InvalidNamespace, "content namespace is not " + s.o.Content}
	}
	return nil
}

// checkVersion refuses peers from before RFC 3920, which send none (§4.7.5). A
// higher minor or major version is answered with ours.
func checkVersion(v string) error {
	major, minor, ok := strings.Cut(v, ".")
	n, err := strconv.ParseUint(major, 10, 16)
	_, minorErr := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || minorErr != nil || n < 1 {
		return &Error{UnsupportedVersion, "XMPP 1.0 is spoken here"}
	}
	return nil
}

// acceptHeader answers a stream header as the receiving entity. Our header goes
// out whatever was wrong with theirs (§4.9.1.2).
func (s *Stream) acceptHeader(ctx context.Context) error {
	h, err := s.receiveHeader(ctx)
	if h != nil {
		addressed := s.address(h)
		if err == nil {
			err = addressed
		}
	}
	if err != nil {
		return err
	}
	return s.sendHeader(ctx)
}

// address takes over who the peer wants to speak to and says it is.
func (s *Stream) address(h *xmlwire.Element) error {
	err := s.addressed(h.Attr("to"))
	from := h.Attr("from")
	if from == "" {
		return err
	}
	peer, bad := jid.Parse(from)
	if bad != nil && err == nil {
		err = &Error{InvalidFrom, "from is no address"} // §4.9.3.9
	}
	if s.o.Content == stanza.Server && !s.user.IsZero() && peer != s.user && err == nil {
		err = &Error{InvalidFrom, "from has changed since authentication"}
	}
	s.peer = peer
	return err
}

func (s *Stream) addressed(to string) error {
	if to == "" {
		// No condition of §4.9.3 is meant for this; COMPAT servers of the field use this one.
		return &Error{ImproperAddressing, "to is missing"}
	}
	local, err := jid.Parse(to)
	switch {
	case err != nil || local.Local() != "" || !local.IsBare():
		return &Error{HostUnknown, "to is no domain"}
	case s.o.Serves == nil || !s.o.Serves(local.Domain()):
		return &Error{HostUnknown, "no such domain here"} // §4.9.3.6
	case !s.user.IsZero() && local != s.local:
		// Who logged in to one domain must not be bound in another.
		return &Error{HostUnknown, "to has changed since authentication"}
	}
	s.local = local
	return nil
}
