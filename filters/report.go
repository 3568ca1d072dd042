package filters

import "time"

// Report is what the filters of a chain have done.
type Report struct {
	// Suppressed is what the filters that are in force have dropped.
	Suppressed Noise  `json:"suppressed"`
	Filters    []Rule `json:"filters"` // in their order
}

// Noise is what was dropped. Each message is counted once, by the filter that
// dropped it; one that was stripped of an element or deferred is not.
type Noise struct {
	Messages    uint64            `json:"messages"`
	ByKind      map[string]uint64 `json:"by_kind"`
	ByDirection map[string]uint64 `json:"by_direction"`
	// ByDomain is by the domain of the sender, that of the mail address where there
	// is one. Of each filter the first 100 are told apart; the rest is "other".
	ByDomain map[string]uint64 `json:"by_domain"`
	// ByClient is by the software of senders on Jabber: the host in the node of the
	// capabilities that the client has sent with its presence (XEP-0115). Of each
	// filter the first 50 are told apart. "unknown" are clients of other servers and
	// processes, and those that do not say.
	ByClient map[string]uint64 `json:"by_client"`
	Saved    Saved             `json:"saved"`
}

// Saved is what would have gone out without the filters.
type Saved struct {
	Mails  uint64 `json:"mails"`  // dropped in direction out to a mail address
	SMS    uint64 `json:"sms"`    // dropped in direction out to a phone number
	Jabber uint64 `json:"jabber"` // dropped in directions in and between: not delivered to Jabber
	Stored uint64 `json:"stored"` // dropped in direction store: not kept for who is away
}

// Rule is what one filter is and has done.
type Rule struct {
	Filter    string    `json:"filter"`
	Type      string    `json:"type"`
	Action    string    `json:"action"`
	Direction string    `json:"direction"`
	Mode      string    `json:"mode"`
	Domains   []string  `json:"domains,omitempty"`
	Since     time.Time `json:"since"` // when it began to count: it was written or changed
	// Verdicts are all that it gave, by the action's name.
	Verdicts map[string]uint64 `json:"verdicts"`
	Errors   uint64            `json:"errors"`
	// Suppressed is what it has dropped; in shadow mode what it would have.
	Suppressed Noise    `json:"suppressed"`
	Samples    []Sample `json:"samples,omitempty"` // the latest verdicts of a filter in shadow mode
}

// Report returns what the filters have done.
func (c *Chain) Report() Report {
	r := Report{Suppressed: newNoise(), Filters: make([]Rule, 0, len(c.links))}
	for _, l := range c.links {
		rule := l.report()
		r.Filters = append(r.Filters, rule)
		if l.shadow == nil {
			r.Suppressed.add(rule.Suppressed)
		}
	}
	return r
}

// report returns what one filter has done.
func (l *link) report() Rule {
	r := Rule{
		Filter: l.spec.Name, Type: l.spec.Type, Action: l.spec.Action, Direction: l.spec.Direction, Mode: l.spec.Mode,
		Domains: l.spec.Domains, Since: l.since, Errors: l.errors.Load(),
		Verdicts: make(map[string]uint64, len(l.verdicts)), Suppressed: l.noise.report(),
	}
	for a := range l.verdicts {
		r.Verdicts[Action(a).String()] = l.verdicts[a].Load()
	}
	if l.shadow != nil {
		r.Samples = l.shadow.list()
	}
	return r
}

func newNoise() Noise {
	return Noise{
		ByKind: make(map[string]uint64), ByDirection: make(map[string]uint64),
		ByDomain: make(map[string]uint64), ByClient: make(map[string]uint64),
	}
}

// report returns the counts, without those that are zero.
func (t *tally) report() Noise {
	n := newNoise()
	for k := range t.kinds {
		for d := range t.kinds[k] {
			if c := t.kinds[k][d].Load(); c > 0 {
				n.Messages += c
				n.ByKind[Kind(k).String()] += c
				n.ByDirection[Direction(d).String()] += c
			}
		}
	}
	n.Saved = Saved{
		Mails: t.mails.Load(), SMS: t.sms.Load(),
		Jabber: n.ByDirection[In.String()] + n.ByDirection[Between.String()], Stored: n.ByDirection[Store.String()],
	}
	n.ByDomain, n.ByClient = t.domains.list(), t.clients.list()
	return n
}

// add adds the counts of another filter.
func (n *Noise) add(o Noise) {
	n.Messages += o.Messages
	for _, of := range []struct{ to, from map[string]uint64 }{
		{n.ByKind, o.ByKind}, {n.ByDirection, o.ByDirection}, {n.ByDomain, o.ByDomain}, {n.ByClient, o.ByClient},
	} {
		for name, c := range of.from {
			of.to[name] += c
		}
	}
	n.Saved.Mails += o.Saved.Mails
	n.Saved.SMS += o.Saved.SMS
	n.Saved.Jabber += o.Saved.Jabber
	n.Saved.Stored += o.Saved.Stored
}
