package c2s

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

// GuessLimits bound the guessing of passwords. The zero value has no bound and no
// delay.
type GuessLimits struct {
	// Delay is the pause before a wrong password is answered, twice as long with each
	// further one from the same address, up to 16 times.
	Delay time.Duration
	// Window is how long a failure counts, from the first of a row on.
	Window time.Duration
	// PerAddress is how many failures from one address (IPv6: one /64) there may be
	// in that time: then no login from there is tried. Zero: no bound.
	PerAddress int
	// PerAccount is the same for one name, whether it is an account or not. An address
	// from which the account's own client has logged in goes on: else anybody could
	// lock it out. Zero: no bound.
	PerAccount int
}

// maxGuard bounds each table of a Guard. Who has not been seen for longest is
// forgotten for one more.
const maxGuard = 1 << 15

// Guard remembers failed logins, for all servers of a process.
type Guard struct {
	mu        sync.Mutex
	addresses table[netip.Prefix] // guarded by mu, as all of them
	accounts  table[jid.JID]
	known     table[login] // what has logged in from where
}

// login is an account from an address.
type login struct {
	account jid.JID
	from    netip.Prefix
}

// NewGuard returns a Guard that has seen nothing.
func NewGuard() *Guard { return new(Guard) }

// failures are those of an address or account in a row.
type failures struct {
	n     int
	since time.Time
}

// failed counts a wrong password, and returns how many there were from the address.
func (g *Guard) failed(from netip.Prefix, account jid.JID, l GuessLimits, now time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 1
	if from.IsValid() {
		n = g.addresses.count(from, l.Window, now)
	}
	if !account.IsZero() {
		g.accounts.count(account, l.Window, now)
	}
	return n
}

// succeeded remembers that the account has logged in from there. What else the
// address has tried still counts: an attacker may have an account too.
func (g *Guard) succeeded(from netip.Prefix, account jid.JID, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.get(login{account, from}).since = now
}

// refusesAddress says for how long an address is not to try, because it has failed too
// often.
func (g *Guard) refusesAddress(from netip.Prefix, l GuessLimits, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.PerAddress <= 0 || !from.IsValid() {
		return 0
	}
	return g.addresses.reached(from, l.PerAddress, l.Window, now)
}

// refuses says for how long an account is not to be tried from an address.
func (g *Guard) refuses(from netip.Prefix, account jid.JID, l GuessLimits, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.PerAccount <= 0 || g.known.peek(login{account, from}) != nil {
		return 0
	}
	return g.accounts.reached(account, l.PerAccount, l.Window, now)
}

// table counts failures by key, in bounded memory: it keeps hashes of the keys, which
// nobody outside can foresee. The zero value is empty.
type table[K comparable] struct {
	m     map[uint64]*list.Element // of an *entry
	order list.List                // the one that was used last in front
}

type entry struct {
	hash uint64
	failures
}

var seed = maphash.MakeSeed()

// peek returns what is known of a key, nil for nothing.
func (t *table[K]) peek(k K) *failures {
	e := t.m[maphash.Comparable(seed, k)]
	if e == nil {
		return nil
	}
	return &e.Value.(*entry).failures
}

// get is peek, with a new entry for a new key.
func (t *table[K]) get(k K) *failures {
	hash := maphash.Comparable(seed, k)
	if e := t.m[hash]; e != nil {
		t.order.MoveToFront(e)
		return &e.Value.(*entry).failures
	}
	if t.m == nil {
		t.m = make(map[uint64]*list.Element)
	}
	if len(t.m) >= maxGuard {
		oldest := t.order.Back()
		delete(t.m, t.order.Remove(oldest).(*entry).hash)
	}
	e := &entry{hash: hash}
	t.m[hash] = t.order.PushFront(e)
	return &e.failures
}

func (t *table[K]) count(k K, window time.Duration, now time.Time) int {
	f := t.get(k)
	if now.Sub(f.since) > window {
		*f = failures{since: now}
	}
	f.n++
	return f.n
}

// reached is how long a row of failures that has reached limit still counts.
func (t *table[K]) reached(k K, limit int, window time.Duration, now time.Time) time.Duration {
	f := t.peek(k)
	if f == nil || f.n < limit || now.Sub(f.since) > window {
		return 0
	}
	return max(window-now.Sub(f.since), time.Nanosecond)
}

// refused is the answer to a login that is not tried. It says nothing of the account.
func refused(of string, after time.Duration) *sasl.Failure {
	return &sasl.Failure{
		Condition: sasl.TemporaryAuthFailure, Refused: true, After: after, Text: "too many failed logins " + of + ", try again later",
	}
}

// Watch is a Guard as one connection asks it, whatever its protocol. One goroutine
// uses it.
type Watch struct {
	guard *Guard
	from  netip.Prefix
	o     GuessLimits
	tried jid.JID // the account of the attempt
}

// Watch returns the Guard for a connection from an address; the zero Addr, for a Unix
// socket, is not counted.
func (g *Guard) Watch(from netip.Addr, l GuessLimits) *Watch {
	return &Watch{guard: g, from: stream.AddressOfIP(from), o: l}
}

// Admit is for sasl.Offer: it says that an attempt is not made. The zero JID is an
// attempt without a name, such as one by a token.
func (w *Watch) Admit(user jid.JID) error {
	w.tried = user
	now := time.Now()
	if after := w.guard.refusesAddress(w.from, w.o, now); after > 0 {
		return refused("from your address", after)
	}
	if after := w.guard.refuses(w.from, user, w.o, now); after > 0 {
		return refused("of this name", after)
	}
	return nil
}

// Succeeded notes who has logged in.
func (w *Watch) Succeeded(user jid.JID) { w.guard.succeeded(w.from, user, time.Now()) }

// Failed counts a refusal of the password and returns for how long its answer waits.
func (w *Watch) Failed(why *sasl.Failure) time.Duration {
	if why.Condition != sasl.NotAuthorized || why.Text != "" {
		return 0 // it was not about the password
	}
	n := w.guard.failed(w.from, w.tried, w.o, time.Now())
	w.tried = jid.JID{} // a name that cannot be one gets no further than this
	return w.o.Delay << min(n-1, 4)
}
