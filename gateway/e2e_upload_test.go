package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestUpload: a client's file is there for whoever has its address, also after the death
// of the process; and gone with the account.
func TestUpload(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "upload_quota = 1k\n")
	g.start()
	g.addUser("bob@localhost", "secret")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const ns = "urn:xmpp:http:upload:0"
	ask := func(c *stream.Client, size string) *stanza.Stanza {
		t.Helper()
		rq := xmlwire.New(ns, "request", "filename", "a b.txt", "size", size, "content-type", "text/plain")
		if err := c.Send(ctx, stanza.NewIQ(jid.MustParse("localhost"), jid.JID{}, stanza.TypeGet, "slot", rq)); err != nil {
			t.Fatal(err)
		}
		for {
			st, err := c.Receive(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if st.ID == "slot" {
				return st
			}
		}
	}
	c := dialXMPP(t, g, "bob@localhost/a")
	answer := ask(c, "600")
	slot := answer.Element.Child(xmlwire.Name{Space: ns, Local: "slot"})
	if slot == nil {
		t.Fatalf("no slot: %s", answer)
	}
	put := slot.Child(xmlwire.Name{Space: ns, Local: "put"})
	address := put.Attr("url")
	if !strings.HasPrefix(address, g.http()+"/upload/") {
		t.Errorf("the address is %s", address)
	}
	body := strings.Repeat("abcdef", 100)
	rq, err := http.NewRequestWithContext(ctx, http.MethodPut, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Authorization", put.Child(xmlwire.Name{Space: ns, Local: "header"}).Text())
	resp, err := http.DefaultTransport.RoundTrip(rq)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("upload: %s", resp.Status)
	}
	if st := ask(c, "600"); st.Type != stanza.TypeError || stanza.ParseError(st.Child("error")).Condition != stanza.ResourceConstraint {
		t.Errorf("over the quota: %s", st)
	}
	path := strings.TrimPrefix(address, g.http())
	get := func() (int, string) {
		t.Helper()
		resp, err := http.Get(g.http() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := get(); status != http.StatusOK || text != body {
		t.Errorf("download: %d, %d bytes", status, len(text))
	}
	part, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	part.Header.Set("Range", "bytes=598-")
	if resp, err = http.DefaultTransport.RoundTrip(part); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent || string(text) != "ef" || err != nil {
		t.Errorf("the end of it: %s, %q, %v", resp.Status, text, err)
	}
	g.kill()
	g.start()
	if status, text := get(); status != http.StatusOK || text != body {
		t.Errorf("download after a kill: %d, %d bytes", status, len(text))
	}
	if _, stderr, code := program(t, "", "user", "remove", "bob@localhost", "--admin", g.admin()); code != 0 {
		t.Fatalf("remove: %s", stderr)
	}
	g.eventually("the file is gone with its owner", func() bool { status, _ := get(); return status == http.StatusNotFound })
}

// dialXMPP logs in with the password "secret", without presence.
func dialXMPP(t *testing.T, g *gateway, user string) *stream.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse(user), Password: "secret", Address: g.xmpp(), TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}
