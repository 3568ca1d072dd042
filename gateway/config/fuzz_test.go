package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzLoad holds that no text makes reading panic or run on, that each
// diagnostic is about a place within the file, and that what is read well gives
// listeners whose options can be asked for.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.conf", examples + "*.conf"} {
		confs, err := filepath.Glob(pattern)
		if err != nil || len(confs) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, conf := range confs {
			text, err := os.ReadFile(conf)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		// Files are outside of what is tested here.
		if strings.Contains(strings.ToLower(text), "include") {
			t.Skip()
		}
		c, err := LoadBytes("/nonexistent/fuzz.conf", []byte(text))
		if err == nil {
			for _, l := range c.Listeners {
				if l.For(mustAddr("192.0.2.1")) == nil {
					t.Fatal("no options")
				}
			}
			if _, err := c.Effective(""); err != nil {
				t.Fatal(err)
			}
			within(t, text, c.Warnings)
			return
		}
		var found Diagnostics
		if !errors.As(err, &found) || len(found) == 0 || len(found) > maxErrors {
			t.Fatalf("%d diagnostics: %v", len(found), err)
		}
		within(t, text, found)
	})
}

// within checks that every diagnostic points into text.
func within(t *testing.T, text string, found []Diagnostic) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(text, "\uFEFF"), "\n")
	for _, d := range found {
		switch {
		case d.Pos.Line == 0 && d.Pos.Column == 0:
			continue // about the file as a whole
		case d.Pos.Line < 1 || d.Pos.Line > len(lines):
			t.Errorf("%s is outside of %d lines", d, len(lines))
		case d.Pos.Column < 1 || d.Pos.Column > utf8.RuneCountInString(lines[d.Pos.Line-1])+1:
			t.Errorf("%s is outside of its line", d)
		case d.Caret > utf8.RuneCountInString(d.Line)+1:
			t.Errorf("%s: caret is outside of the excerpt", d)
		case utf8.RuneCountInString(d.Line) > excerptWidth+2:
			t.Errorf("%s: excerpt is too long", d)
		}
	}
}

// TestHostileFiles: files that are not configurations are refused, and what is said
// about them is bounded.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	fill := func(s string) string { return strings.Repeat(s, maxFileSize/8/len(s)) }
	for why, text := range map[string]string{
		"names alone":          fill("a\n"),
		"unknown options":      fill("lisen_backlog = 1\n"),
		"unknown scopes":       fill("xmpp_listenr {}\n"),
		"scopes without a way": fill("listen :1 {}\n"),
		"open braces":          fill("a {\n"),
		"deep in one line":     strings.Repeat("a{", maxLineLength/2),
		"deep behind a brace":  "}" + strings.Repeat("a{\n", 100_000),
		"closing braces":       fill("}\n"),
		"open quotes":          fill("\"\n"),
		"strings":              fill("\"x\"\n"),
		"equals":               fill("= =\n"),
		"slashes":              fill("/ /\n"),
		"one long list":        "relay_hosts = (\n" + strings.Repeat("\"10.0.0.1\"\n", 10_000) + ")",
		"many peers":           "esmtp_listener { listen :1 {\n" + manyPeers(1000) + "} }",
		"many domains":         manyDomains(2000),
		"secrets":              fill("password = x\n"),
		"comments":             fill("# x\n"),
		"a long line":          strings.Repeat("a", maxLineLength+1),
		"too large":            strings.Repeat("# x\n", maxFileSize/4) + "#####",
	} {
		t.Run(why, func(t *testing.T) {
			start := time.Now()
			_, err := LoadBytes("/nonexistent/hostile.conf", []byte(text))
			t.Logf("took %v", time.Since(start))
			if fine := why == "comments" || why == "many domains"; fine != (err == nil) {
				t.Errorf("error: %.200v", err)
			}
			if n := len(fmt.Sprint(err)); n > 256<<10 {
				t.Errorf("%d bytes of error", n)
			}
		})
	}
}

func manyPeers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "peer \"10.%d.%d.0/24\" { idle_time = 1 }\n", i/256, i%256)
	}
	return b.String()
}

func manyDomains(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "domain d%d.example { xmpp_role = client }\ndomain \"#xmpp#d%d.example\" { }\n", i, i)
	}
	return b.String()
}
