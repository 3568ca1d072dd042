package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/emersion/go-smtp"

	"mcmt2xmpp/mcmt"
)

// submitTimeout bounds one whole submission where ctx does not.
const submitTimeout = 2 * time.Minute

// Submit hands raw to the SMTP server at addr (host:port) in one transaction,
// and returns the text of the server's 250. A reply that refuses a recipient or
// the message is a *mcmt.Refusal with its code; the message then was not taken
// for anyone.
func Submit(ctx context.Context, addr, from string, to []string, raw []byte) (reply string, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("relay: %w", err)
	}
	// The client knows no context: its end closes the connection under it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(submitTimeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("relay: %w", err)
	}
	c := smtp.NewClient(conn)
	defer c.Close()
	if err := c.Hello(helloName()); err != nil {
		return "", fmt.Errorf("relay: %s: %w", addr, answer("EHLO", err))
	}
	reply, err = transaction(c, from, to, raw)
	if err != nil {
		return "", fmt.Errorf("relay: %s: %w", addr, err)
	}
	_ = c.Quit() // the message is taken whatever becomes of the farewell
	return reply, nil
}

func transaction(c *smtp.Client, from string, to []string, raw []byte) (string, error) {
	opts := &smtp.MailOptions{}
	if ok, _ := c.Extension("8BITMIME"); ok {
		opts.Body = smtp.Body8BitMIME
	}
	if ok, _ := c.Extension("SMTPUTF8"); ok && (!plain(from) || slices.ContainsFunc(to, func(a string) bool { return !plain(a) })) {
		opts.UTF8 = true
	}
	if err := c.Mail(from, opts); err != nil {
		return "", answer("MAIL FROM:<"+from+">", err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt, nil); err != nil {
			return "", answer("RCPT TO:<"+rcpt+">", err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return "", answer("DATA", err)
	}
	if _, err := w.Write(raw); err != nil {
		return "", fmt.Errorf("DATA: %w", err)
	}
	resp, err := w.CloseWithResponse()
	if err != nil {
		return "", answer("message", err)
	}
	return resp.StatusText, nil
}

// answer turns a reply of the server into a Refusal that keeps its code.
func answer(where string, err error) error {
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		return fmt.Errorf("%s: %w", where, err)
	}
	return &mcmt.Refusal{Code: reply.Code, Enhanced: [3]int(reply.EnhancedCode), Status: 502, Text: reply.Message, Where: where}
}

// helloName is what EHLO says (RFC 5321 §4.1.1.1).
func helloName() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "[127.0.0.1]"
}
