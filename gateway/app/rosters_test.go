package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

func record(t *testing.T, text string) *roster.Roster {
	t.Helper()
	r, err := roster.ParseRecord([]byte(text), roster.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hear returns what a client gets next, but for its own presence.
func hear(t *testing.T, c *stream.Client) *stanza.Stanza {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		st, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.From != c.JID() {
			return st
		}
	}
}

// TestImportedRoster: who is online learns of an operator's change at once, by push
// and by presence, once both sides are written.
func TestImportedRoster(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	r.add("bob@localhost", "secret")
	ctx := t.Context()
	alice, bob := jid.MustParse("alice@localhost"), jid.MustParse("bob@localhost")
	clients := make(map[jid.JID]*stream.Client)
	for _, user := range []jid.JID{alice, bob} {
		c := r.login(user.String()+"/x", "secret")
		if err := c.Send(ctx, stanza.NewIQ(jid.JID{}, jid.JID{}, stanza.TypeGet, "r", xmlwire.New(roster.NS, "query"))); err != nil {
			t.Fatal(err)
		}
		if st := hear(t, c); st.Type != stanza.TypeResult {
			t.Fatalf("roster: %s", st)
		}
		if err := c.Available(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if st, err := c.Receive(ctx); err != nil || st.From != c.JID() {
			t.Fatalf("%v, %v", st, err)
		}
		clients[user] = c
	}
	if err := r.Rosters().Import(ctx, alice, record(t, `{"bob@localhost":{"subscription":"both"}}`), false); err != nil {
		t.Fatal(err)
	}
	if st := hear(t, clients[alice]); st.Kind != stanza.IQ || !strings.Contains(st.String(), `jid='bob@localhost' subscription='both'`) {
		t.Errorf("alice got %s", st)
	}
	if st := hear(t, clients[bob]); st.Kind != stanza.Presence || st.From != clients[alice].JID() {
		t.Errorf("bob got %s", st)
	}
	if err := r.Rosters().Import(ctx, bob, record(t, `{"alice@localhost":{"subscription":"both"}}`), true); err != nil {
		t.Fatal(err)
	}
	if st := hear(t, clients[bob]); st.Kind != stanza.IQ {
		t.Errorf("bob got %s", st)
	}
	if st := hear(t, clients[bob]); st.Kind != stanza.Presence || st.From != clients[alice].JID() {
		t.Errorf("bob got %s", st)
	}
	if st := hear(t, clients[alice]); st.Kind != stanza.Presence || st.From != clients[bob].JID() {
		t.Errorf("alice got %s", st)
	}

	// Bob's account goes, and with it what alice has of him.
	if err := r.Accounts().Remove(ctx, bob); err != nil {
		t.Fatal(err)
	}
	if r.rosters.Has(bob) {
		t.Error("the roster has outlived its account")
	}
	want := map[string]bool{"unavailable": true, "unsubscribe": true, "unsubscribed": true, "set": true}
	for s := "both"; s != "none"; {
		st := hear(t, clients[alice])
		if !want[st.Type] {
			t.Fatalf("alice got %s", st)
		}
		if q := st.Element.Child(roster.Name); q != nil {
			s = q.Child(xmlwire.Name{Space: roster.NS, Local: "item"}).Attr("subscription")
		}
	}
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	ctx := t.Context()
	alice := jid.MustParse("alice@localhost")
	nobody := jid.MustParse("nobody@localhost")
	if err := r.Rosters().Import(ctx, nobody, record(t, `{}`), false); !errors.Is(err, store.ErrNoAccount) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := r.Rosters().Roster(ctx, nobody); !errors.Is(err, store.ErrNoAccount) {
		t.Errorf("nobody: %v", err)
	}
	for _, own := range []string{`{"alice@localhost":{}}`, `{"alice@localhost":{"pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"}}}`} {
		if err := r.Rosters().Import(ctx, alice, record(t, own), false); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("alice in her own: %v", err)
		}
	}
	if r.rosters.Has(alice) {
		t.Error("something is stored")
	}
}

// TestDamagedRoster: a roster that cannot be read is not added to, and can be replaced.
func TestDamagedRoster(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	ctx := t.Context()
	alice := jid.MustParse("alice@localhost")
	if err := r.Rosters().Import(ctx, alice, record(t, `{"bob@localhost":{}}`), false); err != nil {
		t.Fatal(err)
	}
	kv, err := r.broker.KV(ctx, jetstream.KeyValueConfig{Bucket: "roster", Description: "rosters by bare JID", Storage: jetstream.FileStorage, History: 1, MaxBytes: 512 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "alice=40localhost", "{"); err != nil {
		t.Fatal(err)
	}
	carol := record(t, `{"carol@localhost":{}}`)
	if err := r.Rosters().Import(ctx, alice, carol, false); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("added: %v", err)
	}
	if err := r.Rosters().Import(ctx, alice, carol, true); err != nil {
		t.Errorf("replaced: %v", err)
	}
	if got, err := r.Rosters().Roster(ctx, alice); err != nil || got.Len() != 1 || got.Items()[0].JID.Local() != "carol" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestRosterOfOtherAccount: the roster of a name stays while another store has an
// account of that name, of a gateway that does not run too.
func TestRosterOfOtherAccount(t *testing.T) {
	t.Parallel()
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(passwords, []byte("alice:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := basic + `xmpp_listener { AuthPlainParameters = [ uri = "file://` + passwords + `" ] listen "127.0.0.1:0" {} }` + "\n"
	r := start(t, text)
	ctx := t.Context()
	alice := jid.MustParse("alice@localhost")
	if err := r.Rosters().Import(ctx, alice, record(t, `{"bob@localhost":{}}`), false); err != nil {
		t.Fatal(err)
	}
	r.add("alice@localhost", "other")
	if err := r.Accounts().Remove(ctx, alice); err != nil || !r.rosters.Has(alice) {
		t.Errorf("removed from one store: %v, roster %v", err, r.rosters.Has(alice))
	}
	r.add("alice@localhost", "other")
	cfg := r.state.Load().cfg
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := WithAccounts(ctx, cfg, zerolog.Nop(), func(a admin.Accounts) error { return a.Remove(ctx, alice) }); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBroker(ctx, cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(ctx)
	rosters, err := openRosters(ctx, b, config.Accounts{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer rosters.Close()
	if !rosters.Has(alice) {
		t.Error("the roster is gone")
	}
}

// TestRemoveLeftRoster: a removal that failed half-way can be done again.
func TestRemoveLeftRoster(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	ctx := t.Context()
	alice := jid.MustParse("alice@localhost")
	r.add("alice@localhost", "secret")
	if err := r.Rosters().Import(ctx, alice, record(t, `{"bob@localhost":{}}`), false); err != nil {
		t.Fatal(err)
	}
	if err := r.accounts.builtin.Remove(ctx, alice); err != nil {
		t.Fatal(err)
	}
	if err := r.Accounts().Remove(ctx, alice); err != nil || r.rosters.Has(alice) {
		t.Errorf("the rest of it: %v", err)
	}
	if err := r.Accounts().Remove(ctx, alice); !errors.Is(err, store.ErrNoAccount) {
		t.Errorf("once more: %v", err)
	}
}
