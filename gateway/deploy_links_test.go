package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// markdownLink is [text](target); images and addresses of others included.
var markdownLink = regexp.MustCompile(`\[[^\]\n]+\]\(([^)\s]+)\)`)

// anchors are the fragments that lead to the headings of a text.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if fenced || !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(heading))] = true
	}
	return all
}

// TestDocumentationLinks: what README and deploy/ refer to is there, headings included.
func TestDocumentationLinks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(deploy + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, file := range append(files, "../README.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markdownLink.FindAllStringSubmatch(string(text), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			to := filepath.Join(filepath.Dir(file), target)
			if target == "" {
				to = file
			}
			info, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if fragment == "" || info.IsDir() {
				continue
			}
			other, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			if !anchors(string(other))[fragment] {
				t.Errorf("%s: %s has no heading #%s", file, to, fragment)
			}
		}
	}
	if links < 30 {
		t.Errorf("only %d links were followed", links)
	}
}

// TestHandbookAlerts: each alert has a section of the handbook, and each section an alert.
func TestHandbookAlerts(t *testing.T) {
	t.Parallel()
	handbook := deployed(t, "HANDBOOK.md")
	rules := documents(t, "prometheus/alerts.yml", func(string) any { return new(alertRules) })[0].(*alertRules)
	sections := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(handbook, -1) {
		sections[m[1]] = true
	}
	for _, r := range rules.Groups[0].Rules {
		if !sections[r.Alert] {
			t.Errorf("the handbook does not say what to do about %s", r.Alert)
		}
		delete(sections, r.Alert)
	}
	for name := range sections {
		t.Errorf("there is no alert %s", name)
	}
}
