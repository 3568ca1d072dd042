package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// sink is the address of a mail server that takes everything and keeps nothing: what
// gateways under test have to tell the senders of messages must not ask the DNS of the
// machine for their domains, which are made up.
func sink(t testing.TB) string {
	t.Helper()
	addr, err := theSink()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

var theSink = sync.OnceValues(func() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // with the process
			}
			go sinkMail(conn)
		}
	}()
	return l.Addr().String(), nil
})

// sinkMail speaks SMTP with one client (RFC 5321 §4.1.1).
func sinkMail(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 sink.example\r\n")
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 16<<20)
	for data := false; lines.Scan(); {
		line := strings.ToUpper(lines.Text())
		switch {
		case data && line != ".":
			continue
		case data:
			data = false
			fmt.Fprint(conn, "250 2.0.0 gone\r\n")
		case line == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
		case strings.HasPrefix(line, "EHLO"):
			fmt.Fprint(conn, "250-sink.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n")
		case line == "QUIT":
			fmt.Fprint(conn, "221 2.0.0 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 2.0.0 ok\r\n")
		}
	}
}
