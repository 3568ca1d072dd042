package mcmt

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// ID names one accepted message for its whole life (the "queue id" of a mail
// server). It is short, printable ASCII without white space, and unique across
// nodes. The zero ID names nothing.
type ID string

// Envelope is what a listener knows of a message beside its bytes (RFC 5321 §2.3.1).
type Envelope struct {
	From       string      // reverse-path without angle brackets; empty is the null path
	To         []Recipient // accepted recipients, in the order they were given
	Reception  Reception   // what to do with an MCMT message
	Listener   string      // kind and address of the listener: "esmtp_listener 127.0.0.1:2525"
	Peer       netip.AddrPort
	Hello      string // name the SMTP client gave with EHLO; empty for HTTP
	User       string // authenticated user; empty for none
	Trusted    bool   // authenticated, or a peer in relay_hosts: may relay, may send as one of our domains
	SMTPUTF8   bool   // RFC 6531
	EnvelopeID string // DSN ENVID (RFC 3461 §4.4), decoded
	Return     string // DSN RET: "FULL", "HDRS" or empty
	Received   time.Time
	Confirms   bool // the listener tells a Confirmer when the client has seen the answer
	// IdempotencyKey is the HTTP client's key for this submission; empty for
	// none. The sink answers a key it has already seen, from the same User,
	// with the ID of the first time and stores nothing.
	IdempotencyKey string
	// Parsed is what Parse has made of the bytes that the envelope goes with, so that
	// nobody parses them again; nil where the listener had no need to.
	Parsed *Message
}

// Recipient is one forward-path with its DSN parameters (RFC 3461 §4).
type Recipient struct {
	Address string   // without angle brackets, quoting as RFC 5321 writes it
	Notify  []string // NEVER, or of SUCCESS, FAILURE, DELAY; empty: the default
	ORCPT   string   // original recipient, "rfc822;addr" decoded; empty for none
}

// Reception is the mcmt_reception option: what happens to an MCMT message.
type Reception uint8

const (
	PassThrough Reception = iota // queued untouched, as though MCMT were unknown
	Allow                        // taken apart
	Reject                       // refused with 554 5.7.1
)

// Sink takes custody of messages. Both methods return a *Refusal when the
// message or recipient is not taken, or another error, which counts as
// temporary; its text is for the log only.
type Sink interface {
	// Recipient says whether Put would take addr, for the answer to RCPT.
	Recipient(ctx context.Context, env Envelope, addr string) error
	// Sender says whether env.From may be used by env's peer, for the answer to MAIL.
	Sender(ctx context.Context, env Envelope) error
	// Put stores raw for every recipient of env, all or none, and returns when
	// they are stored (SPEC: custody). raw must not change afterwards: what shares its
	// memory is kept for a while.
	Put(ctx context.Context, env Envelope, raw []byte) (ID, error)
}

// Confirmer is a Sink that wants to know whether its answers arrive. Where the
// client of an envelope with Confirms sends the message again, and has not seen
// the answer to the first, it is that message; afterwards it is another one.
type Confirmer interface {
	// Confirm says that the client has seen the answers with these ids. It does
	// not block.
	Confirm(ids ...ID)
}

// Refusal is an answer to a peer: the SMTP reply code and enhanced code (RFC
// 3463), the HTTP status that means the same, and a text that the peer may see.
type Refusal struct {
	Code     int    // SMTP reply code, 4yz or 5yz
	Enhanced [3]int // class, subject, detail
	Status   int    // HTTP status
	Text     string // one line for the peer: no internals
	Where    string // what the text is about, such as "part 2" or "header Content-Type"; may be empty
	Err      error  // cause, for the log; may be nil
}

// Error returns the text as a log shows it.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
	if r.Where != "" {
		s += " (" + r.Where + ")"
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Temporary reports whether the same message may be taken later.
func (r *Refusal) Temporary() bool { return r.Code < 500 }
