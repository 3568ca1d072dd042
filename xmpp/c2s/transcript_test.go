package c2s

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmpptest"
)

// discard keeps nothing: transcripts only see what the sender is told.
type discard struct{}

func (discard) Keep(context.Context, *stanza.Stanza) error { return nil }
func (discard) Waits(context.Context, jid.JID) bool        { return false }

const nsStates = "http://jabber.org/protocol/chatstates"

// tells is the gateway's rule as far as transcripts need it.
func tells(st *stanza.Stanza) bool {
	return !strings.Contains(st.String(), nsStates) || st.Child("body") != nil
}

// noStates drops chat states on their way to storage, as the gateway's filter does.
func noStates(_ context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error) {
	if keep && strings.Contains(st.String(), nsStates) {
		return nil, nil
	}
	return st, nil
}

// rosters are those of alice and bob, from their records.
func rosters(t *testing.T, alice, bob string) *xmpptest.Rosters {
	t.Helper()
	m := new(xmpptest.Rosters)
	for user, record := range map[string]string{"alice": alice, "bob": bob} {
		r, err := roster.ParseRecord([]byte(record), roster.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		change := func(old *roster.Roster) error { return old.Import(r, true) }
		if err := m.Update(t.Context(), jid.MustParse(user+"@localhost"), change, nil); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	xmpptest.Run(t, "testdata/*.txt", func(t *testing.T, uses []string) string { return transcriptServer(t, uses, nil) })
}

// transcriptServer starts what the USE words of a transcript ask for, with its
// connections wrapped by wrap where that is not nil.
func transcriptServer(t *testing.T, uses []string, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	var ro router.Options
	var o Options
	var co ConnOptions
	var provide []func(*router.Router)
	for _, use := range uses {
		switch use {
		case "no-tls":
			co.AllowPlainWithoutTLS = true // and so no certificate
		case "tls-required":
			co.TLSRequired = true
		case "conflict-refuse":
			co.Conflict = ConflictRefuse
		case "conflict-rename":
			co.Conflict = ConflictRename
		case "tolerant":
			co.Tries = 9
		case "websocket":
			co.WebSocket = new(WebSocketOptions)
		case "guard-address":
			co.Guess = GuessLimits{Window: time.Hour, PerAddress: 2}
		case "guard-account":
			co.Guess = GuessLimits{Window: time.Hour, PerAccount: 2}
		case "dawdle":
			co.Limits.Element = 50 * time.Millisecond
		case "digest":
			co.Digest = users
		case "direct":
			co.Direct = true
		case "two-domains":
			ro.Domains = func(d string) bool { return d == "localhost" || d == "other.example" }
		case "one-session":
			ro.MaxSessions = 1
		case "one-connection":
			o.PerAddress = 1
		case "rosters":
			ro.Rosters = new(xmpptest.Rosters)
		case "friends":
			ro.Rosters = rosters(t, `{"bob@localhost":{"subscription":"both"}}`, `{"alice@localhost":{"subscription":"both"}}`)
		case "one-sided":
			ro.Rosters = rosters(t, `{"bob@localhost":{"subscription":"to"},"nobody@localhost":{"subscription":"to"}}`, `{}`)
		case "small-rosters":
			ro.Rosters = &xmpptest.Rosters{Limits: roster.Limits{Items: 2, Name: 10, Group: 10, Groups: 2}}
		case "full-disk":
			rosters := new(xmpptest.Rosters)
			rosters.Fail(errors.New("disk is full"))
			ro.Rosters = rosters
		case "custody":
			ro.Custody, ro.Filter = discard{}, noStates
		case "elements":
			provide = append(provide, provideElements(&ro))
		case "uploads":
			provide = append(provide, provideUploads)
		case "archive":
			provide = append(provide, provideArchive(&ro))
		case "inactive":
			co.MaxHeld, ro.Tells = 3, tells
		case "blocking":
			provide = append(provide, provideBlocking(&ro))
		case "small": // the defaults are what is tested
		case "hurry":
			co.Limits.Negotiation = 400 * time.Millisecond
		case "idle":
			co.IdleTime, o.ProofTime = 50*time.Millisecond, 2*time.Second
		case "location":
			co.ResumeTime, co.Location = 5*time.Minute, "node1.example:5222"
		case "resumption":
			co.ResumeTime = 5 * time.Minute
		case "short-resumption":
			co.ResumeTime = time.Second
		case "impatient":
			o.ProofTime = 200 * time.Millisecond
		default:
			t.Fatalf("no such use: %s", use)
		}
	}
	f := serveOn(t, wrap, ro, o, co)
	for _, p := range provide {
		p(f.router)
	}
	return f.addr
}
