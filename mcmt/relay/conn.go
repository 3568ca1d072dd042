package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// conn is one connection to a host, used by one goroutine at a time. It is written
// on net and bufio: a client that the waits, the bounds of replies and the check for
// words out of turn can be built into has to own its buffers.
type conn struct {
	raw  net.Conn // as it was dialled; closed from other goroutines
	net  net.Conn // what is spoken on: raw, or TLS over it
	r    *bufio.Reader
	w    *bufio.Writer
	host string // host:port
	log  zerolog.Logger

	ext    map[string]string // what EHLO offered, by keyword in upper case
	tls    bool
	used   int  // transactions begun
	broken bool // not to be used again
	state  policy
	idle   *time.Timer // closes it; set by the pool
}

func newConn(nc net.Conn, host string, log zerolog.Logger) *conn {
	c := &conn{raw: nc, host: host, log: log}
	c.over(nc)
	return c
}

// over moves the conversation to nc.
func (c *conn) over(nc net.Conn) {
	c.net, c.r, c.w = nc, bufio.NewReaderSize(nc, 4096), bufio.NewWriterSize(deadlined{nc}, 16<<10)
}

// deadlined bounds each write for itself.
type deadlined struct{ net.Conn }

func (d deadlined) Write(b []byte) (int, error) {
	if err := d.SetWriteDeadline(time.Now().Add(blockTimeout)); err != nil {
		return 0, err
	}
	return d.Conn.Write(b)
}

// during runs f, and closes the connection when ctx ends before f does. The cause of
// the error is then that of ctx.
func (c *conn) during(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	err := f()
	c.broken = c.broken || c.r.Buffered() > 0 // see say
	if !stop() {
		c.broken = true
		if host, ok := errors.AsType[*HostError](err); ok {
			host.Kind, host.Err = KindLost, ctx.Err()
		}
	}
	return err
}

// failed marks the connection as one not to be used again.
func (c *conn) failed(kind Kind, step string, err error) *HostError {
	c.broken = true
	if errors.Is(err, errReplyForm) || errors.Is(err, errReplyLong) || errors.Is(err, errTurn) {
		kind = KindProtocol
	}
	return &HostError{Host: c.host, Kind: kind, Step: step, Err: err}
}

var errTurn = errors.New("the host speaks out of turn")

// command sends a line and reads the reply. The error is a *HostError; a reply that
// refuses is none.
func (c *conn) command(wait time.Duration, format string, args ...any) (reply, error) {
	line := fmt.Sprintf(format, args...)
	return c.say(wait, line, line)
}

// say is command with what the log and errors show of the line.
func (c *conn) say(wait time.Duration, line, shown string) (reply, error) {
	step, _, _ := strings.Cut(shown, " ")
	if strings.ContainsAny(line, "\r\n") {
		return reply{}, c.failed(KindProtocol, step, errors.New("a command of two lines")) // a bug of ours, and no way to smuggle
	}
	// Since we do not pipeline, there is nothing to be read now: it would be taken
	// for the answer to this command, and all that follow would be off by one.
	if c.r.Buffered() > 0 {
		return reply{}, c.failed(KindProtocol, step, errTurn)
	}
	c.log.Debug().Str("host", c.host).Str("c", shown).Msg("smtp out")
	if _, err := c.w.WriteString(line + "\r\n"); err != nil {
		return reply{}, c.failed(KindLost, step, err)
	}
	if err := c.w.Flush(); err != nil {
		return reply{}, c.failed(KindLost, step, err)
	}
	return c.read(wait, step)
}

// read reads a reply. 421 ends the connection, whatever it answers (RFC 5321 §3.8).
func (c *conn) read(wait time.Duration, step string) (reply, error) {
	if err := c.net.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return reply{}, c.failed(KindLost, step, err)
	}
	r, err := readReply(c.r)
	if err != nil {
		return reply{}, c.failed(KindLost, step, err)
	}
	if r.code == 421 {
		c.broken = true
	}
	c.log.Debug().Str("host", c.host).Str("s", r.String()).Msg("smtp in")
	return r, nil
}

// greet reads the greeting and says EHLO, or HELO to whom that is unknown (RFC 5321
// §3.2). A host that refuses the connection says nothing of our message, so that is
// a *HostError too; those that take no mail at all say so in the DNS (RFC 7505).
func (c *conn) greet(hostname string) error {
	r, err := c.read(greetingTimeout, "greeting")
	if err != nil {
		return err
	}
	if r.code != 220 {
		return c.failed(KindUnwelcome, "greeting", errors.New(r.String()))
	}
	return c.hello(hostname)
}

func (c *conn) hello(hostname string) error {
	c.ext = nil
	r, err := c.command(commandTimeout, "EHLO %s", hostname)
	if err != nil {
		return err
	}
	if r.ok() {
		c.ext = extensions(r.lines)
		return nil
	}
	if r.code == 500 || r.code == 502 {
		if r, err = c.command(commandTimeout, "HELO %s", hostname); err != nil {
			return err
		}
	}
	if !r.ok() {
		return c.failed(KindUnwelcome, "EHLO", errors.New(r.String()))
	}
	return nil
}

// extensions reads the lines after the first of the reply to EHLO (RFC 5321
// §4.1.1.1).
func extensions(lines []string) map[string]string {
	ext := make(map[string]string)
	for _, line := range lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		keyword = strings.ToUpper(keyword)
		// COMPAT: "AUTH=PLAIN" beside or in place of "AUTH PLAIN".
		if mechanisms, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			keyword, params = "AUTH", strings.TrimSpace(ext["AUTH"]+" "+mechanisms+" "+params)
		}
		ext[keyword] = params
	}
	return ext
}

func (c *conn) offers(keyword string) bool {
	_, ok := c.ext[keyword]
	return ok
}

// startTLS asks for TLS and moves the connection under it (RFC 3207). What the host
// said after its 220 came in clear text, and read after the handshake it would pass
// for protected: a host that says anything there is left.
func (c *conn) startTLS(conf *tls.Config) error {
	r, err := c.command(commandTimeout, "STARTTLS")
	switch {
	case err != nil:
		return err
	case r.code != 220:
		return c.failed(KindTLS, "STARTTLS", errors.New(r.String()))
	case c.r.Buffered() > 0:
		return c.failed(KindProtocol, "STARTTLS", errTurn)
	}
	return c.handshake(conf)
}

func (c *conn) handshake(conf *tls.Config) error {
	if err := c.net.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return c.failed(KindLost, "handshake", err)
	}
	protected := tls.Client(c.net, conf)
	if err := protected.Handshake(); err != nil {
		return c.failed(KindTLS, "handshake", err)
	}
	c.over(protected)
	c.tls = true
	return nil
}

// remoteLoopback says whether the host is this machine.
func (c *conn) remoteLoopback() bool {
	addr, ok := c.raw.RemoteAddr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// quit says farewell, without waiting long, and closes the connection (RFC 5321
// §4.1.1.10). A broken one is closed without a word.
func (c *conn) quit() {
	if c.broken {
		_ = c.raw.Close() // nothing else can be done about it
		return
	}
	// Without the farewell of a host that does not read any more.
	stop := time.AfterFunc(quitTimeout, func() { _ = c.raw.Close() })
	defer stop.Stop()
	_, _ = c.command(quitTimeout, "QUIT") // nothing depends on it
	_ = c.net.Close()                     // with the end of TLS, so that the host sees no truncation
}
