package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/config"
)

// notRead are the fields that nothing outside gateway/config reads, each with an
// option that sets it: check has to say that the option is not yet in effect.
var notRead = map[string]string{}

// inConfig are the fields that gateway/config itself makes something of.
var inConfig = map[string]string{
	"Config.Domains":   "read by Config.Domain and Config.ServedDomains",
	"XMPP.Enabled":     "switches Listen.Enable off",
	"Domain.Pos":       "for diagnostics",
	"Domain.Outgoing":  "read by Config.Outgoing",
	"RecipientMap.Pos": "for diagnostics",
}

// TestEveryFieldIsRead holds that nothing is parsed and ignored: each field of
// the typed configuration is read by some package outside gateway/config. (That
// each option changes a field is TestEveryOptionHasEffect there.)
func TestEveryFieldIsRead(t *testing.T) {
	t.Parallel()
	read := selectors(t)
	for _, typ := range []any{config.Config{}, config.Log{}, config.XMPP{}, config.NATS{}, config.MCMT{},
		config.RecipientMap{}, config.Domain{}, config.Outgoing{}, config.Streams{}, config.Route{}, config.Rate{}, config.Listen{}, config.PeerOptions{}} {
		rt := reflect.TypeOf(typ)
		for i := range rt.NumField() {
			f := rt.Field(i)
			name := rt.Name() + "." + f.Name
			setting, excused := notRead[name]
			switch {
			case !f.IsExported() || inConfig[name] != "":
			case read[f.Name] && excused:
				t.Errorf("%s is read now: take it out of notRead", name)
			case !read[f.Name] && !excused:
				t.Errorf("%s is parsed and ignored: no package reads it", name)
			case excused:
				c, err := config.LoadBytes("test.conf", []byte(setting))
				if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Message, "not yet in effect") {
					t.Errorf("%s has no effect, and %q is not warned of: %v %v", name, setting, c, err)
				}
			}
		}
	}
}

// selectors are the names after a dot in the packages that import config.
func selectors(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	names := make(map[string][]string) // by folder
	imports := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "config" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		case d.Name() == "restart.go": // compares fields, and makes nothing of them
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		if slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"mcmt2xmpp/gateway/config"` }) {
			imports[dir] = true
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				names[dir] = append(names[dir], s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range imports {
		for _, n := range names[dir] {
			found[n] = true
		}
	}
	if len(found) < 100 {
		t.Fatalf("only %d names: the walk is broken", len(found))
	}
	return found
}
