package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/alecthomas/participle/v2/lexer"
)

// texts are configurations, good and bad.
func texts(t testing.TB) []string {
	t.Helper()
	all := []string{
		"", "\n", "\n\n", "a", "a\n", "a = 1\r\n\tb = \"c\nd\"\n", "é 'ü\n' # \"\n//x /\n", "a \"x\\\n\" }", `"\`, `"\""`, `"\\"x`, "'", "''x", "a/b'c'", "\f\v\u00a0",
	}
	for _, dir := range []string{"testdata/bad", "../../deploy/examples", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", dir, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	return all
}

// FuzzLex: a text is taken apart as the rules of the language say.
func FuzzLex(f *testing.F) {
	for _, text := range texts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := &parser{report: newReport(), src: newSource("x", "", text)}
		if !p.checkText() {
			return
		}
		p.lex()
		lex, err := language.LexString("", p.src.text)
		if err != nil {
			t.Fatal(err)
		}
		want, err := lexer.ConsumeAll(lex)
		if err != nil {
			t.Fatal(err)
		}
		got := p.tokens
		for _, w := range want {
			if w.Type == tokComment || w.Type == tokBlank {
				continue
			}
			if len(got) == 0 || got[0] != w {
				t.Fatalf("%q: want %#v, left are %#v", text, w, got[:min(len(got), 1)])
			}
			got = got[1:]
		}
		if len(got) > 0 {
			t.Errorf("%q: more than there is: %#v", text, got)
		}
	})
}
