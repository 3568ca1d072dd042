// Package xmpptest plays transcripts of XMPP conversations against a real
// listener. Only tests use it.
//
// A transcript is a text file, one step per line; a line that begins with white
// space goes on with the one before, a blank line or one with # is a comment.
//
//	USE tls-required                     what the server should be like; the test says what there is
//	C: <presence/>                       the client sends these bytes
//	S: <presence from='a@b/c' to='a@b'/> the server sends this element
//	S: </stream:stream>                  the server closes its stream
//	EOF                                  the server closes the connection, in order
//
// Several clients are told apart by a name: C1:, S1:, EOF1. Beside XML a client
// step may be
//
//	C: TLS                    handshake, after <proceed/> or first of all
//	C: OPEN localhost         stream header, and the server's, which must be as it should
//	C: LOGIN a@b/c password   everything up to the answer to bind: STARTTLS where offered, PLAIN
//	C: AUTH a@b password      the same up to the features before it
//	C: CLOSE                  the connection is closed without a word
//	C: FIN                    nothing more will be sent, and everything still read
//
// and hold {plain USER PASSWORD} for the base64 of a PLAIN response, {base64 TEXT}
// with %00 for a NUL, {hex C3 28} for bytes,
// {handshake NAME SECRET} for a component's proof that it knows the secret (XEP-0114 §3),
// where NAME stands for the stream id, {key RECEIVING ORIGINATING NAME SECRET} for a
// key of dialback (XEP-0185 §2), and {x*1000} for a thousand times x, which may be a tag.
//
// Between servers an actor may be one that the server under test connects to, and that
// has users of its own:
//
//	DIAL2 b.example           the server connects to b.example, which is actor 2 from now on
//	C2: HEADER b.example a.example 42   its stream header: from, to and id
//	C: OPEN a.example b.example   as above, from b.example; its id is {id}, of actor 2 {id2}
//	C: TLS b.example          handshake with the certificate of that name
//	SEND <message .../>       a user of the server sends
//	GOT <message .../>        a user of the server has got
//	KEPT <message .../>       what was sent is given back to be kept
//	CALL                      the test looks at the server
//
// The server's element is compared as XML: prefixes, quotes and the order of
// attributes do not matter. A value or text * stands for any that is not empty; {name}
// likewise, but the same in every place of the transcript, client steps included;
// the text ... within an element for whatever else is in it. The <text/> of an
// error need not be given. Requests for an acknowledgement (XEP-0198) are passed over
// where no S: step wants one.
package xmpptest

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"mcmt2xmpp/xmpp/dialback"
	"mcmt2xmpp/xmpp/stream"
)

// Script is a transcript.
type Script struct {
	// Uses are the words of its USE lines.
	Uses  []string
	steps []step
}

type step struct {
	line  int
	actor string
	verb  string // C, S, EOF, DIAL, SEND, GOT, KEPT or CALL
	text  string
}

var lead = regexp.MustCompile(`^(C|S)([0-9A-Za-z]*):[ \t]?(.*)$|^(EOF)([0-9A-Za-z]*)$|^(USE)[ \t]+(.*)$|^(DIAL)([0-9A-Za-z]*)[ \t]+(.*)$|^(SEND|GOT|KEPT|CALL)(?:[ \t]+(.*))?$`)

// Parse reads a transcript. The error names the line.
func Parse(r io.Reader) (*Script, error) {
	s := new(Script)
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimRight(in.Text(), "\r")
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
			continue
		case line[0] == ' ' || line[0] == '\t':
			if len(s.steps) == 0 {
				return nil, fmt.Errorf("line %d: nothing to go on with", n)
			}
			s.steps[len(s.steps)-1].text += strings.TrimSpace(line)
			continue
		}
		m := lead.FindStringSubmatch(line)
		switch {
		case m == nil:
			return nil, fmt.Errorf("line %d: not a step: %q", n, line)
		case m[6] != "":
			s.Uses = append(s.Uses, strings.Fields(m[7])...)
		case m[4] != "":
			s.steps = append(s.steps, step{n, m[5], "EOF", ""})
		case m[8] != "":
			s.steps = append(s.steps, step{n, m[9], m[8], m[10]})
		case m[11] != "":
			s.steps = append(s.steps, step{n, "", m[11], m[12]})
		default:
			s.steps = append(s.steps, step{n, m[2], m[1], m[3]})
		}
	}
	return s, in.Err()
}

var macro = regexp.MustCompile(`\{(plain|base64|hex|handshake|key) ([^}]*)\}|\{(.|</?[a-z]+>)\*([0-9]+)\}|\{([a-z][a-z0-9]*)\}`)

// expand fills in a client step.
func expand(text string, captured map[string]string) (string, error) {
	var err error
	out := macro.ReplaceAllStringFunc(text, func(m string) string {
		p := macro.FindStringSubmatch(m)
		switch {
		case p[1] == "plain":
			user, password, _ := strings.Cut(p[2], " ")
			return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		case p[1] == "base64":
			return base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(p[2], "%00", "\x00")))
		case p[1] == "hex":
			b, bad := hex.DecodeString(strings.ReplaceAll(p[2], " ", ""))
			if bad != nil {
				err = bad
			}
			return string(b)
		case p[1] == "handshake":
			id, secret, _ := strings.Cut(p[2], " ")
			return stream.Handshake(captured[id], secret)
		case p[1] == "key":
			f := strings.Fields(p[2])
			if len(f) != 4 || captured[f[2]] == "" {
				err = fmt.Errorf("no key: %s", m)
				return ""
			}
			return dialback.Key(f[3], f[0], f[1], captured[f[2]])
		case p[3] != "":
			n, _ := strconv.Atoi(p[4])
			return strings.Repeat(p[3], n)
		}
		v, ok := captured[p[5]]
		if !ok {
			err = fmt.Errorf("nothing was captured as %s", m)
		}
		return v
	})
	return out, err
}

// expandKeys fills in the keys of what is expected.
func expandKeys(text string, captured map[string]string) (string, error) {
	var err error
	text = macro.ReplaceAllStringFunc(text, func(m string) string {
		if !strings.HasPrefix(m, "{key ") {
			return m
		}
		key, bad := expand(m, captured)
		err = errors.Join(err, bad)
		return key
	})
	return text, err
}
