package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/mcmt/relay"
)

// swallower stands between clients and the gateway. What the gateway says is
// passed on up to the answer that begins with words; that one is kept from the
// client, f is called, and the connection is cut.
type swallower struct {
	net.Listener
	mu     sync.Mutex
	answer string // what was swallowed, from words on
}

// swallow starts one before addr.
func swallow(t *testing.T, addr, words string, f func()) *swallower {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &swallower{Listener: l}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(t, client, addr, words, f) })
		}
	})
	return s
}

func (s *swallower) serve(t *testing.T, client net.Conn, addr, words string, f func()) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer server.Close()
	sending.Go(func() { _, _ = io.Copy(server, client) })
	defer client.Close() // ends the copy
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if i := bytes.Index(buf[:n], []byte(words)); i >= 0 {
			s.mu.Lock()
			s.answer = string(buf[i:n])
			s.mu.Unlock()
			f()
			return
		}
		if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// swallowed is the answer that the client did not see; it fails where there was
// none.
func (s *swallower) swallowed(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer == "" {
		t.Fatal("the gateway has not answered")
	}
	return s.answer
}

// submit sends a message over SMTP and returns the id in its 250.
func submit(t *testing.T, addr, to, raw string) (id string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reply, err := relay.Submit(ctx, addr, "news@corp.example", []string{to}, []byte(raw))
	return queuedAs(reply), err
}

// queuedAs takes the id out of a reply.
func queuedAs(reply string) string {
	_, id, _ := strings.Cut(reply, "queued as ")
	return strings.TrimSpace(id)
}

// TestLostReply: a client that did not see its 250 sends the message again and
// gets the same id; the recipient has it once. A client that has seen its 250 may
// send the message once more.
func TestLostReply(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	for _, user := range []string{"alice@localhost", "bob@localhost"} {
		g.addUser(user, "secret")
	}
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	lossy := swallow(t, g.smtp(), "250 2.0.0 Ok: queued", func() {})
	for _, user := range []string{"alice@localhost", "bob@localhost"} { // one is there, one is not
		if _, err := submit(t, lossy.Addr().String(), user, sample(user, "once")); err == nil {
			t.Fatal("the client has seen an answer")
		}
		id, err := submit(t, g.smtp(), user, sample(user, "once"))
		if err != nil || id == "" || id != queuedAs(lossy.swallowed(t)) {
			t.Errorf("queued as %q, %v; the first time %q", id, err, lossy.swallowed(t))
		}
		if _, err := submit(t, g.smtp(), user, sample(user, "then")); err != nil {
			t.Fatal(err)
		}
	}
	first := alice.want("once")
	alice.want("then") // nothing between
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	bob.want("once")
	bob.want("then")
	if _, err := submit(t, g.smtp(), "alice@localhost", sample("alice@localhost", "once")); err != nil {
		t.Fatal(err)
	}
	if st := alice.want("once"); st.ID != first.ID {
		t.Errorf("the same message came as %s and as %s", first.ID, st.ID)
	}
}

// TestLostReplyCrash: the gateway dies between storing the message and its 250,
// and the client sends it again to the next one. A copy may arrive, under the same
// stanza id.
func TestLostReplyCrash(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	for _, user := range []string{"alice@localhost", "bob@localhost"} {
		g.addUser(user, "secret")
	}
	alice := newInbox()
	ctx, cancel := context.WithCancel(t.Context())
	var client sync.WaitGroup
	defer client.Wait()
	defer cancel()
	client.Go(func() { alice.stay(ctx, g.xmpp, "alice@localhost") })
	for _, user := range []string{"alice@localhost", "bob@localhost"} { // one is there, one is not
		deadly := swallow(t, g.smtp(), "250 2.0.0 Ok: queued", g.kill)
		if _, err := submit(t, deadly.Addr().String(), user, sample(user, "once")); err == nil {
			t.Fatal("the client has seen an answer")
		}
		g.start()
		deadly.swallowed(t)
		for _, text := range []string{"once", "then"} {
			if _, err := submit(t, g.smtp(), user, sample(user, text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	copies := alice.await(t, []string{"once", "then"})
	t.Logf("%d copies for who was there", copies)
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	first, copies := bob.want("once"), 0
	for st := bob.next(); bodyOf(st) != "then"; st = bob.next() {
		if bodyOf(st) != "once" || st.ID != first.ID {
			t.Errorf("%q came as %s, after %q as %s", bodyOf(st), st.ID, bodyOf(first), first.ID)
		}
		copies++
	}
	t.Logf("%d copies for who was not", copies)
}

// TestKeyAcrossCrash: the same Idempotency-Key again, after the gateway died
// between storing the message and its 202.
func TestKeyAcrossCrash(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	post := func(addr, text string) (id string, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/messages",
			strings.NewReader(`{"from":"news@corp.example","to":["alice@localhost"],"text":"`+text+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "key of "+text)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		var answer struct{ ID string }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%s: %v", resp.Status, err)
		}
		return answer.ID, nil
	}
	// The key is recorded with the id before the message is stored, and marked
	// after: the death falls behind both.
	deadly := swallow(t, g.addr("http_listener"), "HTTP/1.1 202", g.kill)
	if _, err := post(deadly.Addr().String(), "once"); err == nil {
		t.Fatal("the client has seen an answer")
	}
	g.start()
	for range 2 {
		id, err := post(g.addr("http_listener"), "once")
		if err != nil || !strings.Contains(deadly.swallowed(t), `"id":"`+id+`"`) {
			t.Errorf("id %q, %v; the first time %s", id, err, deadly.swallowed(t))
		}
	}
	if _, err := post(g.addr("http_listener"), "then"); err != nil {
		t.Fatal(err)
	}
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	alice.want("once")
	alice.want("then") // nothing between
}
