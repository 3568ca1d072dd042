package mcmt

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is what a golden file shows of a message.
type golden struct {
	Reason   string // why the message is here, from reasons.txt
	Refused  string `json:",omitempty"`
	Where    string `json:",omitempty"`
	MCMT     bool
	Email    *goldenEmail `json:",omitempty"`
	XMPP     string       `json:",omitempty"`
	SMS      *Text        `json:",omitempty"`
	MM7      *goldenMM7   `json:",omitempty"`
	Parts    []goldenPart `json:",omitempty"`
	Warnings []string     `json:",omitempty"`
}

type goldenEmail struct {
	Subject, Text, HTML, Date, MessageID, InReplyTo string `json:",omitempty"`
	References                                      []string
	From, To                                        []Address
}

type goldenMM7 struct {
	Type    string
	Subject string `json:",omitempty"`
	Text    string
	Media   []string `json:",omitempty"`
}

type goldenPart struct {
	Type  string
	Name  string   `json:",omitempty"`
	Inner []string `json:",omitempty"`
	Body  int      // length
}

func show(m *Message, err error) golden {
	var r *Refusal
	if errors.As(err, &r) {
		return golden{Refused: r.Error(), Where: r.Where}
	}
	g := golden{MCMT: m.MCMT, XMPP: string(m.XMPP), SMS: m.SMS, Warnings: m.Warnings}
	e := m.Email
	g.Email = &goldenEmail{Subject: e.Subject, Text: e.Text, HTML: e.HTML, MessageID: e.MessageID,
		InReplyTo: e.InReplyTo, References: e.References, From: e.Header.Addresses("From"), To: e.Header.Addresses("To")}
	if !e.Date.IsZero() {
		g.Email.Date = e.Date.UTC().Format(time.RFC3339)
	}
	if m.MM7 != nil {
		g.MM7 = &goldenMM7{Type: m.MM7.Type, Subject: m.MM7.Subject, Text: m.MM7.Text}
		for _, f := range m.MM7.Media {
			g.MM7.Media = append(g.MM7.Media, fmt.Sprintf("%s %q %d bytes", f.Type, f.Name, len(f.Body)))
		}
	}
	for _, p := range m.Parts {
		gp := goldenPart{Type: p.Type, Name: p.Name, Body: len(p.Body)}
		for _, f := range p.Inner.fields {
			gp.Inner = append(gp.Inner, textproto.CanonicalMIMEHeaderKey(string(f.name))+": "+f.unfold())
		}
		g.Parts = append(g.Parts, gp)
	}
	return g
}

// TestParseGolden parses testdata/*.eml. Each has its reason in reasons.txt and
// what is expected in a .golden file; -update writes those.
func TestParseGolden(t *testing.T) {
	t.Parallel()
	reasons := readReasons(t)
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) != len(reasons) {
		t.Fatalf("%d messages, %d reasons (%v)", len(files), len(reasons), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if reasons[name] == "" {
				t.Fatal("no reason in reasons.txt")
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			keep := bytes.Clone(raw)
			g := show(Parse(raw, Limits{}))
			if !bytes.Equal(raw, keep) {
				t.Error("Parse changed its input")
			}
			g.Reason = reasons[name]
			compareGolden(t, "testdata/"+name+".golden", g)
		})
	}
}

func readReasons(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/reasons.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		name, reason, _ := strings.Cut(strings.TrimSpace(line), ": ")
		reasons[name] = reason
	}
	return reasons
}

func compareGolden(t *testing.T, file string, g golden) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
