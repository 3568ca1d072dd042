package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// session is one connection, before and after STARTTLS. It stands on both sides
// of go-smtp: as the net.Conn it reads commands from and writes replies to
// (front.go), and as the smtp.Session it calls. All of it runs on go-smtp's one
// goroutine per connection.
type session struct {
	srv  *Server
	wire *wire
	opt  PeerOptions
	peer netip.AddrPort
	log  zerolog.Logger

	// The methods that go-smtp calls take no context. soft ends intake; hard
	// bounds what was begun before.
	soft, hard context.Context

	tls      *tls.ConnectionState // nil in clear text
	hello    string               // argument of HELO or EHLO; "" before
	extended bool                 // EHLO
	user     string               // authenticated name
	tx       transaction
	errors   int                // since the last accepted message
	junk     int                // likewise
	failures int                // of AUTH
	cancel   context.CancelFunc // of the exchange that is running; may be nil
	unseen   []mcmt.ID          // accepted, but the peer may not have read so
	reply
}

// transaction is one mail transaction (RFC 5321 §3.3); the zero value is none.
type transaction struct {
	begun bool          // MAIL was accepted
	env   mcmt.Envelope // as far as it is known
	size  int64         // declared with SIZE; 0: not
	path  string        // mailbox of the command that go-smtp is working on
	body  *spool        // message so far, from the first BDAT on
}

// run is the life of one connection. soft and hard are as in Serve.
func (s *Server) run(soft, hard context.Context, c net.Conn, peer netip.AddrPort) {
	ss := &session{
		srv:  s,
		wire: newWire(c, &s.opt),
		peer: peer,
		soft: soft,
		hard: hard,
		log:  s.opt.Log.With().Stringer("peer", peer).Logger(),
	}
	s.enter(ss)
	defer s.exit(ss)
	defer func() { ss.wire.close(ss.dying) }()
	defer ss.recovered()

	ss.opt = s.opt.Config(peer).withDefaults()
	if t, ok := c.(*tls.Conn); ok && !ss.secure(ss.wire.handshake(soft, t)) {
		return
	}
	if ss.opt.Deny {
		ss.log.Info().Str("outcome", "denied").Msg("connection refused")
		ss.hangup("554 5.7.1 " + s.opt.Hostname + " no service for your address")
		return
	}
	defer ss.endAuth()
	defer ss.drop()
	for again := true; again; {
		again = ss.serve()
	}
}

// secure notes the result of a handshake.
func (s *session) secure(state *tls.ConnectionState, err error) bool {
	if err != nil {
		s.srv.count.tlsFailed.Add(1)
		s.log.Info().Err(err).Str("outcome", "tls").Msg("connection closed")
		s.dying = true
		return false
	}
	s.srv.count.tlsHandshakes.Add(1)
	s.tls = state
	return true
}

// recovered catches a panic of ours, so that one connection does not end the
// process.
func (s *session) recovered() {
	if p := recover(); p != nil {
		s.panicked(p)
		s.hangup("421 4.3.0 internal error")
	}
}

func (s *session) panicked(p any) {
	s.srv.count.panics.Add(1)
	s.log.Error().Any("panic", p).Bytes("stack", debug.Stack()).Msg("panic")
}

// drop forgets the transaction and gives its memory back.
func (s *session) drop() {
	if s.tx.body != nil {
		s.tx.body.release()
	}
	s.tx = transaction{}
}

// Reset ends the transaction; go-smtp calls it for RSET, a repeated EHLO and
// after each message.
func (s *session) Reset() { s.drop() }

// Logout ends the session as go-smtp sees it.
func (s *session) Logout() error { return nil }

// Mail begins a transaction. The mailbox is the one that the gate parsed.
func (s *session) Mail(_ string, o *smtp.MailOptions) error {
	s.tx.env = mcmt.Envelope{
		From:       s.tx.path,
		Reception:  s.opt.Reception,
		Listener:   s.srv.opt.Listener,
		Peer:       s.peer,
		Hello:      s.hello,
		User:       s.user,
		Trusted:    s.opt.Trusted || s.user != "",
		SMTPUTF8:   o.UTF8,
		EnvelopeID: o.EnvelopeID,
		Return:     string(o.Return),
		Confirms:   true,
	}
	err := s.ask(func(ctx context.Context) error { return s.srv.opt.Sink.Sender(ctx, s.tx.env) })
	if err != nil {
		s.srv.count.senderRefused.Add(1)
		return s.refused("MAIL", err)
	}
	s.tx.begun = true
	s.say = "250 2.1.0 Ok"
	return nil
}

// Rcpt adds a recipient. One that is already there is accepted and not added
// again, so that nobody gets two copies.
func (s *session) Rcpt(_ string, o *smtp.RcptOptions) error {
	addr := s.tx.path
	known := slices.ContainsFunc(s.tx.env.To, func(r mcmt.Recipient) bool { return r.Address == addr })
	s.say = "250 2.1.5 Ok"
	if known {
		return nil
	}
	r := mcmt.Recipient{Address: addr}
	for _, n := range o.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if o.OriginalRecipient != "" {
		if strings.ContainsFunc(o.OriginalRecipient, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			s.say = ""
			return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Control character in ORCPT"}
		}
		r.ORCPT = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	err := s.ask(func(ctx context.Context) error { return s.srv.opt.Sink.Recipient(ctx, s.tx.env, addr) })
	if err != nil {
		s.say = ""
		s.srv.count.rcptRefused.Add(1)
		return s.refused("RCPT", err)
	}
	s.tx.env.To = append(s.tx.env.To, r)
	return nil
}

// ask calls the sink with a bounded context. A panic there is an error like any
// other that says nothing about itself.
func (s *session) ask(call func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(s.hard, s.srv.opt.SinkTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			err = errors.New("panic in the sink")
		}
	}()
	return call(ctx)
}

// refused logs a command that the sink did not take and makes the reply.
func (s *session) refused(command string, err error) error {
	r := refusalOf(err)
	s.log.Info().Err(err).Str("cmd", command).Int("code", r.Code).Msg("command refused")
	return replyError(r)
}

// unavailable answers what is nobody's business: an error that is not a Refusal.
var unavailable = &mcmt.Refusal{Code: 451, Enhanced: [3]int{4, 3, 0}, Text: "temporary failure, try again later"}

// refusalOf is the answer for an error of the sink: a *mcmt.Refusal anywhere in
// its chain speaks for itself, the text of any other error stays here. A
// Refusal that is no failure code would turn a refusal into an acceptance.
func refusalOf(err error) *mcmt.Refusal {
	var r *mcmt.Refusal
	if errors.As(err, &r) && r != nil && r.Code >= 400 && r.Code <= 599 {
		return r
	}
	return unavailable
}

// replyError is r as go-smtp writes it, on one line of printable characters.
func replyError(r *mcmt.Refusal) *smtp.SMTPError {
	text := r.Text
	if r.Where != "" {
		text += " (" + r.Where + ")"
	}
	enhanced := smtp.EnhancedCode(r.Enhanced)
	if enhanced[0] != r.Code/100 { // RFC 3463 §2: the class says the same as the code
		enhanced = smtp.EnhancedCode{r.Code / 100, 0, 0}
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: enhanced, Message: oneLine(text)}
}

// oneLine keeps a text within one reply line (RFC 5321 §4.5.3.1.5: 512 octets).
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 400)]
}

// outcomeOf names why the peer's bytes ended, for the log.
func outcomeOf(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, errSmuggling):
		return "smuggling"
	case errors.Is(err, errTooLarge):
		return "too large"
	case errors.Is(err, errStopping):
		return "stopping"
	}
	return "connection lost"
}
