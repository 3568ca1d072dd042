package store

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

var served = []string{"example.com", "example.net"}

func TestPlainFile(t *testing.T) {
	t.Parallel()
	const file = "\ufeff# comment\n" +
		"\n" +
		"  # another\r\n" +
		"alice:wonder:land #1 \r\n" + // colons, # and blanks are the password's
		"BOB@Example.com:builder\n" + // an account on one domain
		"bob:all\n" + // on the others the bare name counts
		"nocolon\n" +
		":empty\n" +
		"carol:\n" +
		"a<b:pass\n" +
		"bad\xff:pass\n" +
		"dave:hunter2\x01\n" +
		"Alice:hunter2\n" +
		"\xc3\xa9mile@xn--caf-dma.example:caf\xc3\xa9" // without an end of line
	users, bad := parseLines("passwd", []byte(file), served, parsePlainLine)

	want := map[string]string{
		"alice@example.com": "wonder:land #1 ", "alice@example.net": "wonder:land #1 ",
		"bob@example.com": "builder", "bob@example.net": "all",
		"\u00e9mile@caf\u00e9.example": "caf\u00e9",
	}
	if len(users) != len(want) {
		t.Errorf("%d accounts, want %d", len(users), len(want))
	}
	for name, password := range want {
		if got := users[jid.MustParse(name)].Password; got != password {
			t.Errorf("%s: password %q, want %q", name, got, password)
		}
	}

	var got []int
	for _, err := range bad {
		var line *LineError
		if !errors.As(err, &line) || !strings.HasPrefix(err.Error(), "passwd:") || line.Temporary() {
			t.Fatalf("error %v", err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("password in %v", err)
		}
		got = append(got, line.Line)
	}
	if want := []int{7, 8, 9, 10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("bad lines %v, want %v: %v", got, want, bad)
	}
}

// The order of a bare name and one with a domain does not matter.
func TestDomainGoesBeforeBareName(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"bob:all\nbob@example.com:one\n", "bob@example.com:one\nbob:all\n"} {
		users, bad := parseLines("passwd", []byte(file), served, parsePlainLine)
		if len(bad) != 0 || users[jid.MustParse("bob@example.com")].Password != "one" || users[jid.MustParse("bob@example.net")].Password != "all" {
			t.Errorf("%q: %d bad lines: %v", file, len(bad), bad)
		}
	}
	if _, bad := parseLines("passwd", []byte("bob:all\n"), nil, parsePlainLine); len(bad) != 1 {
		t.Errorf("a bare name where no domain is served: %v", bad)
	}
}

func TestDigestFile(t *testing.T) {
	t.Parallel()
	const hash = "5f4dcc3b5aa765d61d8327deb882cf99"
	tests := []struct {
		name, line string
		user       string // "": bad line
	}{
		{"as htdigest writes it", "alice:example.com:" + hash, "alice@example.com"},
		{"capital hex digits", "alice:example.com:" + strings.ToUpper(hash), "alice@example.com"},
		{"the spelling of the name is kept for the hash", "Alice:example.com:" + hash, "alice@example.com"},
		{"realm in another spelling can never match", "alice:Example.com:" + hash, ""},
		{"realm with a colon", "alice:example.com:8080:" + hash, ""},
		{"hash too short", "alice:example.com:5f4dcc", ""},
		{"hash is no hex", "alice:example.com:zz4dcc3b5aa765d61d8327deb882cf99", ""},
		{"two fields", "alice:" + hash, ""},
		{"no name", ":example.com:" + hash, ""},
		{"no realm", "alice::" + hash, ""},
	}
	for _, test := range tests {
		users, bad := parseLines("digest", []byte(test.line), nil, parseDigestLine)
		if test.user == "" {
			if len(bad) != 1 || len(users) != 0 {
				t.Errorf("%s: %d users, %v", test.name, len(users), bad)
			}
			continue
		}
		c, ok := users[jid.MustParse(test.user)]
		if !ok || c.HA1 != hash || c.HA1Name != strings.SplitN(test.line, ":", 2)[0] {
			t.Errorf("%s: %v, %v", test.name, ok, bad)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("alice:pass\nbob@example.com:x\n#\n"))
	f.Add([]byte("alice:example.com:5f4dcc3b5aa765d61d8327deb882cf99"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []lineParser{parsePlainLine, parseDigestLine} {
			users, bad := parseLines("f", data, served, parse)
			lines := strings.Count(string(data), "\n") + 1
			if len(bad) > lines || len(users) > lines*len(served) {
				t.Fatalf("%d accounts and %d errors of %d lines", len(users), len(bad), lines)
			}
			for j, c := range users {
				if j.Local() == "" || !j.IsBare() || c.Password == "" && c.HA1 == "" {
					t.Fatalf("account %q", j)
				}
				if again, err := jid.Parse(j.String()); err != nil || again != j {
					t.Fatalf("account %q is %q when read again, %v", j, again, err)
				}
			}
		}
	})
}

// benchLines is a file of n accounts.
func benchLines(n int) []byte {
	var b strings.Builder
	for i := range n {
		b.WriteString("user")
		b.WriteString(strings.Repeat("x", i%7))
		b.WriteString(strings.Repeat("y", i/7%11))
		b.WriteString(strings.Repeat("z", i/77))
		b.WriteString("@example.com:password\n")
	}
	return []byte(b.String())
}

func BenchmarkParse1000Lines(b *testing.B) {
	data := benchLines(1000)
	b.ReportAllocs()
	for b.Loop() {
		var users map[jid.JID]sasl.Credentials
		if users, _ = parseLines("f", data, nil, parsePlainLine); len(users) == 0 {
			b.Fatal("no accounts")
		}
	}
}
