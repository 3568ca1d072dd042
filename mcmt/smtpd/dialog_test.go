package smtpd

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
)

// TestDialogs plays the files of testdata/dialogs against a server on a real
// TCP connection. A line is
//
//	# comment
//	@ option …      of the listener, see dialogOptions; before anything else
//	C: text         sent with CRLF
//	R: "text"       sent as it is, a Go string
//	S: text         one line of a reply; * is any run of characters
//	TLS             the client makes its handshake
//	FIN             the client sends no more
//	EOF             the server has closed, without a further byte
//	CLOSED          the same, after bytes of a TLS alert
//	P: text         the last message that the sink took, see put.String; * as above
//	N: number       of messages that the sink has taken
//	SEEN: ids       of messages whose answer the client has seen, as the sink knows
//	LOG: text       a line of the log matches *text*
func TestDialogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d dialogs: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, file, string(text))
		})
	}
}

func play(t *testing.T, file, text string) {
	var options []string
	var r *running
	var p *peer
	for n, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d: ", file, n+1)
		kind, arg, _ := strings.Cut(line, " ")
		if kind == "@" {
			options = append(options, strings.Fields(arg)...)
			continue
		}
		if line == "" || kind == "#" || strings.HasPrefix(line, "#") {
			continue
		}
		if r == nil {
			o, po := dialogOptions(t, options)
			r = start(t, o, po)
			p = dial(t, r.addr)
		}
		t.Log(at + line)
		switch kind {
		case "C:":
			p.send(arg + "\r\n")
		case "R:":
			raw, err := strconv.Unquote(arg)
			if err != nil {
				t.Fatalf("%s%v", at, err)
			}
			p.send(raw)
		case "S:":
			if got := p.line(); !glob(arg, got) {
				t.Fatalf("%sgot %q", at, got)
			}
		case "TLS":
			p.startTLS()
		case "FIN":
			if err := p.c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatalf("%s%v", at, err)
			}
		case "EOF":
			p.closed()
		case "CLOSED":
			if _, err := io.Copy(io.Discard, p.br); err != nil {
				t.Fatalf("%s%v", at, err)
			}
		case "P:":
			puts := r.sink.taken()
			if len(puts) == 0 || !glob(arg, puts[len(puts)-1].String()) {
				t.Fatalf("%sgot %v", at, puts)
			}
		case "N:":
			if got := strconv.Itoa(len(r.sink.taken())); got != arg {
				t.Fatalf("%sgot %s", at, got)
			}
		case "SEEN:":
			if got := strings.Trim(fmt.Sprint(r.sink.confirmed()), "[]"); got != arg {
				t.Fatalf("%sgot %s", at, got)
			}
		case "LOG:":
			if got := r.log.String(); !glob("*"+arg+"*", got) {
				t.Fatalf("%sgot %s", at, got)
			}
		default:
			t.Fatalf("%sunknown line", at)
		}
	}
	if p == nil {
		t.Fatal("empty dialog")
	}
}

// dialogOptions reads the @ lines of a dialog.
func dialogOptions(t *testing.T, words []string) (o Options, p PeerOptions) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch name {
		case "tls":
			p.TLS, _ = testTLS()
			p.TLS = p.TLS.Clone()
			p.TLS.MinVersion = tls.VersionTLS10 // to be raised
		case "auth":
			p.Authenticator = testAuth{}
		case "clear_auth":
			p.AllowAuthWithoutTLS = true
		case "auth_required":
			p.AuthRequired = true
		case "deny":
			p.Deny = true
		case "trusted":
			p.Trusted = true
		case "reception":
			p.Reception = mcmt.Allow
		case "size":
			p.MaxMessageSize = int64(n)
		case "recipients":
			p.MaxRecipients = n
		case "errors":
			o.MaxErrors = n
		case "junk":
			o.MaxJunk = n
		case "read":
			o.ReadTimeout = d
		case "command":
			o.CommandTimeout = d
		case "data":
			o.DataTimeout = d
		case "memory":
			o.Memory = int64(n)
			o.MemoryWait = time.Millisecond
		default:
			t.Fatalf("unknown option %q", w)
		}
	}
	return o, p
}
