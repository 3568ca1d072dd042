package xmpptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/xmlwire"
)

// patience is how long a step waits for the server.
const patience = time.Minute

// Run plays every file that matches pattern as a subtest of its name. serve
// starts the server that a transcript wants, knowing its USE words, and returns
// the address.
func Run(t *testing.T, pattern string, serve func(t *testing.T, uses []string) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts match %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			script, err := Parse(f)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if err := script.Play(t.Context(), serve(t, script.Uses)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		})
	}
}

// Play connects each actor at its first step to the TCP address and plays. The
// error names the line.
func (s *Script) Play(ctx context.Context, address string) error {
	_, err := s.PlayAt(ctx, func(string) string { return address }, nil)
	return err
}

// PlayAt is Play with an address for each actor. It begins with what {names} stand for
// already, nil for none, and returns what they stand for at the end.
func (s *Script) PlayAt(ctx context.Context, address func(actor string) string, known map[string]string) (map[string]string, error) {
	return s.PlayOn(ctx, Stage{Address: address, Known: known})
}

type player struct {
	matcher
	stage  Stage
	actors map[string]*actor
}

// actor is one client, or server.
type actor struct {
	name      string
	raw, conn net.Conn
	dec       *xmlwire.Decoder
	opened    bool // the server's header was read
	accepted  bool // the server has connected to it
}

func (p *player) close() {
	for _, a := range p.actors {
		_ = a.raw.Close()
	}
}

func (p *player) actor(ctx context.Context, name string) (*actor, error) {
	if a := p.actors[name]; a != nil {
		return a, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.stage.Address(name))
	if err != nil {
		return nil, err
	}
	return p.enter(name, conn), nil
}

func (p *player) enter(name string, conn net.Conn) *actor {
	a := &actor{name: name, raw: conn, conn: conn, dec: xmlwire.NewDecoder(conn, xmlwire.Limits{})}
	p.actors[name] = a
	return a
}

func (p *player) play(a *actor, st step) error {
	if err := a.raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if st.verb == "C" {
		return p.client(a, st.text)
	}
	if st.verb == "EOF" {
		return a.eof()
	}
	if st.text == "</stream:stream>" {
		e, err := a.next(st.text)
		switch {
		case err == nil:
			return fmt.Errorf("got %s", e)
		case err != io.EOF:
			return err
		}
		return nil
	}
	got, err := a.read(st.text)
	if err != nil {
		return err
	}
	return p.compare(st.text, got)
}

func (p *player) compare(text string, got *xmlwire.Element) error {
	if strings.HasPrefix(text, "<stream:stream") {
		text += "</stream:stream>"
	}
	return p.compareIn(p.stage.content(), text, got)
}

func (p *player) compareIn(content, text string, got *xmlwire.Element) error {
	text, err := expandKeys(text, p.captured)
	if err != nil {
		return err
	}
	want, err := parseIn(content, text)
	if err != nil {
		return fmt.Errorf("transcript: %w", err)
	}
	if err := p.element(want, got); err != nil {
		return fmt.Errorf("%w\n got %s", err, got)
	}
	return nil
}

// read reads what the server sends next: its header if that is wanted.
func (a *actor) read(want string) (*xmlwire.Element, error) {
	if strings.HasPrefix(want, "<stream:stream") {
		if a.accepted && a.opened {
			a.dec.Reset(a.conn) // the server begins a new stream
		}
		a.opened = true
		return a.dec.Header()
	}
	e, err := a.next(want)
	if err == io.EOF {
		return nil, errors.New("server closed its stream")
	}
	return e, err
}

var nameRequest = xmlwire.Name{Space: "urn:xmpp:sm:3", Local: "r"}

// next is the next element. How many stanzas a server sends before it asks for
// their acknowledgement (XEP-0198 §4) is a matter of time: where that is not wanted
// it does not count.
func (a *actor) next(want string) (*xmlwire.Element, error) {
	for {
		e, err := a.dec.Next()
		if err != nil || e.Name != nameRequest || strings.HasPrefix(want, "<r ") {
			return e, err
		}
	}
}

func (p *player) client(a *actor, text string) error {
	verb, rest, _ := strings.Cut(text, " ")
	switch verb {
	case "TLS":
		return a.handshake(p.stage.certificate(rest))
	case "OPEN":
		return p.open(a, rest)
	case "HEADER":
		return p.header(a, rest)
	case "AUTH", "LOGIN":
		address, password, _ := strings.Cut(rest, " ")
		return p.login(a, address, password, verb == "LOGIN")
	case "CLOSE":
		return a.raw.Close()
	case "FIN":
		return a.finish()
	}
	text, err := expand(text, p.captured)
	if err != nil {
		return err
	}
	return a.send(text)
}

func (a *actor) send(text string) error {
	if a.opened && !a.accepted && strings.Contains(text, "<stream:stream") {
		a.dec.Reset(a.conn)
		a.opened = false
	}
	_, err := io.WriteString(a.conn, text)
	return err
}

// finish ends the client's direction and leaves the server's open.
func (a *actor) finish() error {
	if conn, ok := a.conn.(*tls.Conn); ok {
		if err := conn.CloseWrite(); err != nil {
			return err
		}
	}
	return a.raw.(*net.TCPConn).CloseWrite()
}

func (a *actor) handshake(shown []tls.Certificate) error {
	if n := a.dec.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes before the handshake", n)
	}
	conn := tls.Client(a.raw, &tls.Config{InsecureSkipVerify: true, Certificates: shown}) // #nosec G402: who the server is, is not what is tested
	if a.accepted {
		conn = tls.Server(a.raw, &tls.Config{Certificates: shown, ClientAuth: tls.RequestClientCert})
	}
	if err := conn.Handshake(); err != nil {
		return err
	}
	a.conn, a.opened = conn, false
	a.dec.Reset(conn)
	return nil
}

// open opens a stream to a domain, between servers from another one, and holds the
// server's header to RFC 6120 §4.7.
func (p *player) open(a *actor, rest string) error {
	domain, from, _ := strings.Cut(rest, " ")
	err := a.send(p.stage.header("to", domain, "from", from))
	if err != nil {
		return err
	}
	h, err := a.read("<stream:stream")
	switch {
	case err != nil:
		return err
	case h.Attr("from") != domain || h.Attr("to") != from && from != "" || h.Attr("version") != "1.0" || len(h.Attr("id")) < 16:
		return fmt.Errorf("header is %s", h)
	}
	p.captured["id"+a.name] = h.Attr("id")
	return nil
}

// login goes the whole way to authentication or, with bind, to a bound resource.
func (p *player) login(a *actor, address, password string, bind bool) error {
	j, err := jid.Parse(address)
	if err != nil {
		return err
	}
	plain, err := expand("{plain "+j.Local()+" "+password+"}", nil)
	if err != nil {
		return err
	}
	const ns = "urn:ietf:params:xml:ns:xmpp-"
	if err := p.open(a, j.Domain()); err != nil {
		return err
	}
	features, err := a.read("")
	if err != nil {
		return err
	}
	open := func() error { return errors.Join(p.open(a, j.Domain()), a.expect("features")) }
	var steps []func() error
	if features.Child(xmlwire.Name{Space: ns + "tls", Local: "starttls"}) != nil {
		steps = append(steps, func() error { return a.ask("<starttls xmlns='"+ns+"tls'/>", "proceed") }, func() error { return a.handshake(nil) }, open)
	}
	steps = append(steps,
		func() error { return a.ask("<auth xmlns='"+ns+"sasl' mechanism='PLAIN'>"+plain+"</auth>", "success") },
		open)
	if bind {
		steps = append(steps, func() error {
			return a.ask("<iq type='set' id='bind'><bind xmlns='"+ns+"bind'><resource>"+j.Resource()+"</resource></bind></iq>", "iq")
		})
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) ask(text, answer string) error {
	if err := a.send(text); err != nil {
		return err
	}
	return a.expect(answer)
}

func (a *actor) expect(local string) error {
	e, err := a.read("")
	if err == nil && (e.Name.Local != local || e.Attr("type") == "error") {
		err = fmt.Errorf("login: got %s", e)
	}
	return err
}

// eof waits for the end of the connection. A reset is not one: what the server
// said last may be lost by it.
func (a *actor) eof() error {
	if n := a.dec.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes left", n)
	}
	b, err := io.ReadAll(a.conn)
	if err == nil && len(b) > 0 {
		err = fmt.Errorf("got %q", b)
	}
	return err
}
