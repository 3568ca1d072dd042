package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
)

// tokenVariable names the environment variable with the bearer token of the
// admin HTTP: an argument would show in the list of processes.
const tokenVariable = "MCMT2XMPP_TOKEN"

// target says which gateway a command is about.
type target struct{ config, admin string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&t.config, "config", "c", "", "configuration `FILE` of the gateway; default the embedded one")
	cmd.PersistentFlags().StringVar(&t.admin, "admin", "", "`URL` of the admin HTTP, such as http://127.0.0.1:8026, instead of the\none that the configuration names; token in "+tokenVariable)
}

// with calls do with the accounts of a running gateway, or with those in the
// data folder when no gateway answers. fresh allows a data folder to be made.
func (t *target) with(ctx context.Context, fresh bool, do func(context.Context, accounts) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if t.admin != "" {
		return do(ctx, newAdminClient(app.Admin{URL: t.admin}))
	}
	cfg, err := loadConfig(t.config)
	if err != nil {
		return reportDiagnostics(os.Stderr, err)
	}
	deadline := time.Now().Add(startPatience)
	for {
		err := t.once(ctx, cfg, fresh, do)
		if !errors.Is(err, broker.ErrInUse) || time.Now().After(deadline) {
			return err
		}
		if !backoff.Wait(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// startPatience is how long a command waits for a gateway that has its data
// folder open and does not answer yet: it is about to.
const startPatience = 3 * time.Second

// once tries the gateway that the configuration names, and then its data folder.
func (t *target) once(ctx context.Context, cfg *config.Config, fresh bool, do func(context.Context, accounts) error) error {
	if where, ok := app.FindAdmin(cfg); ok {
		client := newAdminClient(where)
		_, err := client.List(ctx)
		switch {
		case err == nil:
			return do(ctx, client)
		case !noGateway(err):
			return err
		}
	}
	if _, err := os.Stat(cfg.DataDir); err != nil && !fresh && len(cfg.NATS.URLs) == 0 {
		return fmt.Errorf("no gateway answers, and there is no data folder %s: give -c FILE or --admin URL", cfg.DataDir)
	}
	log := newLogger(cfg.Log).Level(zerolog.WarnLevel) // how the store opens and closes is no news here
	return app.WithAccounts(ctx, cfg, log, func(a admin.Accounts) error { return do(ctx, a) })
}

// running calls do with the admin HTTP of a gateway that must be running.
func (t *target) running(ctx context.Context, do func(context.Context, adminClient) error) error {
	where := app.Admin{URL: t.admin}
	if t.admin == "" {
		cfg, err := loadConfig(t.config)
		if err != nil {
			return reportDiagnostics(os.Stderr, err)
		}
		var ok bool
		if where, ok = app.FindAdmin(cfg); !ok {
			return errors.New("the configuration does not say where the admin HTTP is: give --admin URL")
		}
	}
	client := newAdminClient(where)
	err := do(ctx, client)
	if noGateway(err) {
		return fmt.Errorf("no gateway answers at %s: give -c FILE or --admin URL of one that runs", cmp.Or(where.Socket, where.URL))
	}
	return err
}

// noGateway reports whether err says that nobody listens there.
func noGateway(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

type accounts = admin.Accounts

// adminClient is the admin HTTP of a gateway. It is the accounts behind it, too.
type adminClient struct {
	base, token string
	http        *http.Client
}

// answerPatience is how long the longest work on a queue may take.
const answerPatience = 10 * time.Minute

func newAdminClient(where app.Admin) adminClient {
	transport := &http.Transport{DisableKeepAlives: true}
	if where.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", where.Socket)
		}
	}
	if want := where.Certificate; want != nil {
		transport.TLSClientConfig = &tls.Config{
			MinVersion: tls.VersionTLS12,
			// The gateway's configuration says which certificate it shows, so
			// that one is demanded, whatever name is in it and whoever signed it.
			InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
			VerifyConnection: func(s tls.ConnectionState) error {
				if !s.PeerCertificates[0].Equal(want) {
					return errors.New("not the certificate of the configuration")
				}
				return nil
			},
		}
	}
	c := adminClient{base: strings.TrimRight(where.URL, "/"), token: where.Token, http: &http.Client{Transport: transport, Timeout: answerPatience}}
	if token := os.Getenv(tokenVariable); token != "" {
		c.token = token
	}
	return c
}

const usersPath = "/v1/users"

func userPath(user jid.JID) string { return usersPath + "/" + url.PathEscape(user.String()) }

func (c adminClient) Add(ctx context.Context, user jid.JID, password string) error {
	return c.call(ctx, http.MethodPost, usersPath, admin.User{JID: user.String(), Password: password}, nil)
}

func (c adminClient) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return c.call(ctx, http.MethodPut, userPath(user), admin.User{JID: user.String(), Password: password}, nil)
}

func (c adminClient) Remove(ctx context.Context, user jid.JID) error {
	return c.call(ctx, http.MethodDelete, userPath(user), nil, nil)
}

func (c adminClient) List(ctx context.Context) ([]jid.JID, error) {
	var users []admin.User
	if err := c.call(ctx, http.MethodGet, usersPath, nil, &users); err != nil {
		return nil, err
	}
	all := make([]jid.JID, len(users))
	for i, u := range users {
		j, err := jid.Parse(u.JID)
		if err != nil {
			return nil, fmt.Errorf("account %q: %w", u.JID, err)
		}
		all[i] = j
	}
	return all, nil
}

// call makes one request, with in as its body unless that is nil, and decodes the
// answer into out unless that is nil. path may have a query.
func (c adminClient) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case len(answer) == maxAnswer:
		return fmt.Errorf("%s: the answer is longer than %d bytes: ask for less", c.base, maxAnswer)
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s: %w", c.base, refusal(resp, answer))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return c.notOurs(err)
	}
	return nil
}

// maxAnswer bounds what is read of an answer: some hundred thousand accounts
// or routes.
const maxAnswer = 64 << 20

// apiCall makes requests whose answers a person reads, or with json a program.
type apiCall struct {
	adminClient
	json bool
	out  io.Writer
}

// print makes a request, and prints the answer as it came for a program.
func (c apiCall) print(ctx context.Context, method, path string, in, answer any) error {
	var raw json.RawMessage
	if err := c.call(ctx, method, path, in, &raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return c.notOurs(err)
	}
	if !c.json {
		return nil
	}
	_, err := fmt.Fprintf(c.out, "%s\n", bytes.TrimSpace(raw))
	return err
}

// notOurs is the error of an answer that no gateway gives.
func (c adminClient) notOurs(err error) error {
	return fmt.Errorf("%s is not the admin HTTP of a gateway: %w", c.base, err)
}

// refusedError is an answer of a gateway that is none of success.
type refusedError struct {
	status int
	text   string
	again  time.Duration // after which it may be another answer (Retry-After); zero: it says nothing
}

func (e *refusedError) Error() string { return e.text }

// ofRequest reports whether the request is to blame, and another one may fare better.
func (e *refusedError) ofRequest() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// refusal is the reason that an answer gives (RFC 9457).
func refusal(resp *http.Response, body []byte) error {
	var p struct {
		Detail, Where string
		Mistakes      []admin.Finding
	}
	e := &refusedError{status: resp.StatusCode, text: resp.Status}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.again = time.Duration(min(seconds, 86400)) * time.Second
	}
	switch err := json.Unmarshal(body, &p); {
	case err != nil || p.Detail == "":
	case len(p.Mistakes) > 0:
		text := "the configuration is refused, the one before stays"
		for _, f := range p.Mistakes {
			text += "\n" + findingText(f)
		}
		e.text = fmt.Sprintf("%d: %s", resp.StatusCode, text)
	case p.Where != "":
		e.text = fmt.Sprintf("%d: %s: %s", resp.StatusCode, p.Where, p.Detail)
	default:
		e.text = fmt.Sprintf("%d: %s", resp.StatusCode, p.Detail)
	}
	return e
}
