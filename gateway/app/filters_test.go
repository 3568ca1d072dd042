package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// say sends a stanza as it is written.
func say(t *testing.T, c *stream.Client, text string) {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(text), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Send(ctx, st); err != nil {
		t.Fatal(err)
	}
}

// heard is what messages a client has got until the server answers.
func heard(t *testing.T, c *stream.Client) (all []*stanza.Stanza) {
	t.Helper()
	say(t, c, `<iq xmlns='jabber:client' to='localhost' type='get' id='heard'><ping xmlns='urn:xmpp:ping'/></iq>`)
	for {
		switch st := hear(t, c); {
		case st.Kind == stanza.IQ && st.ID == "heard":
			return all
		case st.Kind == stanza.Message:
			all = append(all, st)
		}
	}
}

// filterReport is what a filter has done, by its name.
func (r *running) filterReport(name string) filters.Rule {
	r.t.Helper()
	for _, f := range (filtering{r.App}).Report().Filters {
		if f.Filter == name {
			return f
		}
	}
	r.t.Fatalf("no filter %s", name)
	return filters.Rule{}
}

const (
	typing  = `<composing xmlns='http://jabber.org/protocol/chatstates'/>`
	toMail  = `bob\40corp.example@mail.localhost`
	toPhone = `+4915112345678@mail.localhost`
)

// TestStatesGoNowhere: with whatever filters, chat states to mail, phones and users
// who are away become neither of them, nor an offline message, nor an error.
func TestStatesGoNowhere(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	r.add("carol@localhost", "secret")
	alice := r.login("alice@localhost/a", "secret")
	say(t, alice, `<presence xmlns='jabber:client'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' ver='x'/></presence>`)
	dropped := make(chan string, 16)
	defer r.trace.Subscribe(func(e trace.Event) {
		if e.Stage == trace.Filtered && e.Verdict == "drop" && !e.Shadow {
			dropped <- e.Filter
		}
	})()
	for i, c := range []struct{ name, conf, in string }{
		{"as it comes", "", "chat-states"},
		{"pass", "filter states { type = chat_state action = pass direction = all }\n", "offline-states"},
		{"throttle", "filter states { type = chat_state action = throttle interval = 1 direction = all }\n", "offline-states"},
		{"shadow", "filter states { type = chat_state mode = shadow direction = all }\n", "offline-states"},
		{"between only", "filter states { type = chat_state direction = between }\n", "offline-states"},
	} {
		r.reload(basic + c.conf)
		before := filtering{r.App}.Report().Suppressed
		for _, to := range []string{toMail, toPhone, "carol@localhost", "carol@localhost/gone"} {
			say(t, alice, `<message xmlns='jabber:client' type='chat' to='`+to+`'>`+typing+`<thread>t</thread></message>`)
		}
		for _, st := range heard(t, alice) {
			t.Errorf("%s: the sender got %s", c.name, st)
		}
		r.post("carol@localhost", "<message type='chat'>"+typing+"</message>")
		select {
		case got := <-dropped:
			if got != c.in {
				t.Errorf("%s: MCMT dropped by %s, want %s", c.name, got, c.in)
			}
		case <-time.After(patience):
			t.Fatalf("%s: a state from MCMT is not dropped", c.name)
		}
		n := filtering{r.App}.Report().Suppressed
		if i == 0 { // later ones have what the filters before have counted, as far as they are the same
			before = filters.Noise{}
		}
		if mails, sms := n.Saved.Mails-before.Saved.Mails, n.Saved.SMS-before.Saved.SMS; c.name != "between only" && (mails != 1 || sms != 1) {
			t.Errorf("%s: %d mails and %d short messages saved, want one each", c.name, mails, sms)
		}
	}
	if s := r.delivery.Stats(); s.Parked != 0 || s.Filtered != 4 {
		t.Errorf("%d states wait in custody, %d were filtered there", s.Parked, s.Filtered)
	}
	carol := r.login("carol@localhost/c", "secret")
	say(t, carol, `<presence xmlns='jabber:client'/>`)
	for _, st := range heard(t, carol) {
		t.Errorf("an offline message: %s", st)
	}
	if n := r.filterReport("offline-states").Suppressed; n.ByClient["gajim.org"] == 0 || n.ByClient["unknown"] == 0 || n.ByDomain["localhost"] == 0 || n.ByDomain["corp.example"] != 4 {
		t.Errorf("noise by client %v, by domain %v", n.ByClient, n.ByDomain)
	}
}

// post sends MCMT with an XMPP part.
func (r *running) post(to, xmpp string) {
	r.t.Helper()
	body := fmt.Sprintf(`{"from":"news@corp.example","to":[%q],"text":"x","xmpp":%q}`, to, xmpp)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.Addr(config.HTTP, "")+"/v1/messages", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		r.t.Fatalf("posted: %s", resp.Status)
	}
}

// TestFiltersBetween: what the filters strip, drop and put off between two Jabber
// users, and what they leave of it on a reload.
func TestFiltersBetween(t *testing.T) {
	t.Parallel()
	const rules = basic + `filter states { type = chat_state strip = true direction = between }
filter words { type = body_regex pattern = "(?i)psst" direction = all }
filter flood { type = rate rate = "2/3600" action = defer direction = all }
`
	r := start(t, rules)
	r.add("alice@localhost", "secret")
	r.add("carol@localhost", "secret")
	alice, carol := r.login("alice@localhost/a", "secret"), r.login("carol@localhost/c", "secret")
	say(t, carol, `<presence xmlns='jabber:client'/>`)
	heard(t, carol)
	message := func(id, inside string) {
		say(t, alice, `<message xmlns='jabber:client' type='chat' to='carol@localhost' id='`+id+`'>`+inside+`</message>`)
	}
	message("m1", `<body>one</body><active xmlns='http://jabber.org/protocol/chatstates'/>`)
	message("m2", `<body>Psst</body>`)
	message("m3", typing)
	message("m4", `<body>two</body>`)
	if got := heard(t, alice); len(got) != 0 {
		t.Errorf("the sender got %v", got)
	}
	got := heard(t, carol)
	if len(got) != 2 || got[0].ID != "m1" || got[1].ID != "m4" || strings.Contains(got[0].String(), "chatstates") {
		t.Errorf("the recipient got %v", got)
	}
	tooMany := func(id string) {
		t.Helper()
		message(id, `<body>three</body>`)
		got := heard(t, alice)
		if len(got) != 1 || got[0].ID != id || got[0].Type != stanza.TypeError {
			t.Fatalf("the sender got %v", got)
		}
		if e := stanza.ParseError(got[0].Child("error")); e.Condition != stanza.ResourceConstraint || e.Type != stanza.Wait {
			t.Errorf("the sender got %v", e)
		}
	}
	tooMany("m5")
	// To mail it is not the gateway's "no mail is sent" that comes back, but the rate's.
	say(t, alice, `<message xmlns='jabber:client' type='chat' to='`+toMail+`' id='m6'><body>four</body></message>`)
	if got := heard(t, alice); len(got) != 1 || stanza.ParseError(got[0].Child("error")).Condition != stanza.ResourceConstraint {
		t.Errorf("the sender got %v", got)
	}
	// Another rule has changed: the sender is still known, and so is what was counted.
	r.reload(strings.Replace(rules, "psst", "hush", 1))
	tooMany("m7")
	if v := r.filterReport("flood").Verdicts; v["defer"] != 3 || v["continue"] != 2 {
		t.Errorf("after the reload flood has %v", v)
	}
	if n := r.filterReport("words").Suppressed.Messages; n != 0 {
		t.Errorf("the filter that has changed has dropped %d", n)
	}
	// Its own rule: it begins anew.
	r.reload(strings.Replace(rules, "2/3600", "3/3600", 1))
	message("m8", `<body>three</body>`)
	if got := heard(t, alice); len(got) != 0 {
		t.Errorf("the sender got %v", got)
	}
	// A mistake leaves everything as it is.
	r.reload(rules + "filter broken { type = rate }\n")
	if v := r.filterReport("flood").Verdicts; v["continue"] != 1 {
		t.Errorf("after a refused reload flood has %v", v)
	}
}

// TestVerdictMetrics: what a filter in shadow mode would have done is not counted with
// what was done.
func TestVerdictMetrics(t *testing.T) {
	t.Parallel()
	a := New(Options{Config: load(t, t.TempDir(), basic+"filter watch { type = chat_state mode = shadow }\nfilter words { type = body_regex pattern = psst }\n")})
	st, err := newState(a.o.Config)
	if err != nil {
		t.Fatal(err)
	}
	a.state.Store(st)
	for _, inside := range []string{typing, "<body>psst</body>", "<body>hi</body>"} {
		m, err := stanza.ParseBytes([]byte("<message xmlns='jabber:client' to='a@b' from='c@d'>"+inside+"</message>"), xmlwire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		st.rules.Filters.Apply(t.Context(), &filters.Item{Stanza: m, Direction: filters.In})
	}
	got := make(map[string]float64)
	a.collectVerdicts(func(n float64, labels ...string) { got[strings.Join(labels, " ")] = n })
	for name, want := range map[string]float64{
		"watch would_drop": 1, "watch continue": 2, "words drop": 1, "words continue": 2, "words error": 0, "offline-states drop": 0,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
		}
	}
	if _, ok := got["watch drop"]; ok {
		t.Error("a filter in shadow mode is said to drop")
	}
}
