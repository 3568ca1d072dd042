package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// TestResumeElsewhere: XEP-0198 §5, a client resumes its session whichever process it comes
// to, again and again, and nobody else does.
func TestResumeElsewhere(t *testing.T) {
	t.Parallel()
	c, a, b := friends(t)
	d := c.node()
	script, err := xmpptest.Parse(strings.NewReader(`
C1: LOGIN bob@localhost/x secret
C1: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
S1: <enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>
C1: <presence/>
S1: <presence from='bob@localhost/x' to='bob@localhost'/>
S1: <presence from='carol@localhost/c' to='bob@localhost/x' xml:lang='en'/>
C1: <iq type='get' id='sync' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>
S1: <iq type='result' id='sync' from='localhost' to='bob@localhost/x'/>

# Another account's session is as good as none.
Ccarol: AUTH carol@localhost secret
Ccarol: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='2'/>
Scarol: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>
C3: AUTH bob@localhost secret
C3: <resume xmlns='urn:xmpp:sm:3' previd='no such id' h='2'/>
S3: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>

# The old connection seems to live. What it has not acknowledged comes again.
C2: AUTH bob@localhost secret
C2: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='2'/>
S2: <resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='2'/>
S2: <iq type='result' id='sync' from='localhost' to='bob@localhost/x'/>
S1: <stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>
S1: </stream:stream>
EOF1
C2: <iq type='get' id='here' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>
S2: <iq type='result' id='here' from='localhost' to='bob@localhost/x'/>
C2: <r xmlns='urn:xmpp:sm:3'/>
S2: <a xmlns='urn:xmpp:sm:3' h='3'/>

# On to a third, back to the first by a stream that is refused nothing, and a count that is
# too high.
C3: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='4'/>
S3: <resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='3'/>
C3: CLOSE
C1b: AUTH bob@localhost secret
C1b: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='4'/>
S1b: <resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='3'/>
C1b: CLOSE
C2b: AUTH bob@localhost secret
C2b: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='5'/>
S2b: <stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><handled-count-too-high xmlns='urn:xmpp:sm:3' h='5' send-count='4'/></stream:error>
S2b: </stream:stream>
EOF2b
C3b: AUTH bob@localhost secret
C3b: <resume xmlns='urn:xmpp:sm:3' previd='{id}' h='4'/>
S3b: <resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='3'/>
`))
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[byte]string{'1': a.listen(), '2': b.listen(), '3': d.listen()}
	addresses['c'] = addresses['2']
	carol := enter(t, addresses['3'], "carol@localhost/c")
	carol.show("", "")
	carol.gets("carol@localhost/c presence")
	a.sees("carol@localhost", "c 0")
	at := func(actor string) string { return addresses[actor[0]] }
	if _, err := script.PlayAt(t.Context(), at, nil); err != nil {
		t.Fatal(err)
	}
	carol.say("carol@localhost/c", "sync")
	carol.gets("carol@localhost/c message chat sync")
	// It came at about the same time as the contact, and may have been shown twice then.
	if got := carol.seen("bob@localhost/x"); len(got) > 2 || slices.Contains(got, "bob@localhost/x presence unavailable") {
		t.Errorf("a contact sees %q", got)
	}
	for i, n := range []*node{a, b, d} {
		st := n.sessions.Stats()
		if came, want := n.came.Load(), []int32{1, 2, 1}[i]; came > want { // carol, bob or both, once
			t.Errorf("on node %d %d sessions of others come", i, came)
		}
		if in, out := []uint64{1, 1, 2}[i], []uint64{2, 1, 1}[i]; st.Borrowed != in || st.Lent != out || st.NotLent != 0 || st.Conflicts != 0 {
			t.Errorf("node %d counts %+v", i, st)
		}
	}
}

// say sends a message that nobody keeps.
func (p *person) say(to, text string) {
	st := stanza.NewMessage(jid.MustParse(to), jid.JID{}, stanza.TypeChat, text)
	st.Element.Add(xmlwire.New("urn:xmpp:hints", "no-store"))
	p.send(st)
}

// seen is the presence that came from somebody.
func (p *person) seen(from string) (all []string) {
	for _, line := range p.lines() {
		if strings.HasPrefix(line, from+" presence") {
			all = append(all, line)
		}
	}
	return all
}

// mobile logs in with stream management, or resumes the session of old.
func mobile(t *testing.T, address, full string, old *stream.Client) *stream.Client {
	t.Helper()
	c, err := stream.Dial(soon(t), stream.ClientOptions{
		JID: jid.MustParse(full), Password: "secret", Address: address, ClearText: true, Manage: true, Resume: old,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stream().Abort() })
	return c
}

// moving is a client with a session on the first of its addresses, which is available.
func moving(t *testing.T, address, full string) *stream.Client {
	t.Helper()
	c := mobile(t, address, full, nil)
	if err := c.Available(soon(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(soon(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestResumeRound: while a client goes from process to process, others write to it from each
// of them. It gets everything once, of each sender in order.
func TestResumeRound(t *testing.T) {
	t.Parallel()
	const rounds = 12
	c, a, b := friends(t)
	nodes := []*node{a, b, c.node()}
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.listen())
	}
	bob := moving(t, addresses[0], "bob@localhost/x")
	var writers []*person
	for i, n := range nodes {
		n.sees("bob@localhost", "x 0")
		writers = append(writers, enter(t, addresses[i], fmt.Sprintf("writer%d@localhost/w", i)))
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	written := make([]int, len(writers))
	for i, w := range writers {
		writing.Go(func() {
			for ; ; written[i]++ {
				select {
				case <-stop:
					return
				case <-poll():
					w.say("bob@localhost/x", fmt.Sprint(written[i]))
				}
			}
		})
	}
	got := make(map[string]int)
	take := func(ctx context.Context) bool {
		st, err := bob.Receive(ctx)
		if err != nil {
			return false
		}
		if from := st.From.Local(); st.Kind == stanza.Message {
			if text := st.Child("body").Text(); text != fmt.Sprint(got[from]) {
				t.Fatalf("%s is received after %d of %s", text, got[from], from)
			}
			got[from]++
		}
		return true
	}
	for i := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%4)*20*time.Millisecond)
		for take(ctx) {
		}
		cancel()
		if i%2 == 0 {
			_ = bob.Stream().Abort()
		}
		old := bob
		bob = mobile(t, addresses[(i+1)%3], "bob@localhost/x", old)
		if !bob.Resumed() {
			t.Fatalf("not resumed in round %d", i)
		}
		_ = old.Stream().Abort()
	}
	close(stop)
	writing.Wait()
	for i, w := range writers {
		for got[fmt.Sprintf("writer%d", i)] < written[i] {
			if !take(soon(t)) {
				t.Fatalf("of %v only %v are received", written, got)
			}
		}
		if lines := w.lines(); len(lines) > 0 {
			t.Errorf("a writer is told %q", lines)
		}
	}
}

// borrowed asks for the session of a client as another node does, and neither takes it nor
// gives it back.
func (n *node) borrowed(t *testing.T, c *stream.Client, previd string, h uint32) router.Loan {
	t.Helper()
	loan, err := n.sessions.Borrow(soon(t), c.JID().Bare(), previd, h)
	if err != nil || loan == nil {
		t.Fatalf("borrowed %v, %v", loan, err)
	}
	return loan
}

// previdOf finds the SM-ID of a client's session.
func previdOf(t *testing.T, c *stream.Client) string {
	t.Helper()
	id := c.SMID()
	if id == "" {
		t.Fatal("the session may not be resumed")
	}
	return id
}

// TestLoanNotTaken: where a process that borrows a session dies, or thinks better of it, the
// session goes on where it was, with what came meanwhile. Who takes it later is refused.
func TestLoanNotTaken(t *testing.T) {
	t.Parallel()
	for name, returns := range map[string]bool{"returned": true, "too late": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _, _ := friends(t)
			c.times.loan = 100 * time.Millisecond
			if returns {
				c.times.loan = sessionPatience
			}
			a, b := c.node(), c.node()
			address := a.listen()
			bob := moving(t, address, "bob@localhost/x")
			b.sees("bob@localhost", "x 0")
			carol := enter(t, b.listen(), "carol@localhost/c")
			loan := b.borrowed(t, bob, previdOf(t, bob), 1)
			carol.say("bob@localhost/x", "meanwhile")
			if returns {
				loan.Return()
			}
			become(t, "the loan is over", func() bool { return a.sessions.Stats().NotLent == 1 })
			if _, err := loan.Take(t.Context(), b.client("bob@localhost/x")); err == nil || errors.Is(err, router.ErrInDoubt) {
				t.Errorf("taken when it was over: %v", err)
			}
			if again := mobile(t, address, "bob@localhost/x", bob); !again.Resumed() {
				t.Error("not resumed where it was")
			} else if st, err := again.Receive(soon(t)); err != nil || st.Child("body").Text() != "meanwhile" {
				t.Errorf("received %v, %v", st, err)
			}
			b.sees("bob@localhost", "x 0")
		})
	}
}

// TestLoanAnswerLost: a node that takes a session and does not hear of it asks again, and is
// told the same. Afterwards others are sent on.
func TestLoanAnswerLost(t *testing.T) {
	t.Parallel()
	_, a, b := friends(t)
	bob := moving(t, a.listen(), "bob@localhost/x")
	b.sees("bob@localhost", "x 0")
	previd := previdOf(t, bob)
	loan := b.borrowed(t, bob, previd, 1).(*borrowing)
	s := b.client("bob@localhost/x")
	bound, err := b.sessions.bindHeld(s, loan.since)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := loan.take(t.Context(), bound); err != nil {
			t.Fatal(err)
		}
	}
	if st := a.sessions.Stats(); st.Lent != 1 || st.NotLent != 0 {
		t.Errorf("counted %+v", st)
	}
	for _, c := range []struct {
		bare string
		want status
	}{{"bob@localhost", statusMoved}, {"carol@localhost", statusGone}} {
		q, err := json.Marshal(borrowRequest{"again", c.bare, previd, 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.sessions.lend(t.Context(), q); got.status != c.want || c.want == statusMoved && string(got.data) != b.broker.Node() {
			t.Errorf("%s is answered %d %q", c.bare, got.status, got.data)
		}
	}
	// What is sent to the session where it was gets to it, before the bucket knows.
	if _, err := a.router.Deliver(t.Context(), message("bob@localhost/x", "late", "late")); err != nil {
		t.Error(err)
	}
	if got := s.texts(); !slices.Equal(got, []string{"late"}) {
		t.Errorf("it got %q", got)
	}
}

// TestTakerDies: a node that takes a session and then is not heard of any more leaves nothing
// behind: the entry of the node that had it goes.
func TestTakerDies(t *testing.T) {
	t.Parallel()
	c, _, _ := friends(t)
	c.times.remember = 100 * time.Millisecond
	a, b := c.node(), c.node()
	bob := moving(t, a.listen(), "bob@localhost/x")
	b.sees("bob@localhost", "x 0")
	loan := b.borrowed(t, bob, previdOf(t, bob), 1).(*borrowing)
	bound, err := b.sessions.bindHeld(b.client("bob@localhost/x"), loan.since)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loan.take(t.Context(), bound); err != nil {
		t.Fatal(err)
	}
	become(t, "it is gone where it was", func() bool { return a.router.Session(bob.JID()) == nil })
	a.keys(0)
	become(t, "nothing is remembered", func() bool {
		r := a.sessions
		r.mu.RLock()
		defer r.mu.RUnlock()
		return len(r.loans)+len(r.handed)+len(r.forwards)+len(r.claims) == 0
	})
}

// TestBorrowUnanswered: a node that does not answer is waited for so long, and no longer.
func TestBorrowUnanswered(t *testing.T) {
	t.Parallel()
	c, _, _ := friends(t)
	c.times.borrow = 500 * time.Millisecond
	c.times.loan = 5 * time.Second // for which the end of the test may have to wait
	a, b := c.node(), c.node()
	bob := moving(t, a.listen(), "bob@localhost/x")
	b.sees("bob@localhost", "x 0")
	loan := b.borrowed(t, bob, previdOf(t, bob), 1)
	release := a.gate.hold()
	begin := time.Now()
	if loan, err := b.sessions.Borrow(t.Context(), bob.JID().Bare(), "other", 1); loan != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("borrowed %v, %v", loan, err)
	}
	s := b.client("bob@localhost/x")
	if _, err := loan.Take(t.Context(), s); !errors.Is(err, router.ErrInDoubt) {
		t.Errorf("taken: %v", err)
	}
	if took := time.Since(begin); took > sessionPatience/4 {
		t.Errorf("it takes %v", took)
	}
	release()
}

// TestBorrowTwice: of two processes that ask for a session at once one gets it first, and the
// other one then gets it from that, or not.
func TestBorrowTwice(t *testing.T) {
	t.Parallel()
	c, a, b := friends(t)
	d := c.node()
	for round := range 5 {
		full := fmt.Sprintf("bob%d@localhost/x", round)
		bob := moving(t, a.listen(), full)
		there := make(chan *stream.Client, 2)
		for _, n := range []*node{b, d} {
			address := n.listen()
			go func() {
				c, err := stream.Dial(soon(t), stream.ClientOptions{
					JID: bob.JID(), Password: "secret", Address: address, ClearText: true, Manage: true, Resume: bob,
				})
				if err != nil {
					c = nil
				}
				there <- c
			}()
		}
		resumed := 0
		for range 2 {
			if c := <-there; c != nil {
				if c.Resumed() {
					resumed++
				}
				defer c.Stream().Abort()
			}
		}
		if resumed == 0 {
			t.Error("nobody resumed the session")
		}
	}
}

// TestBorrowFromDead: with its process a session is gone, and a client is told so at once.
func TestBorrowFromDead(t *testing.T) {
	t.Parallel()
	_, a, b := friends(t)
	bob := moving(t, a.listen(), "bob@localhost/x")
	b.sees("bob@localhost", "x 0")
	previd := previdOf(t, bob)
	closeBroker(t, a.broker) // others think that it lives
	if loan, err := b.sessions.Borrow(soon(t), bob.JID().Bare(), previd, 1); loan != nil || err != nil {
		t.Errorf("borrowed %v, %v", loan, err)
	}
}
