package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"mcmt2xmpp/xmpp/xmlwire"
)

// clientFrame is a frame as a client sends it.
func clientFrame(first byte, payload []byte) []byte {
	h := []byte{first}
	switch n := len(payload); {
	case n <= maxControl:
		h = append(h, 0x80|byte(n))
	case n < 1<<16:
		h = binary.BigEndian.AppendUint16(append(h, 0x80|126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, 0x80|127), uint64(n))
	}
	mask := [4]byte{7, 0, 255, 13}
	h = append(h, mask[:]...)
	for i, c := range payload {
		h = append(h, c^mask[i%4])
	}
	return h
}

func newFrames(r io.Reader, lim xmlwire.Limits) *frames {
	return &frames{r: r, lim: lim, content: NSClient, pong: func([]byte) {}}
}

// FuzzFrames reads any bytes as the frames of a client: no panic, nothing kept beyond
// the limits, the same elements however the bytes are cut.
func FuzzFrames(f *testing.F) {
	open := []byte("<open xmlns='" + nsFraming + "' to='localhost'/>")
	stanza := []byte("<message xmlns='jabber:client'><body>hello</body></message>")
	f.Add(append(clientFrame(0x81, open), clientFrame(0x81, stanza)...))
	f.Add(slicesOf(clientFrame(0x01, open[:9]), clientFrame(0x89, []byte("x")), clientFrame(0x80, open[9:]), clientFrame(0x88, nil)))
	f.Add(clientFrame(0x81, bytes.Repeat([]byte("a"), 5000)))
	f.Add(clientFrame(0x82, stanza))
	f.Add(append([]byte{0x81, 0xFF}, bytes.Repeat([]byte{0xFF}, 12)...))
	lim := xmlwire.Limits{Bytes: 2048, Depth: 8, Attrs: 8, Children: 64}
	f.Fuzz(func(t *testing.T, said []byte) {
		read := func(r io.Reader) (all []string, last error) {
			fr := newFrames(r, lim)
			for range 1000 {
				e, err := fr.Next()
				if cap(fr.buf) > 2*lim.Bytes+2*frameRoom || len(fr.msg) > lim.Bytes {
					t.Fatalf("%d and %d bytes are kept", cap(fr.buf), len(fr.msg))
				}
				if err != nil {
					return all, err
				}
				all = append(all, e.String())
			}
			return all, nil
		}
		whole, err := read(bytes.NewReader(said))
		pieces, err2 := read(iotest.OneByteReader(bytes.NewReader(said)))
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Errorf("whole %q %v, in pieces %q %v", whole, err, pieces, err2)
		}
	})
}

func slicesOf(all ...[]byte) []byte { return bytes.Join(all, nil) }

// TestFramesGoOn: a timeout in the middle of a frame is not the end of it.
func TestFramesGoOn(t *testing.T) {
	t.Parallel()
	said := clientFrame(0x81, []byte("<presence xmlns='jabber:client'/>"))
	for cut := range len(said) {
		late := iotest.ErrTimeout
		fr := newFrames(io.MultiReader(bytes.NewReader(said[:cut]), &once{late}, bytes.NewReader(said[cut:])), xmlwire.Limits{})
		if _, err := fr.Next(); !errors.Is(err, late) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if e, err := fr.Next(); err != nil || e.Name.Local != "presence" {
			t.Fatalf("cut at %d: %v %v", cut, e, err)
		}
	}
}

// once fails one read.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	if err == nil {
		return 0, io.EOF
	}
	o.err = nil
	return 0, err
}

// TestFramesGiveMemoryBack: a large message does not stay with an idle connection.
func TestFramesGiveMemoryBack(t *testing.T) {
	t.Parallel()
	large := clientFrame(0x81, []byte("<message xmlns='jabber:client'>"+strings.Repeat("x", 200_000)+"</message>"))
	small := clientFrame(0x81, []byte("<presence xmlns='jabber:client'/>"))
	fr := newFrames(bytes.NewReader(slicesOf(large, small)), xmlwire.Limits{})
	for range 2 {
		if _, err := fr.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fr.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if cap(fr.buf) > frameRoom || fr.big {
		t.Errorf("%d bytes are kept", cap(fr.buf))
	}
}

// TestFramesWait: a WebSocket that waits between messages keeps little, and reads the same.
func TestFramesWait(t *testing.T) {
	t.Parallel()
	said := clientFrame(0x81, []byte("<presence xmlns='jabber:client'/>"))
	fr := newFrames(iotest.HalfReader(bytes.NewReader(bytes.Repeat(said, 3))), xmlwire.Limits{})
	for range 3 {
		if len(fr.buf) == 0 {
			if err := fr.Wait(); err != nil || cap(fr.buf) > waitRoom {
				t.Fatalf("%d bytes are kept: %v", cap(fr.buf), err)
			}
		}
		if e, err := fr.Next(); err != nil || e.Name.Local != "presence" {
			t.Fatalf("got %v %v", e, err)
		}
	}
	if err := fr.Wait(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestAppendFrame: the length is written in each of its three forms.
func TestAppendFrame(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 125, 126, 65535, 65536} {
		text := strings.Repeat("y", n)
		b := appendFrame([]byte("before"), opText, func(b []byte) []byte { return append(b, text...) })
		frame := b[len("before"):]
		if string(payload(frame)) != text {
			t.Errorf("%d bytes: header % x", n, frame[:min(10, len(frame))])
		}
	}
	if b := appendFrame(nil, opText, func(b []byte) []byte { return b }); len(b) != 0 {
		t.Errorf("nothing in a frame: % x", b)
	}
}

// Limits that are found out in the handshake hold from then on, and what was sent
// before counts.
func TestLimit(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	s := New(near, Options{Receiving: true, Limits: Limits{BytesBefore: 1000}})
	defer s.Abort()
	go func() { _, _ = far.Write(make([]byte, 100)) }()
	if err := s.Handshake(t.Context(), func(c io.ReadWriter) error {
		_, err := io.ReadFull(c, make([]byte, 100))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.Limit(Limits{BytesBefore: 150, Before: xmlwire.Limits{Bytes: 77}, Unacked: 5, Queue: 6, Stanzas: Rate{N: 7}})
	s.Frame(nil)
	if s.in.left != 50 || s.dec.(*frames).lim.Bytes != 77 || s.out.unacked != 5 || s.out.limit != 6 || s.stanzas.of.N != 7 {
		t.Errorf("%d bytes left; %+v", s.in.left, s.o.Limits)
	}
	s.Limit(Limits{BytesBefore: 60})
	if s.in.left != 0 {
		t.Errorf("%d bytes left of less than were sent", s.in.left)
	}
}
