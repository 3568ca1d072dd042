package c2s

import (
	"bytes"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/xmpptest"
)

// canned is a connection whose client has said all it has to say.
type canned struct {
	net.Conn // nil: nothing else is called
	r        io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// FuzzSession has a client that is logged in say anything: no panic, and nothing
// left behind when it is gone.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"<presence/><message to='alice@localhost'><body>x</body></message></stream:stream>",
		"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
		"<iq type='set' id='1' to='localhost'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
		"<presence><priority>-200</priority></presence><presence type='unavailable'/>",
		"<presence to='alice@localhost/a'/><presence to='alice@localhost' type='subscribe'/>",
		"<iq type='error' id='1'/><iq type='get' id='1' to='alice@localhost/a'><ping xmlns='urn:xmpp:ping'/></iq>",
		"<message from='bob@localhost' to='@'/>",
		"<presence to='bob@localhost' type='subscribe'/><presence to='bob@localhost/x' type='unsubscribed'/><presence to='alice@localhost' type='probe'/>",
		"<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='bob@localhost' name='Bob'><group>A</group></item></query></iq>" +
			"<iq type='get' id='2'><query xmlns='jabber:iq:roster' ver='x-1'/></iq><presence/>" +
			"<iq type='set' id='3'><query xmlns='jabber:iq:roster'><item jid='bob@localhost' subscription='remove'/></query></iq>",
		"<message type='error' to='nobody@localhost'/><message xmlns='jabber:server'/>",
		"<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='1'/>",
		"<enable xmlns='urn:xmpp:sm:3' max='0'/><enable xmlns='urn:xmpp:sm:3'/><iq type='get' id='1'/><a xmlns='urn:xmpp:sm:3' h='4294967295'/>",
		"<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/><a xmlns='urn:xmpp:sm:3'/>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		var log bytes.Buffer
		rosters := new(xmpptest.Rosters)
		r := router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }, Rosters: rosters})
		rosters.OnChange = r.RosterChanged
		v := New(Options{Router: r, Log: zerolog.New(zerolog.SyncWriter(&log)), Connection: func(net.Addr) ConnOptions {
			return ConnOptions{Accounts: users, AllowPlainWithoutTLS: true}
		}})
		const open = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"
		parts := []io.Reader{
			strings.NewReader(open + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
				base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret")) + "</auth>"),
			strings.NewReader(open + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>a</resource></bind></iq>"),
			strings.NewReader(said),
		}
		v.handle(t.Context(), &canned{r: io.MultiReader(parts...)}, func(f func()) { f() })
		if st := v.Stats(); st.Logins != 1 || st.Open != 0 || st.Sessions != 0 || len(r.All()) != 0 {
			t.Errorf("%+v, %d bound", st, len(r.All()))
		}
		if strings.Contains(log.String(), "bug:") {
			t.Error(log.String())
		}
	})
}
