package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// requestVersion is the first byte of every request and reply. Another one is
// refused: the two nodes are of different versions of the program.
const requestVersion = 1

// operation is what one node asks of a session of another.
type operation byte

const (
	opSend      operation = iota + 1 // data: the stanza
	opKept                           // likewise, SendKept
	opProve                          // data: what names this proof, chosen by who asks
	opClose                          // data: condition, a NUL, text; empty: no reason
	opRetire                         // no data
	opIntroduce                      // data: the full JID to introduce the session to
	opHandled                        // data: the SM-ID; the reply has the count in four bytes, or nothing
	opShow                           // no data; the reply has its presence, if it has any
	opBorrow                         // of no certain session; data: a borrowRequest; the reply has since in eight bytes, and the state
	opTake                           // likewise; data: a takeRequest; the reply has what came meanwhile
	opReturn                         // likewise; data: the name of the loan
)

// request is one, on the wire: version, operation, number and wait as uvarints,
// the latter in milliseconds, data to the end.
type request struct {
	op     operation
	number uint64        // of the session, see binding
	wait   time.Duration // how long who asks waits for the answer
	data   []byte
}

var errRequest = errors.New("not a request of this version")

func (q request) append(dst []byte) []byte {
	dst = append(dst, requestVersion, byte(q.op))
	dst = binary.AppendUvarint(dst, q.number)
	dst = binary.AppendUvarint(dst, uint64(max(0, q.wait.Milliseconds())))
	return append(dst, q.data...)
}

func parseRequest(b []byte) (request, error) {
	if len(b) < 2 || b[0] != requestVersion {
		return request{}, errRequest
	}
	q := request{op: operation(b[1])}
	b = b[2:]
	number, n := binary.Uvarint(b)
	if n <= 0 {
		return request{}, errRequest
	}
	wait, m := binary.Uvarint(b[n:])
	if m <= 0 || wait > uint64(maxWait.Milliseconds()) {
		return request{}, errRequest
	}
	q.number, q.wait, q.data = number, time.Duration(wait)*time.Millisecond, b[n+m:]
	return q, nil
}

// maxWait is more than anybody waits for an answer.
const maxWait = time.Hour

// status is how a request was answered.
type status byte

const (
	statusDone    status = iota + 1 // data: of a proof, the router.Proof
	statusHad                       // the client has had it, and nothing was sent
	statusGone                      // no such session
	statusFailed                    // data: why
	statusWaiting                   // the proof is not there yet
	statusMoved                     // data: the node that has the session
	statusTooHigh                   // data: how many stanzas were sent, in four bytes
)

// reply is the answer to a request: version, status, data to the end.
type reply struct {
	status status
	data   []byte
}

func failure(err error) reply { return reply{statusFailed, []byte(err.Error())} }

func (a reply) append(dst []byte) []byte {
	return append(append(dst, requestVersion, byte(a.status)), a.data...)
}

func parseReply(b []byte) (reply, error) {
	if len(b) < 2 || b[0] != requestVersion {
		return reply{}, errors.New("not a reply of this version")
	}
	return reply{status(b[1]), b[2:]}, nil
}

// stanzaData is a stanza in a request.
func stanzaData(st *stanza.Stanza) []byte { return st.Append(nil, "") }

// parseStanza is the reverse. The stanza was within the limits of the listener
// that it came in by, whatever these are; written anew it may declare more
// namespaces. So only its length bounds it.
func parseStanza(b []byte) (*stanza.Stanza, error) {
	n := len(b) + 1
	st, err := stanza.ParseBytes(b, xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if err != nil {
		return nil, fmt.Errorf("stanza: %w", err)
	}
	return st, nil
}

func closeData(reason *stream.Error) []byte {
	if reason == nil {
		return nil
	}
	return []byte(string(reason.Condition) + "\x00" + reason.Text)
}

func parseClose(b []byte) *stream.Error {
	if len(b) == 0 {
		return nil
	}
	condition, text, _ := strings.Cut(string(b), "\x00")
	return &stream.Error{Condition: stream.Condition(condition), Text: text}
}
