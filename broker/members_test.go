package broker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// wrote is an entry of the bucket as the watch gives it.
type wrote struct {
	jetstream.KeyValueEntry
	key   string
	value []byte
	rev   uint64
	op    jetstream.KeyValueOp
}

func (w wrote) Key() string                     { return w.key }
func (w wrote) Value() []byte                   { return w.value }
func (w wrote) Revision() uint64                { return w.rev }
func (w wrote) Operation() jetstream.KeyValueOp { return w.op }
func (w wrote) Created() time.Time              { panic("the time of day says nothing") }

// listener is a Broker that knows only what the watch tells it.
type listener struct {
	*Broker
	rev uint64
}

func newListener() *listener {
	times := leaseTimes{}.withDefaults()
	b := &Broker{node: "ME", log: zerolog.Nop(), kick: make(chan struct{}, 1), lease: newLease(false, times)}
	b.members = newMembers("ME", "MYNAME", false, times)
	b.members.setSlices(8)
	b.lease.renew(time.Now())
	return &listener{Broker: b}
}

func (l *listener) put(key string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	l.rev++
	l.learn(wrote{key: key, value: data, rev: l.rev})
}

func (l *listener) drop(key string, op jetstream.KeyValueOp) {
	l.rev++
	l.learn(wrote{key: key, rev: l.rev, op: op})
}

func (l *listener) beat(name string, h heartbeat) { l.put(nodePrefix+name, h) }

// echo is our own heartbeat coming back.
func (l *listener) echo() {
	l.members.written(l.rev + 1)
	l.beat("MYNAME", heartbeat{Node: "ME"})
}

func (l *listener) names() string {
	var names []string
	members, _ := l.Members()
	for _, m := range members {
		names = append(names, m.Name)
	}
	return strings.Join(names, " ")
}

// A process is dead when nothing was heard of it for 10 s in which our own
// heartbeats came back. Neither its clock nor the server's matters.
func TestDeath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		at := time.Now()
		for i := range 20 {
			// Its clock runs wild.
			l.beat("A", heartbeat{Node: "A1", Started: at.AddDate(1-2*(i%2)*1000, 0, 0)})
			l.echo()
			time.Sleep(3 * time.Second)
			if dead := l.members.evict(time.Now()); len(dead) > 0 {
				t.Fatalf("%v is dead, 3 s after a heartbeat", dead)
			}
		}
		// The server's clock has jumped: it drops every key.
		l.drop(nodePrefix+"A", jetstream.KeyValuePurge)
		l.drop(nodePrefix+"MYNAME", jetstream.KeyValuePurge)
		if l.members.evict(time.Now()); l.names() != "A MYNAME" {
			t.Fatalf("members %s after the server has dropped the keys", l.names())
		}
		// Our own heartbeats do not come back: we know nothing.
		time.Sleep(time.Hour)
		if l.members.evict(time.Now()); l.names() != "A MYNAME" {
			t.Fatalf("members %s although we hear nothing", l.names())
		}
		_, news := l.Members()
		for range evictAfter - 1 { // one came back before
			select {
			case <-news:
				t.Fatal("news without a change")
			default:
			}
			l.members.evict(time.Now())
			l.echo()
		}
		dead := l.members.evict(time.Now())
		if len(dead) != 1 || dead[0].Node != "A1" || l.names() != "MYNAME" {
			t.Errorf("dead %v, members %s", dead, l.names())
		}
		select {
		case <-news:
		default:
			t.Error("no news of a death")
		}
	})
}

// Reading a heartbeat again, as after a lost connection, is no sign of life.
func TestHeardAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		l.beat("A", heartbeat{Node: "A1"})
		for range 4 {
			time.Sleep(3 * time.Second)
			l.echo()
			l.learn(wrote{key: nodePrefix + "A", value: []byte(`{"node":"A1"}`), rev: 1})
		}
		if dead := l.members.evict(time.Now()); len(dead) != 1 {
			t.Errorf("members %s", l.names())
		}
	})
}

// A process that ends removes its key; it is gone at once.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	l := newListener()
	defer l.lease.stop()
	l.beat("A", heartbeat{Node: "A1", Stages: []Stage{Ingest}})
	l.drop(nodePrefix+"A", jetstream.KeyValueDelete)
	if l.names() != "MYNAME" {
		t.Errorf("members %s", l.names())
	}
	// Another process with our name: what we own is in doubt.
	l.beat("MYNAME", heartbeat{Node: "OTHER"})
	if l.lease.valid() || len(l.kick) != 1 {
		t.Error("we go on although another process has our name")
	}
}

func (l *listener) own(stage Stage, index, of int, node, name string) {
	l.put(sliceKey{stage, index}.String(), entry{Node: node, Name: name, Of: of})
}

// mine are the slices of 8 that are to be ours, and one that is not.
func (l *listener) mine(names ...string) (want []int, other int) {
	for i, name := range wantedOwners(Deliver, 8, names) {
		if name == "MYNAME" {
			want = append(want, i)
		} else {
			other = i
		}
	}
	return want, other
}

func TestPlan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		l.members.enter(Deliver)
		l.beat("A", heartbeat{Node: "A1", Stages: []Stage{Deliver}})
		l.beat("B", heartbeat{Node: "B1", Stages: []Stage{Mail}, Leaving: []Stage{Deliver}})
		want, other := l.mine("MYNAME", "A")
		if len(want) < 2 || len(want) == 8 || want[len(want)-1] < 2 {
			t.Fatalf("the names do not fit the test: %v", want)
		}
		s := Slice{want[len(want)-1], 8}
		plan := func() plan { return l.members.plan(Deliver, time.Now()) }
		check := func(what string, free bool) {
			t.Helper()
			p := plan()
			var got []int
			for w := range p.want {
				got = append(got, w.Index)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: slices %v, want %v", what, got, want)
			}
			if p.free[s] != free {
				t.Errorf("%s: free is %v, want %v", what, p.free[s], free)
			}
		}
		if p := plan(); p.firm || p.after != time.Second {
			t.Errorf("firm at once: %v, %v", p.firm, p.after)
		}
		check("never owned, and members have just come", false)
		l.own(Deliver, s.Index, 8, "", "")
		check("given up in order", true)
		l.own(Deliver, s.Index, 8, "DEAD", "DEAD")
		check("owner dead, and members have just come", false)
		l.own(Deliver, s.Index, 8, "OLDSELF", "MYNAME")
		check("our former self's", true)
		time.Sleep(time.Second)
		if p := plan(); !p.firm || p.after != 0 {
			t.Errorf("not firm after a second: %v, %v", p.firm, p.after)
		}
		check("our former self's, later", true)
		l.own(Deliver, s.Index, 8, "DEAD", "DEAD")
		check("owner dead", true)
		l.own(Deliver, s.Index, 8, "A1", "A")
		check("owner alive", false)
		l.own(Deliver, s.Index, 8, "A0", "A")
		check("owner was restarted", true)
		l.own(Deliver, s.Index, 8, "B1", "B")
		check("owner is about to give it up", false)
		l.own(Deliver, s.Index, 8, "ME", "MYNAME")
		check("ours", true)
		l.own(Deliver, other, 8, "ME", "MYNAME")
		if p := plan(); p.stale[Slice{other, 8}] != l.rev || len(p.stale) != 1 {
			t.Errorf("stale %v, want slice %d since %d", p.stale, other, l.rev)
		}

		// Another number of slices: what overlaps is waited for while it has an owner.
		l.own(Deliver, s.Index, 8, "", "")
		l.own(Deliver, (s.Index+1)%2, 2, "A1", "A")
		check("another owner of an older layout, elsewhere", true)
		l.own(Deliver, s.Index%2, 2, "A1", "A")
		check("owner of an older layout", false)
		l.own(Deliver, s.Index%2, 2, "DEAD", "DEAD")
		check("dead owner of an older layout", true)

		l.members.leave(Deliver)
		if p := plan(); len(p.want) > 0 {
			t.Errorf("wanted by who leaves: %v", p.want)
		}
	})
}

// While members come and go a slice stays with who has it, unless the number of
// slices has changed.
func TestFollow(t *testing.T) {
	t.Parallel()
	given := 0
	c := &consumption{tenures: map[Slice]func(){{0, 8}: func() { given++ }}}
	for _, p := range []struct {
		plan
		given int
		why   string
	}{
		{plan{of: 8}, 0, "not wanted, for the moment"},
		{plan{of: 8, firm: true, want: map[Slice]bool{{0, 8}: true}}, 0, "wanted"},
		{plan{of: 8, firm: true}, 1, "not wanted"},
		{plan{of: 4}, 2, "another number of slices"},
	} {
		if c.follow(t.Context(), p.plan); given != p.given {
			t.Errorf("%s: given up %d times, want %d", p.why, given, p.given)
		}
	}
}

// Members that come and go without end do not keep slices from their owners.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		l.members.enter(Deliver)
		firm := 0
		for range 40 {
			l.beat("A", heartbeat{Node: "A1", Stages: []Stage{Deliver}})
			time.Sleep(time.Second / 2)
			if l.members.plan(Deliver, time.Now()).firm {
				firm++
			}
			l.drop(nodePrefix+"A", jetstream.KeyValueDelete)
		}
		if firm == 0 || firm > 8 {
			t.Errorf("firm %d times in 20 s", firm)
		}
	})
}

// An owner that is not in the bucket at the start gets time to come back to it.
func TestComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		l.own(Deliver, 1, 8, "A1", "A")
		l.members.complete(time.Now())
		l.members.enter(Deliver)
		time.Sleep(5 * time.Second / 2)
		if l.members.plan(Deliver, time.Now()).firm {
			t.Error("firm before the owner could tell of itself")
		}
		time.Sleep(500 * time.Millisecond)
		if !l.members.plan(Deliver, time.Now()).firm {
			t.Error("not firm when it could have")
		}
	})
}

// Slices that nobody owns are seen after a while, those of stages that nobody
// consumes are not.
func TestOrphans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		defer l.lease.stop()
		orphaned := func(s Stage) int { n, _ := l.members.orphaned(s); return n }
		l.members.enter(Deliver)
		time.Sleep(14 * time.Second)
		if n := orphaned(Deliver); n > 0 {
			t.Errorf("%d orphans at the start", n)
		}
		l.beat("A", heartbeat{Node: "A1", Stages: []Stage{Deliver}})
		for i := range 6 {
			l.own(Deliver, i, 8, "A1", "A")
		}
		time.Sleep(time.Second)
		if n := orphaned(Deliver); n != 2 {
			t.Errorf("%d orphans, want the 2 that nobody has", n)
		}
		l.own(Deliver, 6, 8, "ME", "MYNAME")
		if n := orphaned(Deliver); n != 1 {
			t.Errorf("%d orphans, want 1", n)
		}
		l.drop(nodePrefix+"A", jetstream.KeyValueDelete)
		time.Sleep(16 * time.Second)
		if n := orphaned(Deliver); n != 7 {
			t.Errorf("%d orphans, want 7 after their owner is gone", n)
		}
		if orphaned(Mail) > 0 || orphaned(Ingest) > 0 {
			t.Error("orphans of a stage that nobody has ever consumed")
		}
	})
}

// The guard of a slice hears of another owner, not of what was before or of ours.
func TestGuard(t *testing.T) {
	t.Parallel()
	l := newListener()
	defer l.lease.stop()
	lost := 0
	l.own(Deliver, 3, 8, "A1", "A")
	stop := l.members.guard(sliceKey{Deliver, 3}, 5, func() { lost++ })
	l.rev = 5
	l.own(Deliver, 3, 8, "ME", "MYNAME")
	l.own(Deliver, 2, 8, "A1", "A")
	if lost != 0 {
		t.Fatal("lost to nobody")
	}
	l.own(Deliver, 3, 8, "A1", "A")
	if lost != 1 {
		t.Fatal("lost, and not told")
	}
	stop()
	l.own(Deliver, 3, 8, "B1", "B")
	if lost != 1 {
		t.Error("told after stop")
	}
	l.members.guard(sliceKey{Deliver, 3}, 5, func() { lost++ })
	if lost != 2 {
		t.Error("not told of what was lost already")
	}
}

func TestNodeName(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	f, name, err := lockName(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !nameFormat.MatchString(name) {
		t.Errorf("name %q", name)
	}
	if _, _, err := lockName(dir); err == nil {
		t.Error("two processes have the name")
	}
	b := &Broker{node: "RUN", o: Options{NodeDir: dir}, log: zerolog.Nop()}
	if got := b.nodeName(); got != "RUN" {
		t.Errorf("name %q while another process has that of the folder", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.nodeName(); got != name {
		t.Errorf("name %q after %q", got, name)
	}
	if err := b.nameFile.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash while it was written, or a hand that was in it.
	for _, bad := range []string{"", "ABC", name + "\n" + strings.Repeat("x", 200)} {
		if err := os.WriteFile(filepath.Join(dir, "node"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		f, got, err := lockName(dir)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.Name())
		if err != nil || !nameFormat.MatchString(got) || got == name || string(data) != got {
			t.Errorf("name %q, file %q, %v", got, data, err)
		}
		_ = f.Close()
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := (&Broker{node: "RUN", o: Options{NodeDir: file}, log: zerolog.Nop()}).nodeName(); got != "RUN" {
		t.Errorf("name %q without a folder", got)
	}
}
