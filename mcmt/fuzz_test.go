package mcmt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-message/textproto"
)

func addMessages(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatal("no messages", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
}

// FuzzParse: no panic; a refusal or a message whose texts are UTF-8 and whose
// size is bounded by that of the input.
func FuzzParse(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, parse := range []func([]byte, Limits) (*Message, error){Parse, ParseMail} {
			m, err := parse(raw, Limits{Size: 1 << 20})
			if err != nil {
				var r *Refusal
				if !errors.As(err, &r) || r.Temporary() || r.Text == "" || strings.ContainsAny(r.Text, "\r\n") {
					t.Fatalf("refusal %v", err)
				}
				continue
			}
			checkMessage(t, m, len(raw))
		}
	})
}

func checkMessage(t *testing.T, m *Message, size int) {
	if m.Email == nil || len(m.Warnings) > maxWarnings {
		t.Fatal("no mail, or warnings without end")
	}
	texts := []string{m.Email.Text, m.Email.HTML, m.Email.Subject, m.Email.MessageID}
	if m.SMS != nil {
		texts = append(texts, m.SMS.Text)
	}
	if m.MM7 != nil {
		texts = append(texts, m.MM7.Text, m.MM7.Subject)
		checkMedia(t, m.MM7.Media, size)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			t.Fatalf("not UTF-8: %q", s)
		}
		// One octet of a legacy charset is at most three of UTF-8, one of Big5 or
		// GB 18030 no more; an undecodable one becomes U+FFFD.
		if len(s) > 4*size+16 {
			t.Fatalf("%d bytes of text from %d", len(s), size)
		}
	}
	for _, p := range m.Parts {
		if len(p.Body) > size || strings.ContainsAny(p.Name, "/\\") {
			t.Fatalf("part of %d bytes named %q", len(p.Body), p.Name)
		}
	}
}

func checkMedia(t *testing.T, all []Media, size int) {
	sum := 0
	for _, f := range all {
		sum += len(f.Body)
		if len(f.Body) == 0 || !isMediaType(f.Type) || strings.ContainsAny(f.Name, "/\\") || !utf8.ValidString(f.Name) {
			t.Fatalf("file of %d bytes, %q, named %q", len(f.Body), f.Type, f.Name)
		}
	}
	if sum > size {
		t.Fatalf("files of %d bytes from %d", sum, size)
	}
}

// FuzzBase64: the quick way and the tolerant one agree where both can be gone.
func FuzzBase64(f *testing.F) {
	f.Add([]byte("Zm9v\r\nYg==\r\n"))
	f.Add([]byte("Zm 9vYh=\n-- \nfooter"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, clean := decodeBase64(b)
		want, wantClean := decodeBase64Junk(make([]byte, 0, len(b)/4*3+3), b)
		if !bytes.Equal(got, want) || clean != wantClean {
			t.Fatalf("%q, %t; want %q, %t", got, clean, want, wantClean)
		}
	})
}

// FuzzMM7: whatever stands where a multimedia message is, it is taken apart within
// bounds, and no file or text of it is there twice.
func FuzzMM7(f *testing.F) {
	files, err := filepath.Glob("testdata/mm7-*.eml")
	if err != nil || len(files) < 10 {
		f.Fatal("no messages", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, mm7, _ := bytes.Cut(raw, []byte("/vnd.msys.mm7"))
		f.Add(mm7)
	}
	f.Fuzz(func(t *testing.T, mm7 []byte) {
		for _, kind := range []string{mm7Multi, mm7Whole} {
			raw := append([]byte("Content-Type: "+Type+"; boundary=b1\n\n--b1\nContent-Type: message/rfc822\n\nA: b\n\n--b1\nContent-Type: "+kind), mm7...)
			m, err := Parse(raw, Limits{Size: 1 << 20})
			if err == nil {
				checkMessage(t, m, len(raw))
			}
		}
	})
}

// FuzzSOAP: an envelope is read or refused, and says no more than stands in it.
func FuzzSOAP(f *testing.F) {
	f.Add([]byte(`<e:Envelope xmlns:e="urn:e"><e:Body><SubmitReq><Subject>a&amp;b</Subject><Content href="cid:x@y"/></SubmitReq></e:Body></e:Envelope>`))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><Envelope><Body><R><Subject>&b;</Subject></R></Body></Envelope>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readSOAP(b)
		if err == nil && len(s.subject)+len(s.href) > 3*len(b) {
			t.Fatalf("%d bytes from %d", len(s.subject)+len(s.href), len(b))
		}
	})
}

// FuzzSMIL: a presentation is read or refused, and refers to each thing once.
func FuzzSMIL(f *testing.F) {
	f.Add([]byte(`<smil><head><layout/></head><body><par dur="5s"><img src="cid:a"/><text src="b.txt"/></par><par><IMG SRC="cid:a"/></par></body></smil>`))
	f.Add([]byte(`<!DOCTYPE smil PUBLIC "-//W3C//DTD SMIL 1.0//EN" "http://www.w3.org/TR/REC-smil/SMIL10.dtd"><smil/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readSMIL(b)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, ref := range s.refs {
			if ref == "" || seen[ref] {
				t.Fatalf("%q again", ref)
			}
			seen[ref] = true
		}
		if len(s.refs) > maxRefs {
			t.Fatalf("%d references", len(s.refs))
		}
	})
}

// FuzzBuild: what Build accepts, Parse reads back.
func FuzzBuild(f *testing.F) {
	f.Add("subject", "text", []byte("<message/>"), "sms")
	f.Add("=?utf-8?q?x?=", "X-A: b\n\n", []byte("\nX-A: b\n\n"), "\nContent-Type: a/b\n\nc")
	f.Fuzz(func(t *testing.T, subject, text string, xmpp []byte, sms string) {
		raw, err := Build(Draft{Subject: subject, Text: text, XMPP: xmpp, SMS: sms})
		if err != nil {
			return
		}
		m, err := Parse(raw, Limits{})
		if err != nil {
			t.Fatalf("%v\n%q", err, raw)
		}
		// The trailing white space of a header line does not survive folding.
		if want := cleanLine(subject); m.Email.Subject != want {
			t.Errorf("subject %q, want %q", m.Email.Subject, want)
		}
		if want := unixLines(text); m.Email.Text != want {
			t.Errorf("text %q, want %q", m.Email.Text, want)
		}
		if xmpp != nil && string(m.Parts[1].Body) != string(xmpp) {
			t.Errorf("xmpp %q, want %q", m.Parts[1].Body, xmpp)
		}
		if sms != "" && m.SMS.Text != unixLines(strings.TrimPrefix(sms, "\uFEFF")) {
			t.Errorf("sms %q, want %q", m.SMS.Text, sms)
		}
	})
}

// FuzzWords: decoding gives UTF-8 of bounded length and leaves plain text alone.
func FuzzWords(f *testing.F) {
	f.Add("=?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?B?IGF1cyA=?=")
	f.Add("=?iso-2022-jp?B?GyRC?= x")
	f.Fuzz(func(t *testing.T, s string) {
		out := decodeWords(guessUTF8(s))
		if !utf8.ValidString(out) || len(out) > 4*len(s)+16 {
			t.Fatalf("%q from %q", out, s)
		}
	})
}

// FuzzParams: no panic, bounded output, names in lower case.
func FuzzParams(f *testing.F) {
	f.Add(`text/plain; charset="utf-8"; name*0*=iso-8859-1'de'%E4; name*1=b`)
	f.Add(`attachment; filename=my file.txt; size=1`)
	f.Fuzz(func(t *testing.T, s string) {
		_, params := parseParams(guessUTF8(s))
		n := 0
		for k, v := range params {
			if k != strings.ToLower(k) {
				t.Errorf("name %q", k)
			}
			n += len(k) + len(v)
		}
		if n > 12*len(s)+64 {
			t.Errorf("%d bytes from %d", n, len(s))
		}
	})
}

// FuzzHeader: a block of fields is read as go-message reads it.
func FuzzHeader(f *testing.F) {
	addMessages(f)
	for _, block := range []string{
		"A: b\r\n c\r\n", "A:\n\t\n  b \r\n", "A : b\na: c\r\r\n d\r", "A:b", "A: \r", "X(y): \rz\n \r\n q",
	} {
		f.Add([]byte(block))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		head, _, ok := cutHeader(raw, 64<<10)
		if !ok || len(head) == 0 {
			return
		}
		got, err := newParser(Limits{}).readFields(head, "")
		want, wantErr := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			return // we refuse more: what is no field, and too many
		}
		if wantErr != nil && wantErr != io.EOF {
			t.Fatalf("read, though %v", wantErr)
		}
		i := 0
		for w := want.Fields(); w.Next(); i++ {
			if i >= got.Len() || !got.fields[i].is(w.Key()) || got.fields[i].unfold() != w.Value() {
				t.Fatalf("field %d: %q: %q, want %q: %q", i, got.fields[i].name, got.fields[i].unfold(), w.Key(), w.Value())
			}
		}
		if i != got.Len() {
			t.Fatalf("%d fields, want %d", got.Len(), i)
		}
		for _, fd := range got.fields {
			if name := string(fd.name); got.Get(name) != guessUTF8(want.Get(name)) || len(got.Values(name)) != len(want.Values(name)) {
				t.Fatalf("%s: %q, want %q", name, got.Values(name), want.Values(name))
			}
		}
	})
}
