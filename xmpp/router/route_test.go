package router

import (
	"context"
	"errors"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestKeep(t *testing.T) {
	t.Parallel()
	from := &client{jid: jid.MustParse("bob@here.example/b")}
	full := errors.New("full")
	for _, c := range []struct {
		name, xml string
		custody   *kept
		filter    func(bool) bool
		kept      int
		want      stanza.Condition
	}{
		{"with a body", `<body>x</body>`, &kept{}, nil, 1, ""},
		{"with a body in one language", `<body/><body xml:lang='de'>x</body>`, &kept{}, nil, 1, ""},
		{"without a body", `<thread>x</thread>`, &kept{}, nil, 0, stanza.ServiceUnavailable},
		{"with a blank body", `<body> </body>`, &kept{}, nil, 0, stanza.ServiceUnavailable},
		{"no custody", `<body>x</body>`, nil, nil, 0, stanza.ServiceUnavailable},
		{"custody is full: our fault, try again", `<body>x</body>`, &kept{err: full}, nil, 1, stanza.InternalServerError},
		{"dropped on the way", `<body>x</body>`, &kept{}, func(bool) bool { return false }, 0, ""},
		{"dropped before storage", `<body>x</body>`, &kept{}, func(keep bool) bool { return !keep }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if c.custody != nil {
				o.Custody = c.custody
			}
			if c.filter != nil {
				o.Filter = func(_ context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error) {
					if c.filter(keep) {
						return st, nil
					}
					return nil, nil
				}
			}
			r := newRouter(t, o)
			from := &client{jid: from.jid}
			st, err := stanza.ParseBytes([]byte("<message xmlns='jabber:client' type='chat' to='alice@here.example'>"+c.xml+"</message>"), xmlwire.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			st.From = from.jid
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Fatal(err)
			}
			got := stanza.Condition("")
			if answer, n := from.last(); n > 0 {
				e := stanza.ParseError(answer.Child("error"))
				got = e.Condition
				if got == stanza.InternalServerError && !e.Temporary() {
					t.Error("our own fault is told as permanent")
				}
			}
			if got != c.want || c.custody != nil && c.custody.n != c.kept {
				t.Errorf("answer %q, kept %v; want %q, %d", got, c.custody, c.want, c.kept)
			}
		})
	}
}

func TestHandlerTakesItsDomain(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	from := &client{jid: jid.MustParse("bob@here.example/b")}
	var got *stanza.Stanza
	answer := error(nil)
	r.Handle("mail.here.example", func(_ context.Context, st *stanza.Stanza) error {
		got = st
		return answer
	})
	st := stanza.NewMessage(jid.MustParse("x@mail.here.example"), from.jid, "chat", "hi")
	if err := r.Route(t.Context(), from, st); err != nil || got != st {
		t.Fatalf("handler got %v, %v", got, err)
	}
	if _, n := from.last(); n != 0 {
		t.Error("a stanza that was taken is answered")
	}
	answer = &stanza.Error{Condition: stanza.NotAcceptable}
	if err := r.Route(t.Context(), from, st); err != nil {
		t.Fatal(err)
	}
	if last, _ := from.last(); last == nil || stanza.ParseError(last.Child("error")).Condition != stanza.NotAcceptable {
		t.Errorf("the sender was told %v", last)
	}
	r.Handle("mail.here.example", nil)
	if err := r.Route(t.Context(), from, st); err != nil {
		t.Fatal(err)
	}
	if last, _ := from.last(); stanza.ParseError(last.Child("error")).Condition != stanza.RemoteServerNotFound {
		t.Errorf("after the handler left: %v", last)
	}
}

// TestSent: who is asked about what a client sends can take it, or refuse it.
func TestSent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, typ string
		done      bool
		err       error
		asked     bool
		kept      int
		want      stanza.Condition
	}{
		{"it goes on", "chat", false, nil, true, 1, ""},
		{"dealt with", "chat", true, nil, true, 0, ""},
		{"refused", "chat", false, &stanza.Error{Condition: stanza.PolicyViolation}, true, 0, stanza.PolicyViolation},
		{"not now", "chat", false, errors.New("away"), true, 0, stanza.InternalServerError},
		{"an error is no message", "error", true, nil, false, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			keeps, asked := &kept{}, false
			r := newRouter(t, Options{Custody: keeps, Sent: func(context.Context, *stanza.Stanza) (bool, error) {
				asked = true
				return row.done, row.err
			}})
			from := &client{jid: jid.MustParse("bob@here.example/b")}
			st := stanza.NewMessage(jid.MustParse("alice@here.example"), from.jid, row.typ, "x")
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Fatal(err)
			}
			var got stanza.Condition
			if answer, n := from.last(); n > 0 {
				got = stanza.ParseError(answer.Child("error")).Condition
			}
			if got != row.want || keeps.n != row.kept || asked != row.asked {
				t.Errorf("answer %q, kept %d, asked %v", got, keeps.n, asked)
			}
		})
	}
}
