package intake

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
)

// keyed is an envelope to alice under a key.
func keyed(user, key string) mcmt.Envelope {
	env := to("alice@localhost")
	env.User, env.IdempotencyKey = user, key
	return env
}

var usedKey = want{554, [3]int{5, 6, 0}, 422}

// TestKeyRepeated: the same request again is answered as the first and stores
// nothing; under another's name the key means another thing.
func TestKeyRepeated(t *testing.T) {
	t.Parallel()
	d := open(t)
	first, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail))
	if err != nil {
		t.Fatal(err)
	}
	other, from, more := keyed("app", "k"), keyed("app", "k"), keyed("app", "k")
	other.User = "app2"
	from.From = "other@corp.example"
	more.To = append(more.To, mcmt.Recipient{Address: "bob@localhost"})
	for _, tc := range []struct {
		name string
		env  mcmt.Envelope
		raw  string
		want want
		same bool
	}{
		{"the same again", keyed("app", "k"), mail, taken, true},
		{"another message", keyed("app", "k"), mail + "more", usedKey, false},
		{"another sender", from, mail, usedKey, false},
		{"another recipient", more, mail, usedKey, false},
		{"another key", keyed("app", "k2"), mail, taken, false},
		{"another user", other, mail, taken, false},
		{"nobody", keyed("", "k"), mail, taken, false},
	} {
		id, err := d.Put(t.Context(), tc.env, []byte(tc.raw))
		check(t, err, tc.want)
		if same := id == first; same != tc.same {
			t.Errorf("%s: id %q, the first was %q", tc.name, id, first)
		}
	}
	if n := len(d.stored()); n != 4 || d.Stats().Stored != 4 || d.told(trace.Stored) != 4 {
		t.Errorf("%d stored, %+v, %d told, want 4", n, d.Stats(), d.told(trace.Stored))
	}
}

// TestKeyAtOnce: many with the same key at the same time get one id, and one
// message is stored.
func TestKeyAtOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	ids := make([]mcmt.ID, 16)
	var putting sync.WaitGroup
	for i := range ids {
		putting.Go(func() {
			var err error
			if ids[i], err = d.Put(t.Context(), keyed("app", "k"), []byte(mail)); err != nil {
				t.Error(err)
			}
		})
	}
	putting.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("ids %q", ids)
		}
	}
	if n := len(d.stored()); n != 1 || d.Stats() != (Stats{Stored: 1}) || d.told(trace.Stored) != 1 {
		t.Errorf("%d messages stored, %+v, %d told, want 1", n, d.Stats(), d.told(trace.Stored))
	}
}

// TestKeyBusy: who repeats while the first is still on its way is told to come
// again when they cannot wait any longer.
func TestKeyBusy(t *testing.T) {
	t.Parallel()
	storing, release := make(chan struct{}), make(chan struct{})
	d := open(t, func(o *Options) { o.Broker = slow{o.Broker, storing, release} })
	first := make(chan error, 1)
	go func() {
		_, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail))
		first <- err
	}()
	<-storing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Put(ctx, keyed("app", "k"), []byte(mail))
	check(t, err, away)
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// slow is a broker that stores when it is told to.
type slow struct {
	Broker
	storing, release chan struct{}
}

func (s slow) Store(ctx context.Context, msgs ...broker.Message) error {
	close(s.storing)
	<-s.release
	return s.Broker.Store(ctx, msgs...)
}

// onceFailing is a broker that fails the first time, after or before it has stored.
type onceFailing struct {
	Broker
	failed, stores bool
}

func (o *onceFailing) Store(ctx context.Context, msgs ...broker.Message) error {
	if o.failed {
		return o.Broker.Store(ctx, msgs...)
	}
	o.failed = true
	if o.stores {
		_ = o.Broker.Store(ctx, msgs...)
	}
	return broker.ErrUnavailable
}

// TestKeyAfterCrash: between the key and the message, or between the message and
// the answer, the gateway was gone. The repetition completes it under one id.
func TestKeyAfterCrash(t *testing.T) {
	t.Parallel()
	for name, stores := range map[string]bool{"before the message was stored": false, "after it was stored": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, func(o *Options) { o.Broker = &onceFailing{Broker: o.Broker, stores: stores} })
			env := to("alice@localhost", "bob@localhost")
			env.IdempotencyKey = "k"
			_, err := d.Put(t.Context(), env, []byte(mail))
			check(t, err, away)
			id, err := d.Put(t.Context(), env, []byte(mail))
			if err != nil {
				t.Fatal(err)
			}
			again, err := d.Put(t.Context(), env, []byte(mail))
			if err != nil || again != id {
				t.Errorf("then %q, %v, want %q", again, err, id)
			}
			all := d.stored()
			if len(all) != 2 {
				t.Errorf("%d messages stored, want 2", len(all))
			}
			for _, m := range all {
				if !strings.HasPrefix(m.ID, string(id)+".") {
					t.Errorf("stored as %s, answered %s", m.ID, id)
				}
			}
		})
	}
}

// forgetful are Submissions that cannot be reached.
type forgetful struct {
	Submissions
	begin, done error
}

func (f forgetful) Begin(ctx context.Context, key string, s store.Submission) (store.Submission, bool, error) {
	if f.begin != nil {
		return store.Submission{}, false, f.begin
	}
	return f.Submissions.Begin(ctx, key, s)
}

func (f forgetful) Done(context.Context, string, store.Submission) error { return f.done }

// TestKeyNotKept: without a memory for keys nothing is promised.
func TestKeyNotKept(t *testing.T) {
	t.Parallel()
	lost := errors.New("cannot be reached")
	t.Run("there is none", func(t *testing.T) {
		t.Parallel()
		d := open(t, func(o *Options) { o.Submissions = nil })
		_, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail))
		check(t, err, want{554, [3]int{5, 3, 3}, 422})
	})
	t.Run("it is away", func(t *testing.T) {
		t.Parallel()
		d := open(t, func(o *Options) { o.Submissions = forgetful{o.Submissions, lost, nil} })
		_, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail))
		check(t, err, away)
		if n := len(d.stored()); n != 0 {
			t.Errorf("%d stored", n)
		}
	})
	t.Run("it is away at the end", func(t *testing.T) {
		t.Parallel()
		d := open(t, func(o *Options) { o.Submissions = forgetful{o.Submissions, nil, lost} })
		id, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail))
		if err != nil || !strings.Contains(d.log.String(), string(id)) {
			t.Errorf("%v: in custody all the same, with a line in the log: %s", err, d.log.String())
		}
		if again, err := d.Put(t.Context(), keyed("app", "k"), []byte(mail)); err != nil || again != id {
			t.Errorf("again: %q, %v, want %q", again, err, id)
		}
		if n := len(d.stored()); n != 1 {
			t.Errorf("%d stored, want 1", n)
		}
	})
}
