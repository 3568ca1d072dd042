package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/mcmt"
)

// identity is what all submissions of one message have in common; empty where
// nothing says that they are one message.
type identity string

// identify returns the identity of a message with a Message-ID, which is the same
// only for the same message (RFC 5322 §3.6.4). Without one, two messages of the
// same text are two messages.
//
// Not that field alone: the copies of a mailing list have it too, and so has what
// somebody wrote by hand. The same are the reverse-path, what the sender may do,
// and the bytes, but for the trace fields that each way here adds of its own.
func (in *Intake) identify(sub submission, msg *mcmt.Message) identity {
	if msg.Header.Get("Message-ID") == "" && msg.Email.MessageID == "" {
		return ""
	}
	h := sha256.New()
	head := strconv.AppendQuote(make([]byte, 0, 128), sub.env.From)
	head = strconv.AppendQuote(head, sub.env.User)
	head = strconv.AppendUint(head, uint64(sub.env.Reception), 10)
	head = strconv.AppendBool(head, sub.env.Trusted)
	head = strconv.AppendBool(head, in.partFrom(sub.env))
	h.Write(append(head, '\n'))
	writeUntraced(h, sub.raw)
	return identity(hex.EncodeToString(h.Sum(nil)[:16]))
}

// writeUntraced writes a message without its trace fields, Received and
// Return-Path (RFC 5322 §3.6.7). w is a hash, which never fails.
func writeUntraced(w io.Writer, raw []byte) {
	kept, trace := 0, false // what is not written yet begins at kept
	for pos := 0; pos < len(raw); {
		n := bytes.IndexByte(raw[pos:], '\n') + 1
		if n == 0 {
			n = len(raw) - pos
		}
		line := raw[pos : pos+n]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break // the header ends here
		}
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			trace = isTrace(line)
		}
		if trace {
			_, _ = w.Write(raw[kept:pos])
			kept = pos + n
		}
		pos += n
	}
	_, _ = w.Write(raw[kept:])
}

func isTrace(line []byte) bool {
	for _, name := range []string{"received:", "return-path:"} {
		if len(line) >= len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			return true
		}
	}
	return false
}

// again stores a message that may have been stored before, by a submission whose
// answer the client has not seen: only for those who do not have it, and where
// all do the answer is the first one.
func (in *Intake) again(ctx context.Context, sub submission) (mcmt.ID, error) {
	// A client that was tired of waiting comes before the first is done.
	leave, err := in.repeats.enter(ctx, string(sub.same))
	if err != nil {
		return "", refuse(451, [3]int{4, 3, 0}, 503, "the same message is being stored", err)
	}
	defer leave()
	all := sub.to
	first, rest := in.unseen.find(sub.same, all, sub.start)
	if n := len(all) - len(rest); n > 0 {
		in.repeated.Add(uint64(n))
		in.o.Log.Info().Str("id", string(first)).Str("from", sub.env.From).Int("recipients", n).
			Msg("the same message again, after an answer that was not seen")
	}
	if len(rest) == 0 {
		return first, nil
	}
	sub.to = rest
	if err := in.store(ctx, sub); err != nil {
		return "", err
	}
	in.unseen.add(sub.id, sub.same, all, time.Now())
	return sub.id, nil
}

// Confirm is told that the client has seen the answers with these ids: when it
// sends one of these messages again, it means it. It is a mcmt.Confirmer.
func (in *Intake) Confirm(ids ...mcmt.ID) { in.unseen.remove(ids) }
