package smtpd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// bdat reads a chunk (RFC 3030 §2) from the wire. After the last one go-smtp runs
// a DATA in its place, of which the peer sees only the final reply. go-smtp's own
// BDAT is not used: it accepts a message whose last chunk was cut short, and
// leaves the chunk of a command it cannot parse to be read as commands.
func (s *session) bdat(verb, arg string) string {
	n, last, ok := chunkArgs(arg)
	if verb != "BDAT" || !ok {
		s.hangup("501 5.5.4 cannot parse BDAT, closing connection")
		return ""
	}
	if n > 2*s.opt.MaxMessageSize+1<<20 {
		s.hangup("552 5.3.4 message too large, closing connection")
		return ""
	}
	orderly := s.tx.begun && len(s.tx.env.To) > 0
	if orderly && s.tx.body == nil {
		s.begin()
	}
	left := s.srv.opt.DataTimeout
	if orderly {
		left -= time.Since(s.tx.env.Received)
	}
	// The chunk follows even where the command is refused.
	s.wire.bound(left, false)
	if err := s.wire.readChunk(s.hard, n, s.tx.body); err != nil {
		if orderly {
			_ = s.broken(err)
		} else {
			s.ended(err)
		}
		return ""
	}
	switch {
	case !s.tx.begun:
		s.send("503 5.5.1 MAIL first")
	case !orderly:
		s.send("554 5.5.1 no valid recipients")
	case last:
		s.mute = true
		return "DATA\r\n"
	case s.tx.body.err != nil:
		// The transaction is over; chunks still to come find none.
		r := s.submit()
		s.say = fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.EnhancedCode[0], r.EnhancedCode[1], r.EnhancedCode[2], r.Message)
		return "RSET\r\n"
	case left < 0:
		_ = s.broken(os.ErrDeadlineExceeded)
	default:
		s.send("250 2.0.0 " + strconv.FormatInt(n, 10) + " octets received")
	}
	return ""
}

// chunkArgs parses the arguments of BDAT.
func chunkArgs(arg string) (size int64, last, ok bool) {
	f := strings.Fields(arg)
	if len(f) == 0 || len(f) > 2 {
		return 0, false, false
	}
	if len(f) == 2 {
		if last = strings.EqualFold(f[1], "LAST"); !last {
			return 0, false, false
		}
	}
	n, err := strconv.ParseUint(f[0], 10, 62)
	return int64(n), last, err == nil
}
