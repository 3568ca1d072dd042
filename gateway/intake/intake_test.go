package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server (2.15.2) sometimes leaves the file store of a refused batch
		// open when it stops, and with it its clock.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

const patience = 2 * time.Minute

const mail = "From: news@corp.example\r\nSubject: Hi\r\n\r\nhello\r\n"

// mcmtWithout is an MCMT message that lacks its e-mail part.
const mcmtWithout = "MIME-Version: 1.0\r\nContent-Type: Multipart/vnd.msys.MCMT ; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"

func multi(t testing.TB) []byte {
	t.Helper()
	raw, err := mcmt.Build(mcmt.Draft{Email: []byte(mail), XMPP: []byte("<message><body>hello</body></message>")})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// people are the accounts: alice and bob.
type people struct{ err error }

func (p people) Exists(_ context.Context, user jid.JID) (bool, error) {
	return user.Local() == "alice" || user.Local() == "bob", p.err
}

// door is an Intake over the real broker.
type door struct {
	*Intake
	t      testing.TB
	broker *broker.Broker
	events []trace.Event
	mu     sync.Mutex
	log    bytes.Buffer
}

func open(t testing.TB, change ...func(*Options)) *door {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := broker.Open(ctx, broker.Options{Dir: t.TempDir(), DiskReserve: -1, MaxStore: 256 << 20, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, broker: b}
	t.Cleanup(d.close)
	subs, err := store.OpenSubmissions(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	role := func(domain string) convert.Role {
		switch domain {
		case "localhost", "other.localhost":
			return convert.Server
		case "far.example", "near.example":
			return convert.Client
		}
		return convert.NoRole
	}
	conv, err := convert.New(convert.Options{MailGatewayDomain: "mail.localhost", Roles: role,
		Maps: []convert.RecipientMap{{Name: "phones", Match: regexp.MustCompile(`^\+49170(.+)$`), JID: "alice@localhost"}}})
	if err != nil {
		t.Fatal(err)
	}
	bus := new(trace.Bus)
	bus.Subscribe(func(e trace.Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	})
	o := Options{
		Broker: b, Accounts: people{}, Submissions: subs, Trace: bus, Log: zerolog.New(&d.log),
		Converter: func() *convert.Converter { return conv }, Role: role,
		Reachable: func(domain string) bool { return domain == "near.example" },
	}
	for _, f := range change {
		f(&o)
	}
	d.Intake = New(o)
	return d
}

func (d *door) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.broker.Close(ctx); err != nil {
		d.t.Error(err)
	}
}

// stored takes everything out of INGEST that is there.
func (d *door) stored() []*broker.Delivery {
	d.t.Helper()
	routes, err := d.broker.Routes(context.Background(), broker.Ingest)
	if err != nil {
		d.t.Fatal(err)
	}
	want := 0
	for _, n := range routes {
		want += n
	}
	if want == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var mu sync.Mutex
	var all []*broker.Delivery
	err = d.broker.Consume(ctx, broker.Ingest, broker.HandlerFunc(func(_ context.Context, ds []*broker.Delivery) []broker.Disposition {
		mu.Lock()
		defer mu.Unlock()
		done := make([]broker.Disposition, len(ds))
		for i, m := range ds {
			m.Body = bytes.Clone(m.Body)
			all = append(all, m)
			done[i] = broker.Ack()
		}
		if len(all) >= want {
			cancel()
		}
		return done
	}), broker.ConsumeOptions{})
	if err != nil || len(all) != want {
		d.t.Fatalf("read %d of %d messages: %v", len(all), want, err)
	}
	return all
}

func (d *door) told(stage trace.Stage) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Stage == stage {
			n++
		}
	}
	return n
}

// to is an envelope from outside to these addresses.
func to(addrs ...string) mcmt.Envelope {
	env := mcmt.Envelope{From: "news@corp.example", Reception: mcmt.Allow, Listener: "esmtp_listener 127.0.0.1:2525",
		Peer: netip.MustParseAddrPort("192.0.2.1:999"), Received: time.Now()}
	for _, a := range addrs {
		env.To = append(env.To, mcmt.Recipient{Address: a})
	}
	return env
}

// want is the answer to a peer: code, enhanced code, HTTP status.
type want struct {
	code     int
	enhanced [3]int
	status   int
}

var taken = want{}

func check(t *testing.T, err error, w want) {
	t.Helper()
	var r *mcmt.Refusal
	switch {
	case w == taken && err == nil:
	case !errors.As(err, &r):
		t.Errorf("error %v, want %v", err, w)
	case (want{r.Code, r.Enhanced, r.Status}) != w:
		t.Errorf("refused by %v (%d), want %v", r, r.Status, w)
	case r.Text == "" || strings.ContainsAny(r.Text, "\r\n"):
		t.Errorf("text for the peer: %q", r.Text)
	}
}

// The answers of SPEC 5.
var (
	noSuchUser   = want{550, [3]int{5, 1, 1}, 422}
	noSuchDomain = want{550, [3]int{5, 1, 2}, 422}
	badAddress   = want{550, [3]int{5, 1, 3}, 422}
	badSender    = want{553, [3]int{5, 1, 7}, 422}
	notAllowed   = want{550, [3]int{5, 7, 1}, 403}
	noMCMT       = want{554, [3]int{5, 7, 1}, 403}
	malformed    = want{554, [3]int{5, 6, 0}, 422}
	tooLarge     = want{552, [3]int{5, 3, 4}, 413}
	full         = want{452, [3]int{4, 3, 1}, 503}
	away         = want{451, [3]int{4, 3, 0}, 503}
	noRoute      = want{550, [3]int{5, 1, 2}, 422}
)

func TestSender(t *testing.T) {
	t.Parallel()
	d := open(t)
	for name, tc := range map[string]struct {
		from    string
		trusted bool
		want    want
	}{
		"from outside":                     {from: "news@corp.example"},
		"null path, of a bounce":           {from: ""},
		"a phone number":                   {from: "+491701234567"},
		"one of our users":                 {from: "alice@localhost", want: notAllowed},
		"our domain in capitals":           {from: "alice@LOCALHOST", want: notAllowed},
		"our second domain":                {from: "x@other.localhost", want: notAllowed},
		"the mail gateway's own domain":    {from: `news\40corp.example@mail.localhost`, want: notAllowed},
		"below a domain of ours":           {from: "x@sub.localhost"},
		"a remote XMPP domain":             {from: "x@far.example"},
		"our user, authenticated":          {from: "alice@localhost", trusted: true},
		"not an address":                   {from: "news at corp", want: badSender},
		"an address without a local part":  {from: "@corp.example", want: badSender},
		"control characters in an address": {from: "a\x01b@corp.example", want: badSender},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := to()
			env.From, env.Trusted = tc.from, tc.trusted
			check(t, d.Sender(t.Context(), env), tc.want)
		})
	}
}

func TestRecipient(t *testing.T) {
	t.Parallel()
	d := open(t)
	broken := open(t, func(o *Options) { o.Accounts = people{errors.New("cannot be read")} })
	alone := open(t, func(o *Options) { o.Reachable = nil })
	for name, tc := range map[string]struct {
		door *door
		addr string
		want want
	}{
		"an account":                              {d, "alice@localhost", taken},
		"an account, in capitals":                 {d, "ALICE@LocalHost", taken},
		"a number that a map takes":               {d, "+491701234567", taken},
		"no account on our domain":                {d, "carol@localhost", noSuchUser},
		"a number that no map takes":              {d, "+12025550100", noSuchDomain},
		"a domain without xmpp_role: no relay":    {d, "x@corp.example", noSuchDomain},
		"not an address":                          {d, "alice", badAddress},
		"a local part that no JID can hold":       {d, `"alice "@localhost`, badAddress},
		"a remote domain that can be reached":     {d, "x@near.example", taken},
		"a remote domain that is denied":          {d, "x@far.example", noRoute},
		"a remote domain where none is allowed":   {alone, "x@near.example", noRoute},
		"accounts that cannot be read: not a 550": {broken, "alice@localhost", away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, tc.door.Recipient(t.Context(), to(), tc.addr), tc.want)
			_, err := tc.door.Put(t.Context(), to(tc.addr), []byte(mail))
			check(t, err, tc.want) // and not only the one who asks is told
		})
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	d := open(t, func(o *Options) { o.Limits.Size = 1 << 20 })
	mcmtMessage := multi(t)
	for name, tc := range map[string]struct {
		reception mcmt.Reception
		raw       []byte
		want      want
	}{
		"MCMT, allow":                  {mcmt.Allow, mcmtMessage, taken},
		"MCMT, reject":                 {mcmt.Reject, mcmtMessage, noMCMT},
		"MCMT, passthru":               {mcmt.PassThrough, mcmtMessage, taken},
		"MCMT without its mail, allow": {mcmt.Allow, []byte(mcmtWithout), malformed},
		"MCMT without its mail, reject: MCMT anyway": {mcmt.Reject, []byte(mcmtWithout), noMCMT},
		"MCMT without its mail, passthru: unknown":   {mcmt.PassThrough, []byte(mcmtWithout), taken},
		"ordinary mail, reject: only MCMT is":        {mcmt.Reject, []byte(mail), taken},
		"ordinary mail, passthru":                    {mcmt.PassThrough, []byte(mail), taken},
		"not a message, allow":                       {mcmt.Allow, []byte("hello"), malformed},
		"not a message, reject":                      {mcmt.Reject, []byte("hello"), malformed},
		"not a message, passthru":                    {mcmt.PassThrough, []byte("hello"), malformed},
		"nothing":                                    {mcmt.Allow, nil, malformed},
		"too large":                                  {mcmt.Allow, append([]byte(mail), make([]byte, 1<<20)...), tooLarge},
		"too large, passthru":                        {mcmt.PassThrough, append([]byte(mail), make([]byte, 1<<20)...), tooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := to("alice@localhost")
			env.Reception = tc.reception
			_, err := d.Put(t.Context(), env, tc.raw)
			check(t, err, tc.want)
		})
	}
}

// TestPut: what conversion gets to know is what the listener knew.
func TestPut(t *testing.T) {
	t.Parallel()
	d := open(t, func(o *Options) {
		o.PartFrom = func(env mcmt.Envelope) bool { return env.User == "app" }
	})
	env := to("Alice@localhost", "bob@localhost")
	env.User, env.Trusted, env.EnvelopeID, env.Return = "app", true, "E1", "HDRS"
	env.To[0].Notify, env.To[0].ORCPT = []string{"FAILURE"}, "rfc822;x@y"
	id, err := d.Put(t.Context(), env, multi(t))
	if err != nil || id == "" {
		t.Fatalf("id %q, %v", id, err)
	}
	all := d.stored()
	if len(all) != 2 {
		t.Fatalf("%d messages stored, want one per recipient", len(all))
	}
	for _, m := range all {
		rec, err := custody.Read(m)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		if m.Route == "bob@localhost" {
			i = 1
		}
		if rec.ID != id || rec.From != env.From || rec.User != "app" || !rec.Trusted || !rec.PartFrom || rec.EnvelopeID != "E1" ||
			rec.Return != "HDRS" || rec.Reception != mcmt.Allow || rec.Listener != env.Listener || rec.Peer != env.Peer.String() ||
			!rec.Accepted.Equal(env.Received) || rec.To.Address != env.To[i].Address || rec.To.ORCPT != env.To[i].ORCPT {
			t.Errorf("record %+v", rec)
		}
		if m.ID != fmt.Sprintf("%s.%d", id, i) || !bytes.Equal(m.Body, multi(t)) {
			t.Errorf("message %s of %d bytes", m.ID, len(m.Body))
		}
	}
	if d.Stats() != (Stats{Stored: 2}) || d.told(trace.Accepted) != 2 || d.told(trace.Stored) != 2 {
		t.Errorf("stats %+v, told %d and %d", d.Stats(), d.told(trace.Accepted), d.told(trace.Stored))
	}
}

// TestAllOrNone: one bad recipient among good ones, and nothing is stored.
func TestAllOrNone(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, err := d.Put(t.Context(), to("alice@localhost", "carol@localhost"), []byte(mail))
	check(t, err, noSuchUser)
	_, err = d.Put(t.Context(), to(), []byte(mail))
	check(t, err, want{554, [3]int{5, 5, 1}, 422}) // nobody to keep it for, so no 250
	if n := len(d.stored()); n != 0 || d.Stats() != (Stats{Refused: 2}) || d.told(trace.Stored) != 0 {
		t.Errorf("%d stored, %+v, %d told", n, d.Stats(), d.told(trace.Stored))
	}
}

// TestSameRecipient: who is named twice, by whatever addresses, gets one copy.
func TestSameRecipient(t *testing.T) {
	t.Parallel()
	d := open(t)
	if _, err := d.Put(t.Context(), to("alice@localhost", "ALICE@localhost", "+491701234567", "bob@localhost"), []byte(mail)); err != nil {
		t.Fatal(err)
	}
	if n := len(d.stored()); n != 2 || d.Stats().Stored != 2 {
		t.Errorf("%d stored, %+v, want one for alice and one for bob", n, d.Stats())
	}
}

// failing is a broker that refuses.
type failing struct{ err error }

func (f failing) Store(context.Context, ...broker.Message) error {
	return fmt.Errorf("broker: store: %w", f.err)
}

// TestBrokerRefuses: the peer is told whether to come again, and at once.
func TestBrokerRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want want
	}{
		"full":            {broker.ErrFull, full},
		"away":            {broker.ErrUnavailable, away},
		"anything":        {errors.New("what is that"), away},
		"never possible":  {broker.ErrInvalid, want{554, [3]int{5, 3, 0}, 422}},
		"out of patience": {context.DeadlineExceeded, away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, func(o *Options) { o.Broker = failing{tc.err} })
			id, err := d.Put(t.Context(), to("alice@localhost"), []byte(mail))
			check(t, err, tc.want)
			stats := Stats{TryLater: 1}
			if tc.want.code >= 500 {
				stats = Stats{Refused: 1}
			}
			if id != "" || d.Stats() != stats || d.told(trace.Stored) != 0 {
				t.Errorf("id %q, %+v, %d told as stored", id, d.Stats(), d.told(trace.Stored))
			}
		})
	}
	t.Run("the real one, closed", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		d.close()
		_, err := d.Put(t.Context(), to("alice@localhost"), []byte(mail))
		check(t, err, away)
	})
	t.Run("the real one, full", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b, err := broker.Open(ctx, broker.Options{Dir: t.TempDir(), DiskReserve: 1 << 60, MaxStore: 64 << 20, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close(ctx) }()
		d := open(t, func(o *Options) { o.Broker = b })
		_, err = d.Put(t.Context(), to("alice@localhost"), []byte(mail))
		check(t, err, full)
	})
}
