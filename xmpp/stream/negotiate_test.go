package stream

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/xmlwire"
)

// canned is a connection whose peer has said all it has to say. What is written to
// it is dropped.
type canned struct {
	net.Conn // nil: nothing else is called
	r        io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

type passwords map[string]string

func (p passwords) Credentials(_ context.Context, user, _ string) (sasl.Credentials, error) {
	if password, ok := p[user]; ok {
		return sasl.Credentials{Password: password}, nil
	}
	return sasl.Credentials{}, sasl.ErrNoUser
}

func (passwords) Holds() sasl.Holding { return sasl.HoldsPassword }

func served(d string) bool { return d == "localhost" }

// features are those of a server for clients, in clear text.
func features(assign func(jid.JID) error) []Feature {
	login := &SASL{Offer: sasl.Offer{Store: passwords{"alice": "secret"}, AllowPlainWithoutTLS: true, Iterations: 1}}
	return []Feature{login, Bindings{login}, &Bind{Assign: func(_ context.Context, _ *Stream, full jid.JID) error { return assign(full) }}, Session{}}
}

const (
	openTag = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"
	bindIQ  = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>"
)

func auth(initial string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + initial + "</auth>"
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// pieces is what the peer of FuzzNegotiation may say, in any order.
var pieces = []string{
	openTag,
	auth(plain("alice", "secret")),
	bindIQ,
	auth(""),
	"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + plain("alice", "secret") + "</response>",
	auth(plain("alice", "wrong")),
	auth(plain("nobody", "secret")),
	auth("="),
	auth("*"),
	"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + base64.StdEncoding.EncodeToString([]byte("n,,n=alice,r=abc")) + "</auth>",
	"<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
	"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
	"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
	"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
	"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
	"<iq type='get' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
	"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
	"<message to='bob@localhost'><body>x</body></message>",
	"<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'/>",
	"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
	"<stream:features/>",
	"</stream:stream>",
	"<?xml version='1.0'?>",
	strings.Replace(openTag, "localhost", "elsewhere", 1),
	" ", "<", "<!-- -->", "&#0;", "\xff",
}

// FuzzNegotiation says pieces in any order, and then anything. However the peer
// speaks, there is no panic, and no resource without the right password.
func FuzzNegotiation(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2}, []byte(nil))
	f.Add([]byte{0, 3, 4, 0, 14}, []byte(nil))
	f.Add([]byte{0, 5, 9, 10, 1, 0, 2}, []byte(nil))
	f.Add([]byte{0, 2}, []byte(bindIQ))
	f.Add([]byte{0, 11, 0, 2}, []byte(nil))
	f.Add([]byte{0, 1, 23, 2}, []byte(nil))
	f.Fuzz(func(t *testing.T, order, rest []byte) {
		if len(order) > 64 {
			return
		}
		// One piece per read: what is sent ahead of a new stream is dropped there,
		// and the peer of a fuzz test does not wait for answers.
		var parts []io.Reader
		said := ""
		for _, i := range order {
			p := pieces[int(i)%len(pieces)]
			said += p
			parts = append(parts, strings.NewReader(p))
		}
		parts = append(parts, bytes.NewReader(rest))
		assigned := jid.JID{}
		s := New(&canned{r: io.MultiReader(parts...)}, Options{Receiving: true, Serves: served})
		err := s.Accept(t.Context(), features(func(full jid.JID) error { assigned = full; return nil })...)
		if err == nil != (!s.bound.IsZero()) {
			t.Errorf("error %v, bound %s", err, s.bound)
		}
		knew := strings.Contains(said+string(rest), plain("alice", "secret"))
		if (!assigned.IsZero() || !s.user.IsZero()) && (!knew || s.user.Local() != "alice" || !assigned.IsZero() && assigned.Bare() != s.user) {
			t.Errorf("authenticated as %q, bound %q after %q", s.user, assigned, said)
		}
		_ = s.End(t.Context(), err)
		if len(order) == 4 && order[0] == 0 && order[1] == 1 && order[2] == 0 && order[3] == 2 && err != nil {
			t.Errorf("the straight way fails: %v", err)
		}
	})
}

// respond plays the server's side of a connection from fixed bytes.
func respond(t *testing.T, o ClientOptions, say string) error {
	t.Helper()
	o.JID = jid.MustParse("alice@localhost/r")
	o.Password = "secret"
	o.Limits.Negotiation = 10 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := Connect(ctx, &canned{r: strings.NewReader(say)}, o)
	return err
}

// TestClientRefuses has servers, or somebody in between, misbehave.
func TestClientRefuses(t *testing.T) {
	t.Parallel()
	const head = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='localhost' id='x' version='1.0'>"
	const plainOnly = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
	const tls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	offers := func(s string) string { return head + "<stream:features>" + s + "</stream:features>" }
	clear := ClientOptions{ClearText: true}
	for _, c := range []struct {
		name string
		o    ClientOptions
		say  string
		want func(error) bool
	}{
		{"no TLS on offer, as after somebody took it out", ClientOptions{}, offers(plainOnly), is(ErrNoTLS)},
		{"bytes after proceed (RFC 6120 §5.3.3)", ClientOptions{},
			offers(tls) + "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><message/>", says("bytes after proceed")},
		{"TLS fails", ClientOptions{}, offers(tls) + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>", says("peer answers failure")},
		{"a stream error", clear, head + "<stream:error><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
			func(err error) bool {
				var e *PeerError
				return errors.As(err, &e) && e.Err.Condition == HostGone
			}},
		{"no mechanism", clear, offers("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>X</mechanism></mechanisms>"), is(sasl.ErrNoMechanism)},
		{"wrong password", clear, offers(plainOnly) + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
			func(err error) bool {
				var e *sasl.Failure
				return errors.As(err, &e) && e.Condition == sasl.NotAuthorized
			}},
		{"something else instead of features", clear, head + "<message/>", says("expected features")},
		{"gone after success", clear, offers(plainOnly) + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", is(io.ErrUnexpectedEOF)},
		{"another version", clear, strings.Replace(head, " version='1.0'", "", 1), condition(UnsupportedVersion)},
		{"another content", clear, strings.Replace(head, "jabber:client", "jabber:server", 1), condition(InvalidNamespace)},
		{"not XMPP", clear, "HTTP/1.1 400 Bad Request\r\n\r\n", condition(NotWellFormed)},
		{"nothing", clear, "", is(io.ErrUnexpectedEOF)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := respond(t, c.o, c.say); err == nil || !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func says(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func condition(want Condition) func(error) bool {
	return func(err error) bool {
		var e *Error
		return errors.As(err, &e) && e.Condition == want
	}
}

func TestErrorRoundTrip(t *testing.T) {
	t.Parallel()
	for _, e := range []*Error{{Conflict, ""}, {PolicyViolation, "too <big>"}, {UndefinedCondition, "x"}} {
		got := ParseError(e.Element())
		if *got != *e {
			t.Errorf("%v came back as %v", e, got)
		}
	}
	other, err := xmlwire.Parse([]byte("<e><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>other:5222</see-other-host></e>"), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if e := ParseError(other); e.Condition != SeeOtherHost || e.Text != "other:5222" {
		t.Errorf("got %v", e)
	}
	if e := ParseError(xmlwire.New(xmlwire.Streams, "error")); e.Condition != UndefinedCondition {
		t.Errorf("an error without condition is %v", e)
	}
	// A peer's error must not be taken for one of ours and sent back.
	var own *Error
	if errors.As(error(&PeerError{&Error{Reset, ""}}), &own) {
		t.Error("a peer's error unwraps to one to send")
	}
}

// TestReadResumes has a stanza arrive in two halves with a timeout in between
// (RFC 6120 §4.6: the stream lives on).
func TestReadResumes(t *testing.T) {
	t.Parallel()
	server, client := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	s := New(server, Options{Receiving: true, Serves: served})
	t.Cleanup(func() { _ = s.Abort() })
	write := func(text string) {
		if _, err := io.WriteString(client, text); err != nil {
			t.Error(err)
		}
	}
	go write(openTag)
	if _, err := s.receiveHeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	go write("<message><bo")
	_, err := s.Receive(t.Context(), time.Now().Add(50*time.Millisecond))
	if !IsTimeout(err) {
		t.Fatalf("got %v", err)
	}
	go write("dy>x</body></message>")
	e, err := s.Receive(t.Context(), time.Time{})
	if err != nil || e.String() != "<message xmlns='jabber:client'><body>x</body></message>" {
		t.Fatalf("got %v, %v", e, err)
	}
	cause := &Error{SystemShutdown, ""}
	ctx, cancel := context.WithCancelCause(t.Context())
	go cancel(cause)
	if _, err := s.Receive(ctx, time.Time{}); !errors.Is(err, cause) {
		t.Errorf("the end of ctx is told as %v", err)
	}
}

// TestFailListens has a peer that is still talking when it is refused: closing
// with its bytes unread would reset the connection, error and all.
func TestFailListens(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	s := New(near, Options{Receiving: true, Serves: served, Limits: Limits{Close: 5 * time.Second}})
	failed := make(chan error, 1)
	go func() { failed <- s.Fail(context.Background(), &Error{PolicyViolation, ""}) }()
	got := ""
	for buf := make([]byte, 1<<10); !strings.HasSuffix(got, "</stream:stream>"); {
		n, err := far.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(buf[:n])
	}
	// A pipe has no buffer: this returns when the other side has read it.
	if _, err := io.WriteString(far, "<message>"); err != nil {
		t.Errorf("the peer was cut off: %v", err)
	}
	_ = far.Close()
	<-failed
}
