package events

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mcmt2xmpp/gateway/config"
)

// webhook is a receiver by HTTP.
type webhook struct {
	conf   config.Webhook
	agent  string
	keys   signer
	client *http.Client
	bad    error // why there is no client
}

func newWebhook(w config.Webhook, version string) *webhook {
	h := &webhook{conf: w, agent: "mcmt2xmpp/" + version, keys: newSigner(w.Secrets)}
	h.client, h.bad = newClient(w)
	return h
}

// newClient connects as the configuration says, and nowhere that an answer says.
func newClient(w config.Webhook) (*http.Client, error) {
	trust, err := authorities(w.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: w.Timeout}
	if u, err := url.Parse(w.URL); err == nil && u.Scheme == "http" && !w.PlainHTTP {
		dialer.Control = onlyHere
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust},
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
		// Whoever can make the receiver redirect must not be able to choose where the
		// events go (Standard Webhooks 1.0.0, Delivery success and failure).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// onlyHere refuses connections to other machines, whatever a name leads to.
func onlyHere(_, address string, _ syscall.RawConn) error {
	if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is not this machine, and allow_plain_http is not set", address)
	}
	return nil
}

// authorities reads a PEM file; empty: those of the system, nil.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls_ca: %s holds no PEM certificate", path)
	}
	return pool, nil
}

func (h *webhook) name() string   { return h.conf.Name }
func (h *webhook) target() string { return digest(h.conf.URL) }

// of is the configuration but for where it is written. What a file of authorities holds
// is read with it, so it is part of it.
func (h *webhook) of() any {
	c := h.conf
	c.Pos = config.Position{}
	pem, _ := os.ReadFile(c.CA) // it was said that it cannot be read
	return struct {
		config.Webhook
		pem string
	}{c, string(pem)}
}

func (h *webhook) wants(e *Event) bool {
	return h.conf.Wants(e.Data.Outcome) && e.of(h.conf.Domains)
}

func (h *webhook) terms() terms {
	return terms{most: h.conf.MaxBatch, timeout: h.conf.Timeout, retry: h.conf.RetryInterval, retryMost: h.conf.MaxRetryInterval, giveUp: h.conf.GiveUpAfter}
}

func (h *webhook) close() {
	if h.client != nil {
		h.client.CloseIdleConnections()
	}
}

// batch is the body of a request with several events.
type batch struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"` // messages
	Version   int               `json:"version"`
	Timestamp time.Time         `json:"timestamp"` // of the last event
	Data      []json.RawMessage `json:"data"`
}

// body is what events are sent as, and its id: that of the event, or one that the same
// events have each time.
func (h *webhook) body(events []*Event) (id string, body []byte, err error) {
	if h.conf.MaxBatch == 1 {
		return events[0].ID, events[0].body, nil
	}
	b := batch{Type: "messages", Version: Version, Timestamp: events[len(events)-1].Timestamp}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
		b.Data = append(b.Data, e.body)
	}
	b.ID = "evts_" + digest(ids...)
	body, err = json.Marshal(b)
	return b.ID, body, err
}

func (h *webhook) send(ctx context.Context, events []*Event) (answer string, err error) {
	if h.bad != nil {
		return "", h.bad
	}
	id, body, err := h.body(events)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.conf.URL, bytes.NewReader(body))
	if err != nil {
		return "", unnamed(err)
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", h.agent)
	req.Header.Set(headerID, id)
	req.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(headerSignature, h.keys.sign(id, now, body))
	resp, err := h.client.Do(req)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
			return "", fmt.Errorf("no answer within %v", h.conf.Timeout)
		}
		return "", unnamed(err)
	}
	defer resp.Body.Close()
	return verdict(resp, now)
}

// unnamed takes the URL out of an error: its path may be a secret.
func unnamed(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// place is where a webhook leads to, without what may be a secret.
func place(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "?"
	}
	where := u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		where += "/…"
	}
	return where
}
