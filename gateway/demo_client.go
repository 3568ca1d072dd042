package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"time"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

func (d *demo) smtp(ctx context.Context, to string, raw []byte) error {
	_, err := relay.Submit(ctx, d.app.Addr(config.ESMTP, ""), "timetable@trains.example", []string{to}, raw)
	return err
}

func (d *demo) http(ctx context.Context, to string, raw []byte) error {
	url := "http://" + d.app.Addr(config.HTTP, "") + "/v1/messages?from=timetable@trains.example&to=" + to
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "message/rfc822")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	return refusal(resp, body)
}

// arrival is a stanza that a client received.
type arrival struct {
	*stanza.Stanza
	at time.Time
}

// demoClient is a Jabber client of the tour.
type demoClient struct {
	client   *stream.Client
	received chan arrival
	done     chan struct{}
	stop     context.CancelFunc
}

// login makes an account and logs a client in, over STARTTLS with the strongest
// mechanism.
func (d *demo) login(ctx context.Context, name string, roots *x509.CertPool) error {
	user, err := jid.New(name, "localhost", "")
	if err != nil {
		return err
	}
	if err := d.app.Accounts().Add(ctx, user, d.password); err != nil {
		return err
	}
	full, err := user.WithResource("demo")
	if err != nil {
		return err
	}
	begin := time.Now()
	client, err := stream.Dial(ctx, stream.ClientOptions{JID: full, Password: d.password,
		Address: d.app.Addr(config.XMPPStreams, config.StreamClient), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return err
	}
	if err := client.Available(ctx, 0); err != nil {
		return err
	}
	d.printf("  %s logged in by %s over TLS in %s\n", client.JID(), client.Stream().Mechanism(), time.Since(begin).Round(time.Millisecond))
	cctx, stop := context.WithCancel(ctx)
	c := &demoClient{client: client, received: make(chan arrival, 64), done: make(chan struct{}), stop: stop}
	d.clients[user.String()] = c
	go c.run(cctx)
	if name == "bob" {
		d.printf("\n")
	}
	return nil
}

// run receives until the stream ends or ctx does.
func (c *demoClient) run(ctx context.Context) {
	defer close(c.done)
	for {
		st, err := c.client.Receive(ctx)
		if err != nil {
			return
		}
		if st.Kind != stanza.Message {
			continue
		}
		select {
		case c.received <- arrival{st, time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}

func (c *demoClient) close(ctx context.Context) {
	c.stop()
	<-c.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.client.Close(ctx) // the gateway ends next
}
