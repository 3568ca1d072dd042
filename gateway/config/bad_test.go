package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadConfigurations loads each file of testdata/bad, one kind of mistake
// each, and compares all that is reported with the text beside it.
func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	confs, err := filepath.Glob("testdata/bad/*.conf")
	if err != nil || len(confs) < 35 {
		t.Fatalf("found %d files: %v", len(confs), err)
	}
	dir, err := filepath.Abs("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	for _, conf := range confs {
		t.Run(strings.TrimSuffix(filepath.Base(conf), ".conf"), func(t *testing.T) {
			t.Parallel()
			_, err := Load(conf)
			var found Diagnostics
			if !errors.As(err, &found) {
				t.Fatalf("got %v, want Diagnostics", err)
			}
			got := strings.ReplaceAll(found.Error()+"\n", dir+"/", "")
			got = strings.ReplaceAll(got, "testdata/bad/", "")
			golden := strings.TrimSuffix(conf, ".conf") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("diagnostics differ (-want +got):\n%s", d)
			}
			for _, secret := range []string{"myS3cr3T", "hunter2"} {
				if strings.Contains(got, secret) {
					t.Errorf("a secret is shown:\n%s", got)
				}
			}
		})
	}
}
