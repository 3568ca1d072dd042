package relay

import (
	"errors"
	"fmt"
	"time"
)

// transact runs one transaction (RFC 5321 §3.3). A reply that refuses the message is a
// *mcmt.Refusal, after which the connection is ready for the next one.
func (c *conn) transact(m Message) (Result, error) {
	mail, err := c.mailCommand(m)
	if err != nil {
		return Result{}, err
	}
	for _, step := range []struct {
		line, name string
		wait       time.Duration
		code       int
	}{
		{mail, "MAIL", commandTimeout, 250},
		{c.rcptCommand(m), "RCPT", commandTimeout, 250},
		{"DATA", "DATA", dataTimeout, 354},
	} {
		r, err := c.command(step.wait, "%s", step.line)
		if err != nil {
			return Result{}, err
		}
		if r.code/100 != step.code/100 {
			return Result{}, c.refused(r, step.name)
		}
	}
	r, err := c.data(m.Raw)
	if err != nil {
		return Result{}, err
	}
	if !r.ok() {
		return Result{}, c.refused(r, "message")
	}
	return Result{Host: c.host, Reply: r.String(), TLS: c.tls, DSN: c.offers("DSN")}, nil
}

// refused is the error of a reply, and brings the connection back to where it was
// before the transaction. A reply that is no answer to the command, such as 250 to
// DATA, is an error of the host.
func (c *conn) refused(r reply, command string) error {
	if r.code/100 < 4 {
		return c.failed(KindProtocol, command, fmt.Errorf("answered %s", r))
	}
	if !c.broken {
		reset, err := c.command(commandTimeout, "RSET")
		c.broken = err != nil || !reset.ok()
	}
	return r.refusal(c.host, command)
}

// data sends the message and reads the answer to it. From its end on nobody knows
// whether the host has it until it answers.
func (c *conn) data(raw []byte) (reply, error) {
	if _, err := writeData(c.w, raw); err != nil {
		return c.early(err)
	}
	if err := c.w.Flush(); err != nil {
		return c.early(err)
	}
	_, err := c.w.WriteString(".\r\n")
	if err == nil {
		err = c.w.Flush()
	}
	if err != nil {
		return c.early(err) // not all of it was written, so the host has no end
	}
	r, err := c.read(endTimeout, "message")
	if host, ok := errors.AsType[*HostError](err); ok {
		host.Unsure = true
	}
	return r, err
}

// early is a connection that ended while the message was being written. Hosts that do
// not want it say so before they leave; that it is taken nobody can say by now.
func (c *conn) early(cause error) (reply, error) {
	c.broken = true
	if r, err := c.read(quitTimeout, "message"); err == nil && r.code >= 400 {
		return r, nil
	}
	return reply{}, c.failed(KindLost, "message", cause)
}
