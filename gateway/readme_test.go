package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSpecifications holds the README's table against the code: each
// specification is cited in each package that the row names.
func TestSpecifications(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(readme), "| specification | what of it | where |\n|---|---|---|\n")
	if !ok {
		t.Fatal("README.md has no table of specifications")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	spec := regexp.MustCompile(`(RFC|XEP)[- ](\d{4})`)
	folder := regexp.MustCompile("`([a-z0-9/]+)`")
	rows := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			t.Errorf("row with %d cells: %s", len(cells), row)
			continue
		}
		rows++
		for _, m := range spec.FindAllStringSubmatch(cells[1], -1) {
			cited := false
			for _, dir := range folder.FindAllStringSubmatch(cells[3], -1) {
				cited = cited || cites(t, filepath.Join("..", filepath.FromSlash(dir[1])), m[1], m[2])
			}
			if !cited {
				t.Errorf("%s %s is cited in none of %s", m[1], m[2], strings.TrimSpace(cells[3]))
			}
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows were read", rows)
	}
}

// cites reports whether the Go files of a folder name a specification.
func cites(t *testing.T, dir, kind, number string) bool {
	t.Helper()
	want := regexp.MustCompile(kind + `[- ]` + number + `|[, ]` + number + `[ ,)]`)
	files, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no Go files (%v)", dir, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if want.Match(text) {
			return true
		}
	}
	return false
}
