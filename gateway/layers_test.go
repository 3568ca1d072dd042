package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the import rule of the design: a package imports only packages of
// lower layers, never of its own.
var layers = [][]string{
	{"xmpp/jid", "xmpp/xmlwire", "mcmt", "xmpp"},
	{"xmpp/stanza", "xmpp/sasl", "xmpp/dialback", "xmpp/dns", "xmpp/certificate", "xmpp/backoff"},
	{"xmpp/stream", "xmpp/roster", "filters", "broker"},
	{"xmpp/router", "xmpp/ping", "xmpp/xmpplog", "mcmt/smtpd", "mcmt/httpd", "mcmt/relay"},
	{"xmpp/c2s", "xmpp/s2s", "xmpp/link", "xmpp/component", "xmpp/account", "xmpp/gateway"},
	{"gateway/config", "gateway/convert", "gateway/custody", "gateway/fetch", "gateway/listener", "gateway/store", "gateway/policy", "gateway/trace"},
	{"gateway/intake", "gateway/delivery", "gateway/outmail", "gateway/admin", "gateway/events"},
	{"gateway/app", "gateway/bench"},
	{"gateway"},
}

// testOnly are packages that only tests may import. They stand outside the
// layers, like the tests themselves: of ours they may import what their side of
// the tree may, and outside dependencies are not confined for them, since
// nothing of them ships.
var testOnly = []string{"xmpp/xmpptest", "xmpp/dnstest", "xmpp/peertest", "broker/natstest", "mcmt/mailtest", "gateway/admin/openapitest"}

// confined names, for each outside dependency, the packages that may import it
// in code that ships. A package that is not here may be imported anywhere.
var confined = map[string][]string{
	"github.com/nats-io/nats.go":          {"broker", "gateway/store"},
	"github.com/nats-io/nats-server":      {"broker"},
	"github.com/beevik/etree":             {"gateway/convert", "gateway/policy"},
	"github.com/alecthomas/participle":    {"gateway/config"},
	"github.com/emersion/go-smtp":         {"mcmt/smtpd", "mcmt/relay"},
	"github.com/spf13/cobra":              {"gateway"},
	"github.com/prometheus/client_golang": {"gateway/admin"},
	"github.com/yuin/gopher-lua":          {"gateway/policy"},
	"github.com/k3a/html2text":            {"gateway/convert"},
	"github.com/xdg-go/scram":             {"xmpp/sasl", "mcmt/relay"},
	"github.com/emersion/go-message":      {"mcmt"},
	"net/http":                            {"mcmt/httpd", "gateway/admin", "xmpp/c2s", "xmpp/account", "gateway", "gateway/bench", "gateway/fetch", "gateway/events"},
	"github.com/HdrHistogram":             {"gateway/bench"},
	"github.com/schollz/progressbar":      {"gateway"},
	"net/smtp":                            {},
	"encoding/xml":                        {"mcmt"},
	"github.com/stretchr/testify":         {},
	"github.com/santhosh-tekuri":          {},
	"github.com/rogpeppe/go-internal":     {},
	"mellium.im/xmpp":                     {},
	"pgregory.net/rapid":                  {},
	"go.uber.org/goleak":                  {},
	"github.com/google/go-cmp":            {},
	"github.com/chromedp":                 {},
	"go.yaml.in/yaml":                     {},
}

// silent layers return errors and log nothing.
const silent = 2

func layerOf(pkg string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, pkg) })
}

func TestLayers(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		pkg := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), ".."+string(filepath.Separator)))
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		test := strings.HasSuffix(path, "_test.go") || slices.Contains(testOnly, pkg)
		for _, spec := range file.Imports {
			seen++
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, path, pkg, imported, test)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Fatalf("saw only %d imports: the walk is broken", seen)
	}
}

func checkImport(t *testing.T, path, pkg, imported string, test bool) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imported, "mcmt2xmpp/"); ok {
		switch {
		case strings.HasPrefix(ours, "gateway") && !strings.HasPrefix(pkg, "gateway"):
			t.Errorf("%s: %s imports %s: nothing outside gateway/ may", path, pkg, ours)
		case slices.Contains(testOnly, ours) && !test:
			t.Errorf("%s: %s is for tests only", path, ours)
		case test:
			// A test may reach over to a package of its own layer: it plays the far side.
		case layerOf(pkg) < 0:
			t.Errorf("%s: package %s is not in the list of layers", path, pkg)
		case layerOf(ours) < 0:
			t.Errorf("%s: imported package %s is not in the list of layers", path, ours)
		case layerOf(ours) >= layerOf(pkg):
			t.Errorf("%s: %s (layer %d) imports %s (layer %d)", path, pkg, layerOf(pkg), ours, layerOf(ours))
		}
		return
	}
	if test {
		return
	}
	for prefix, allowed := range confined {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && !slices.Contains(allowed, pkg) {
			t.Errorf("%s: %s imports %s, which is confined to %v", path, pkg, imported, allowed)
		}
	}
	if imported == "github.com/rs/zerolog" && layerOf(pkg) >= 0 && layerOf(pkg) < silent {
		t.Errorf("%s: layer %d returns errors and logs nothing", path, layerOf(pkg))
	}
}
