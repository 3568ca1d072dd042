package c2s

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestSASL2ChannelBinding logs in by each mechanism that binds to the TLS session
// (XEP-0388, XEP-0440), and holds the success to its proof of the server.
func TestSASL2ChannelBinding(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{Direct: true})
	const ns = "urn:xmpp:sasl:2"
	for _, mechanism := range []string{sasl.ScramSHA256Plus, sasl.ScramSHA1Plus, sasl.ScramSHA256} {
		for _, binding := range []string{"tls-exporter", "tls-server-end-point"} {
			t.Run(mechanism+" "+binding, func(t *testing.T) {
				t.Parallel()
				cfg := f.tls.Clone()
				cfg.ServerName = "localhost"
				conn := tls.Client(dialTCP(t, f.addr), cfg)
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.WriteString(conn, "<stream:stream xmlns='jabber:client' xmlns:stream='"+xmlwire.Streams+"' to='localhost' version='1.0'>"); err != nil {
					t.Fatal(err)
				}
				dec := xmlwire.NewDecoder(conn, xmlwire.Limits{})
				next := func() *xmlwire.Element {
					e, err := dec.Next()
					if err != nil {
						t.Fatal(err)
					}
					return e
				}
				if _, err := dec.Header(); err != nil {
					t.Fatal(err)
				}
				next() // features
				state := conn.ConnectionState()
				login := sasl.Login{Username: "alice", Password: "secret", TLS: &state, ChannelBindings: []string{binding}}
				offered := []string{mechanism}
				if mechanism == sasl.ScramSHA256 {
					offered = []string{sasl.ScramSHA256} // "y" would say that the list was shortened
					login.TLS = nil
				}
				client, err := login.Choose(offered)
				if err != nil {
					t.Fatal(err)
				}
				initial, err := client.Start()
				if err != nil {
					t.Fatal(err)
				}
				say := func(e *xmlwire.Element) {
					if _, err := conn.Write(xmlwire.Append(nil, e, "jabber:client")); err != nil {
						t.Fatal(err)
					}
				}
				say(xmlwire.New(ns, "authenticate", "mechanism", mechanism).
					Add(xmlwire.New(ns, "initial-response").AddText(base64.StdEncoding.EncodeToString(initial))))
				challenge, err := base64.StdEncoding.DecodeString(next().Text())
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Step(challenge)
				if err != nil {
					t.Fatal(err)
				}
				say(xmlwire.New(ns, "response").AddText(base64.StdEncoding.EncodeToString(response)))
				success := next()
				if success.Name != (xmlwire.Name{Space: ns, Local: "success"}) {
					t.Fatalf("got %s", success)
				}
				data, err := base64.StdEncoding.DecodeString(success.Child(xmlwire.Name{Space: ns, Local: "additional-data"}).Text())
				if err != nil {
					t.Fatal(err)
				}
				if err := client.Finish(data); err != nil {
					t.Errorf("the server's proof: %v", err)
				}
				if id := success.Child(xmlwire.Name{Space: ns, Local: "authorization-identifier"}); id == nil || id.Text() != "alice@localhost" {
					t.Errorf("got %s", success)
				}
			})
		}
	}
}

// TestOldTLS: nothing below TLS 1.2 is spoken (RFC 7590 §3.1).
func TestOldTLS(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{Direct: true})
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn := tls.Client(dialTCP(t, f.addr), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}) // #nosec G402: that is what is tested
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if err := conn.Handshake(); (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}
