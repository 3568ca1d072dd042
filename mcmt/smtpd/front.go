package smtpd

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"
)

// front is the connection that go-smtp sees. Each Read gives it at most one
// line, one that the gate has passed, so that nothing is ever buffered above
// the wire: a message, a BDAT chunk and a TLS handshake are read from the wire
// directly. Each Write is a piece of a reply.
type front struct {
	*session
	once sync.Once
	gone chan struct{} // closed when go-smtp closes the connection
}

// serve gives the connection to go-smtp until it ends, or until STARTTLS, after
// which everything begins anew (RFC 3207 §4.2) and serve returns true.
func (s *session) serve() (again bool) {
	s.restart = false
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return s, nil }))
	srv.Domain = s.srv.opt.Hostname
	srv.MaxLineLength = 0 // the wire bounds lines
	srv.MaxMessageBytes = s.opt.MaxMessageSize
	srv.MaxRecipients = s.opt.MaxRecipients
	srv.AllowInsecureAuth = s.tls != nil || s.opt.AllowAuthWithoutTLS
	srv.EnableSMTPUTF8 = true
	srv.EnableDSN = true
	srv.ErrorLog = goSMTPLog{s.log}
	if s.tls == nil {
		srv.TLSConfig = s.opt.TLS
	}

	f := &front{session: s, gone: make(chan struct{})}
	// Serve returns when the only connection it ever gets is closed; that is no
	// error. Shutdown then waits for the handler's goroutine.
	_ = srv.Serve(&single{front: f})
	if err := srv.Shutdown(context.WithoutCancel(s.hard)); err != nil {
		s.log.Error().Err(err).Msg("go-smtp")
	}
	return s.restart && !s.dying
}

// single is a listener that accepts one connection and then waits for its end.
type single struct {
	front *front
	given bool
}

// Accept returns the connection, and net.ErrClosed once that is closed.
func (l *single) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.front, nil
	}
	<-l.front.gone
	return nil, net.ErrClosed
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.front.LocalAddr() }

func (f *front) LocalAddr() net.Addr              { return f.wire.socket.LocalAddr() }
func (f *front) RemoteAddr() net.Addr             { return f.wire.socket.RemoteAddr() }
func (f *front) SetDeadline(time.Time) error      { return nil } // the wire has its own
func (f *front) SetReadDeadline(time.Time) error  { return nil }
func (f *front) SetWriteDeadline(time.Time) error { return nil }

// Close is go-smtp's end of the connection; run closes the real one.
func (f *front) Close() error {
	f.once.Do(func() {
		f.dying = f.dying || !f.restart
		close(f.gone)
	})
	return nil
}

// Read gives go-smtp the next line that passes the gate.
func (f *front) Read(p []byte) (n int, err error) {
	// go-smtp recovers panics of its commands, but not of a read between them.
	defer func() {
		if p := recover(); p != nil {
			f.panicked(p)
			f.hangup("421 4.3.0 internal error")
			n, err = 0, io.EOF
		}
	}()
	for len(f.feed) == 0 {
		if f.dying || f.restart {
			return 0, io.EOF
		}
		f.feed = []byte(f.nextLine())
	}
	n = copy(p, f.feed)
	f.feed = f.feed[n:]
	return n, nil
}

// Write takes a piece of go-smtp's reply. When the reply is complete it goes
// out, as it is or as the session would have it.
func (f *front) Write(p []byte) (int, error) {
	f.out = append(f.out, p...)
	for start := 0; ; {
		n := bytes.IndexByte(f.out[start:], '\n')
		if n < 0 {
			return len(p), nil
		}
		line := f.out[start : start+n+1]
		start += n + 1
		if len(line) > 3 && line[3] == ' ' {
			text := string(f.out[:start])
			f.out = append(f.out[:0], f.out[start:]...)
			start = 0
			f.replied(text)
		}
	}
}

// reply is what the session has to do with go-smtp's replies and reads.
type reply struct {
	out        []byte // of a reply that is not complete
	say        string // goes out instead of the next reply
	first      string // goes out instead of the next reply's first line
	after      string // goes out after the next reply, and ends the session
	mute       bool   // nothing goes out instead of the next reply
	challenged bool   // the peer's next line is a response within AUTH
	feed       []byte // what go-smtp reads next
	restart    bool   // begin anew, after STARTTLS
	dying      bool   // nothing more is read or written
}

// replied handles one complete reply of go-smtp, with its CRLF.
func (s *session) replied(text string) {
	say, first, after, mute := s.say, s.first, s.after, s.mute
	s.say, s.first, s.after, s.mute = "", "", "", false
	s.challenged = strings.HasPrefix(text, "334 ")
	switch {
	case mute:
		return
	case say != "":
		text = say
	case first != "":
		_, rest, _ := strings.Cut(text, "\r\n")
		text = first + "\r\n" + strings.TrimSuffix(rest, "\r\n")
	case strings.HasPrefix(text, "500 5.5.4 Unknown "):
		text = "555 5.5.4 parameter not recognized" // RFC 5321 §4.1.1.11
	default:
		text = strings.TrimSuffix(text, "\r\n")
	}
	s.send(text)
	if after != "" {
		s.hangup(after)
	}
}

// send queues one reply; the wire sends it with others when it next has to wait
// for the peer. Too many errors end the session.
func (s *session) send(text string) {
	if s.dying {
		return
	}
	_, err := s.wire.bw.WriteString(text + "\r\n")
	if err != nil {
		s.dying = true
		return
	}
	if text[0] == '4' || text[0] == '5' {
		s.failed()
	}
}

// failed counts an error of the peer.
func (s *session) failed() {
	if s.errors++; s.errors >= s.srv.opt.MaxErrors {
		s.srv.count.limitErrors.Add(1)
		s.log.Info().Str("limit", "errors").Msg("connection closed")
		s.hangup("421 4.7.0 " + s.srv.opt.Hostname + " too many errors, closing connection")
	}
}

// hangup queues a last reply, if there is one, and ends the session.
func (s *session) hangup(text string) {
	if s.dying {
		return
	}
	s.dying = true
	if text != "" {
		_, _ = s.wire.bw.WriteString(text + "\r\n")
	}
}

// nextLine reads a line from the peer and returns what go-smtp is to get:
// nothing, where the gate has answered it.
func (s *session) nextLine() string {
	s.wire.bound(s.srv.opt.CommandTimeout, s.tx.body == nil)
	// What is here already was sent before our replies (RFC 2920 §3.1).
	pipelined := s.wire.br.Buffered() > 0
	line, err := s.wire.readLine()
	if err != nil {
		s.ended(err)
		return ""
	}
	if !pipelined {
		s.confirm()
	}
	if !s.challenged {
		return s.command(string(line))
	}
	s.challenged = false
	text := strings.TrimRight(string(line), "\r\n")
	if _, err := base64.StdEncoding.DecodeString(text); err != nil && text != "=" && text != "*" {
		s.say = "501 5.5.2 cannot decode response" // RFC 4954 §4
	}
	return text + "\r\n"
}

// ended answers the end of the peer's commands.
func (s *session) ended(err error) {
	if s.tx.body != nil {
		s.srv.count.aborted.Add(1)
		s.conclude("", outcomeOf(err), err)
	}
	name := s.srv.opt.Hostname
	switch {
	case errors.Is(err, errStopping):
		s.hangup("421 4.3.2 " + name + " going down, try again later")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.srv.count.limitTime.Add(1)
		s.log.Info().Str("limit", "time").Msg("connection closed")
		s.hangup("421 4.4.2 " + name + " timeout, closing connection")
	case errors.Is(err, errTooLong):
		s.log.Info().Str("limit", "line").Msg("connection closed")
		s.hangup("500 5.5.2 line too long, closing connection")
	default:
		s.hangup("")
	}
}

// goSMTPLog takes go-smtp's log, which is about what is handled here already.
type goSMTPLog struct{ log zerolog.Logger }

// Printf logs at debug level.
func (l goSMTPLog) Printf(format string, v ...any) { l.log.Debug().Msgf("go-smtp: "+format, v...) }

// Println logs at debug level.
func (l goSMTPLog) Println(v ...any) { l.log.Debug().Any("text", v).Msg("go-smtp") }
