package config

import (
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestParseCiphers(t *testing.T) {
	t.Parallel()
	gcm := []string{"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"}
	for name, tc := range map[string]struct {
		in    string
		want  []string
		notes int
	}{
		"one name":                      {"ECDHE-RSA-AES128-GCM-SHA256", []string{"ECDHE-RSA-AES128-GCM-SHA256"}, 0},
		"names are case-insensitive":    {"ecdhe-rsa-aes128-gcm-sha256", []string{"ECDHE-RSA-AES128-GCM-SHA256"}, 0},
		"IANA's name of the same":       {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", []string{"ECDHE-RSA-AES128-GCM-SHA256"}, 0},
		"every separator":               {"ECDHE-RSA-AES128-SHA, ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA\tECDHE-ECDSA-AES256-SHA", []string{"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"}, 0},
		"twice the same is once":        {"AES128-SHA:AES128-SHA:!aNULL", []string{"AES128-SHA"}, 1},
		"intersection":                  {"ECDHE+AESGCM", gcm, 0},
		"intersection, other name":      {"EECDH+AESGCM:!aNULL:!MD5:!RC4:!DES:!3DES:!PSK:!SRP:!CAMELLIA:!DSS:!EXPORT:!eNULL:!LOW", gcm, 0},
		"exclusion is for good":         {"!aRSA:ECDHE+AESGCM:ECDHE-RSA-AES128-GCM-SHA256", []string{gcm[0], gcm[2]}, 0},
		"exclusion until named again":   {"ECDHE+AESGCM:-aRSA:ECDHE-RSA-AES128-GCM-SHA256", []string{gcm[0], gcm[2], gcm[3]}, 0},
		"order is noted, nothing added": {"ECDHE+AESGCM:+aRSA:@STRENGTH", gcm, 1},
		"TLS 1.3 is noted":              {"TLS_AES_128_GCM_SHA256:ECDHE+AESGCM", gcm, 1},
		"excluding what we lack":        {"ECDHE+AESGCM:!DH:!ECDHE-RSA-DES-CBC3-SHA:!EDH-RSA-DES-CBC3-SHA:!KRB5-DES-CBC3-SHA:-DHE-RSA-AES128-SHA:!ECDHE-RSA-AES256-SHA384", gcm, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, notes, err := ParseCiphers(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names(got), sorted(tc.want)) || len(notes) != tc.notes {
				t.Errorf("got %v, notes %q; want %v and %d notes", names(got), notes, sorted(tc.want), tc.notes)
			}
		})
	}
}

func TestParseCiphersRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want []string // the name of each error; "" for one about the whole
	}{
		"a misspelt name":                   {"ECDHE-RSA-AES129-GCM-SHA256", []string{"ECDHE-RSA-AES129-GCM-SHA256"}},
		"every bad name is reported":        {"FOO:ECDHE+AESGCM:DHE-RSA-AES128-SHA:!BAR", []string{"FOO", "DHE-RSA-AES128-SHA", "!BAR"}},
		"RC4, RFC 7465":                     {"RC4-SHA", []string{"RC4-SHA"}},
		"3DES, RFC 9325":                    {"DES-CBC3-SHA", []string{"DES-CBC3-SHA"}},
		"a misspelt exclusion":              {"HIGH:!ECDHE-RSA-AES129-SHA", []string{"!ECDHE-RSA-AES129-SHA"}},
		"a group we have nothing of":        {"CAMELLIA", []string{"CAMELLIA"}},
		"an intersection that is empty":     {"kRSA+CHACHA20", []string{"kRSA+CHACHA20"}},
		"nothing left":                      {"AES128-SHA:!kRSA", []string{""}},
		"only exclusions":                   {"!aNULL:!MD5", []string{""}},
		"only TLS 1.3, which is always on":  {"TLS_AES_128_GCM_SHA256", []string{""}},
		"TLS 1.3 cannot be excluded":        {"ECDHE+AESGCM:!TLS_AES_128_GCM_SHA256", []string{"!TLS_AES_128_GCM_SHA256"}},
		"a security level":                  {"DEFAULT:@SECLEVEL=2", []string{"@SECLEVEL=2"}},
		"an exclusion that stands for none": {"ECDHE+AESGCM:!", []string{"!"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := ParseCiphers(tc.in)
			joined, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("got %v, %v; want errors", names(got), err)
			}
			var have []string
			for _, err := range joined.Unwrap() {
				var ce *CipherError
				if !errors.As(err, &ce) || ce.Text == "" {
					t.Fatalf("not a CipherError with a text: %#v", err)
				}
				have = append(have, ce.Name)
			}
			if !slices.Equal(have, tc.want) {
				t.Errorf("errors name %q, want %q", have, tc.want)
			}
		})
	}
}

// An empty value is no value: Go chooses.
func TestParseCiphersEmpty(t *testing.T) {
	t.Parallel()
	if got, notes, err := ParseCiphers(" : "); got != nil || notes != nil || err != nil {
		t.Errorf("got %v, %v, %v", got, notes, err)
	}
}

// OpenSSL is the judge of what its cipher strings mean: of the suites we have,
// it allows the same ones.
func TestParseCiphersAsOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("openssl is not here: apt-get install openssl")
	}
	if err != nil {
		t.Skip("openssl is not here: apt-get install openssl")
	}
	for _, in := range []string{
		"HIGH", "ALL", "HIGH:!aNULL:!MD5", "HIGH:!kRSA", "ECDHE", "EECDH+AESGCM:EECDH+CHACHA20", "kRSA", "RSA", "aRSA", "ECDSA", "aECDSA",
		"AES", "AES128", "AES256", "AESGCM", "CHACHA20", "SHA1", "SHA256", "TLSv1.2", "TLSv1", "SSLv3", "kECDHE+aRSA", "ECDH",
		"HIGH:-SHA1:AES128-SHA", "ALL:!AES:CHACHA20", "!SHA:HIGH", "AES128+kRSA+SHA", "HIGH:!TLSv1.2", "aRSA+AES256:-kRSA:!SHA",
	} {
		out, err := exec.Command(openssl, "ciphers", in).Output()
		if err != nil {
			t.Errorf("openssl ciphers %s: %v", in, err)
			continue
		}
		var want []string
		for word := range strings.SplitSeq(strings.TrimSpace(string(out)), ":") {
			if slices.ContainsFunc(tls12Suites, func(s suite) bool { return s.name == word }) {
				want = append(want, word)
			}
		}
		got, _, err := ParseCiphers(in)
		if err != nil || !slices.Equal(names(got), sorted(want)) {
			t.Errorf("%s: got %v (%v), OpenSSL %v", in, names(got), err, sorted(want))
		}
	}
}

// Every suite of crypto/tls for TLS 1.2 has a name here, but for RC4 and 3DES.
func TestSuitesComplete(t *testing.T) {
	t.Parallel()
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known := slices.ContainsFunc(tls12Suites, func(s suite) bool { return s.id == c.ID })
		left := isTLS13(c.Name) || strings.Contains(c.Name, "RC4") || strings.Contains(c.Name, "3DES")
		if known == left {
			t.Errorf("%s: known %v, meant to be left out %v", c.Name, known, left)
		}
	}
}

func FuzzParseCiphers(f *testing.F) {
	f.Add("HIGH:!aNULL:+kRSA:@STRENGTH")
	f.Add("ECDHE+AESGCM, TLS_AES_128_GCM_SHA256")
	f.Add("!:-:+:@:++")
	f.Fuzz(func(t *testing.T, s string) {
		ids, notes, err := ParseCiphers(s)
		if err != nil && (ids != nil || notes != nil) {
			t.Error("an error and a result")
		}
		if len(ids) > len(tls12Suites) {
			t.Errorf("%d suites of %d", len(ids), len(tls12Suites))
		}
	})
}

func names(ids []uint16) (out []string) {
	for _, id := range ids {
		out = append(out, opensslName(id))
	}
	return sorted(out)
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
