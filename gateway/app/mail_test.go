package app

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/fetch"
)

// TestFilesAskResolvers: the DNS servers of the configuration are asked for the hosts of
// files too.
func TestFilesAskResolvers(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	a := new(App)
	a.state.Store(&state{cfg: &config.Config{Resolvers: []string{server.LocalAddr().String()}}})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan string, 1)
	go func() {
		defer cancel() // it gets no answer
		question := make([]byte, 512)
		n, _, err := server.ReadFrom(question)
		if err != nil {
			return
		}
		asked <- string(question[:n])
	}()
	if _, err := (resolver{a}).LookupNetIP(ctx, "ip", "files.example"); err == nil {
		t.Error("an answer without a server")
	}
	if q := <-asked; !strings.Contains(q, "files") {
		t.Errorf("asked %q", q)
	}
}

// TestReasonOf: what is logged of a file names no address.
func TestReasonOf(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&fetch.Error{Reason: fetch.ErrForbidden, Text: "secret.example"}, errors.New("secret.example")} {
		if got := reasonOf(err).Error(); strings.Contains(got, "secret") {
			t.Errorf("%v is logged as %s", err, got)
		}
	}
}
