package c2s

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// shared is a registry that several processes might share. It notes what it is
// told, and has sessions of others.
type shared struct {
	router.Registry

	mu        sync.Mutex
	told      []string
	elsewhere map[jid.JID]router.Session
}

func newShared() *shared {
	return &shared{Registry: router.NewRegistry(), elsewhere: make(map[jid.JID]router.Session)}
}

func (r *shared) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *shared) Changed(s router.Session) {
	p, ok := s.Priority()
	r.note("%s %d %v", s.JID().Resource(), p, ok)
}

func (r *shared) Bind(s router.Session, max int) (router.Session, error) {
	r.note("bind %s", s.JID().Resource())
	return r.Registry.Bind(s, max)
}

func (r *shared) Session(full jid.JID) router.Session {
	if s := r.Registry.Session(full); s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.elsewhere[full]
}

func (r *shared) knows(s *foreign) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.elsewhere[s.jid] = s
}

func (r *shared) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// foreign is a session of another process.
type foreign struct {
	jid    jid.JID
	shared *shared
	send   func(st *stanza.Stanza)
}

func (f *foreign) JID() jid.JID                                           { return f.jid }
func (f *foreign) Priority() (int8, bool)                                 { return 0, true }
func (f *foreign) Prove(context.Context) (router.Proof, error)            { return "", nil }
func (f *foreign) Close(*stream.Error)                                    {}
func (f *foreign) Retire(context.Context)                                 { f.shared.note("retire %s", f.jid.Resource()) }
func (f *foreign) Send(_ context.Context, st *stanza.Stanza) error        { f.send(st); return nil }
func (f *foreign) SendKept(context.Context, *stanza.Stanza) (bool, error) { return false, nil }

// TestRegistryLearns tells the registry of each change of what Priority says.
func TestRegistryLearns(t *testing.T) {
	t.Parallel()
	r := newShared()
	f := serve(t, router.Options{Registry: r}, Options{}, ConnOptions{})
	c := f.online(t, "alice@localhost/a")
	ctx := within(t)
	if err := c.Available(ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, stanza.NewPresence(jid.JID{}, jid.JID{}, "unavailable")); err != nil {
		t.Fatal(err)
	}
	if err := c.Available(ctx, -1); err != nil {
		t.Fatal(err)
	}
	want := []string{"bind a", "a 0 true", "a 5 true", "a 0 false", "a -1 true"}
	eventually(t, func() bool { return len(r.all()) == len(want) }, "all of it is told")
	_ = c.Close(ctx)
	want = append(want, "a 0 false")
	eventually(t, func() bool { return len(r.all()) == len(want) }, "the end is told")
	if got := r.all(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestTakeOverFromElsewhere ends the presence of a session of another process
// before its JID is bound here.
func TestTakeOverFromElsewhere(t *testing.T) {
	t.Parallel()
	r := newShared()
	f := serve(t, router.Options{Registry: r}, Options{}, ConnOptions{})
	r.knows(&foreign{jid: jid.MustParse("alice@localhost/a"), shared: r})
	f.login(t, "alice@localhost/a")
	if got, want := r.all(), []string{"retire a", "bind a"}; !slices.Equal(got, want) {
		t.Errorf("done %q, want %q", got, want)
	}
}

// TestYieldInSilence: a session that another process has bound anew is gone, but
// the resource is not.
func TestYieldInSilence(t *testing.T) {
	t.Parallel()
	r := newShared()
	f := serve(t, router.Options{Registry: r}, Options{}, ConnOptions{})
	watcher := f.online(t, "alice@localhost/watcher")
	ctx := within(t)
	for _, name := range []string{"a", "b"} {
		c := f.online(t, "alice@localhost/"+name)
		if name == "a" {
			r.knows(&foreign{jid: c.JID(), shared: r})
		}
		f.session(t, c).Close(&stream.Error{Condition: stream.Conflict})
	}
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != "b unavailable" {
		st, err := watcher.Receive(ctx)
		if err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		seen = append(seen, st.From.Resource()+" "+st.Type)
	}
	if want := []string{"a ", "b ", "b unavailable"}; !slices.Equal(seen, want) {
		t.Errorf("another resource sees %q, want %q", seen, want)
	}
}

// TestIntroduceLatest: presence that changes while a session is introduced may be
// overtaken by the introduction. What the other gets last is the latest.
func TestIntroduceLatest(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	v := New(Options{Router: router.New(router.Options{})})
	s := stream.New(near, stream.Options{Receiving: true})
	defer s.Abort()
	c := newSession(v, s, jid.MustParse("alice@localhost/a"), ConnOptions{}, newCarrier(func(error) {}), zerolog.Nop())
	show := func(id string) *stanza.Stanza {
		st := stanza.NewPresence(jid.JID{}, c.full, "")
		st.ID = id
		return st
	}
	var got []string
	changes := []func(){
		func() { c.shows.set(show("second"), 0) },
		func() { c.shows.clear(false) },
		func() { c.shows.set(show("third"), 0) },
	}
	to := &foreign{jid: jid.MustParse("alice@localhost/b"), send: func(st *stanza.Stanza) {
		if st.To.String() != "alice@localhost/b" || st.From != c.full {
			t.Errorf("sent from %s to %s", st.From, st.To)
		}
		got = append(got, st.ID+st.Type)
		if len(changes) > 0 {
			changes[0]()
			changes = changes[1:]
		}
	}}
	c.Introduce(t.Context(), to)
	if len(got) > 0 {
		t.Errorf("a session without presence sends %q", got)
	}
	c.shows.set(show("first"), 0)
	c.Introduce(t.Context(), to)
	if want := []string{"first", "second", "unavailable", "third"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}
