package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/participle/v2/lexer"
)

// TestLexByLine: a text that is taken apart line by line has the tokens, at the places,
// that it has as a whole.
func TestLexByLine(t *testing.T) {
	t.Parallel()
	texts := []string{"", "\n", "\n\n", "a", "a\n", "a = 1\r\n\tb = \"c\nd\"\n", "é 'ü\n' # \"\n//x /\n", "a \"x\\\n\" }"}
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
			texts = append(texts, string(text))
		}
	}
	for _, text := range texts {
		p := &parser{src: &source{text: text}}
		p.lex()
		want := slices.DeleteFunc(consume(text), func(t lexer.Token) bool { return t.Type == tokComment || t.Type == tokBlank })
		if !slices.Equal(p.tokens, want) {
			for i := range min(len(want), len(p.tokens)) {
				if p.tokens[i] != want[i] {
					t.Errorf("%.60q: token %d is %#v, want %#v", text, i, p.tokens[i], want[i])
					break
				}
			}
			t.Errorf("%.60q: %d tokens, want %d", strings.TrimSpace(text), len(p.tokens), len(want))
		}
	}
}
