package xmlwire_test

import (
	"bytes"
	"io"
	"testing"

	. "mcmt2xmpp/xmpp/xmlwire"
)

// message is a chat message of 408 bytes as a client sends it.
const message = `<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit/balcony' id='3fd5ce15-8d57-4c1e-a3f7-0a1c2b3d4e5f' ` +
	`type='chat' xml:lang='en'><body>Art thou not Romeo, and a Montague? &amp; so on and so forth, until text is long enough.</body>` +
	`<thread>e0ffe42b28561960c6b12b944a092794b9683a38</thread><active xmlns='http://jabber.org/protocol/chatstates'/>` +
	`<origin-id xmlns='urn:xmpp:sid:0' id='x'/></message>`

// The goal is less than 1.5 µs for a message of about 400 bytes.
func BenchmarkParse(b *testing.B) {
	in := []byte(message)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// endlessly repeats the message as a stream does.
type endlessly struct {
	text []byte
	rest []byte
}

func (r *endlessly) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		r.rest = r.text
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func BenchmarkDecoder(b *testing.B) {
	r := &endlessly{text: bytes.Repeat([]byte(message), 40)}
	d := NewDecoder(io.MultiReader(bytes.NewReader([]byte(header)), r), Limits{})
	if _, err := d.Header(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// The goal is less than 0.4 µs.
func BenchmarkAppend(b *testing.B) {
	e, err := Parse([]byte(message), Limits{})
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], e, "")
	}
}
