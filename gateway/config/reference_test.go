package config

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected files anew")

const referencePath = "../../deploy/OPTIONS.md"

// The reference in the documentation is the one that the table makes.
func TestReference(t *testing.T) {
	t.Parallel()
	got := Reference()
	if *update {
		if err := os.WriteFile(referencePath, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table says: run go test ./gateway/config -run TestReference -update", referencePath)
	}
}

// Every option and every scope is in the reference.
func TestReferenceIsWhole(t *testing.T) {
	t.Parallel()
	text := string(Reference())
	for _, o := range table {
		if !strings.Contains(text, "| `"+o.name+"`") {
			t.Errorf("option %s is missing", o.name)
		}
	}
	for _, s := range scopes[1:] {
		if !strings.Contains(text, "| `"+s.name+"`") {
			t.Errorf("scope %s is missing", s.name)
		}
	}
}

const guidePath = "../../deploy/MIGRATION.md"

// The migration guide is the one that the tables make.
func TestReferenceMigrationGuide(t *testing.T) {
	t.Parallel()
	got := MigrationGuide()
	if *update {
		if err := os.WriteFile(guidePath, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(guidePath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tables say: run go generate ./gateway/config", guidePath)
	}
	for name := range chapterTable {
		if !strings.Contains(string(got), "| `"+name+"` |") {
			t.Errorf("option %s of the chapter is missing", name)
		}
	}
}
