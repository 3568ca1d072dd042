package account

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsArchive = "urn:xmpp:mam:2"

// Archived is a message in an archive.
type Archived struct {
	Seq uint64 // its place: later messages have higher ones
	At  time.Time
	Key string // chance; a part of its id, so that nobody guesses that
	XML []byte // the stanza
}

// id is the id of a message in its archive. It names the place, so that it is found at
// once.
func (a Archived) id() string { return strconv.FormatUint(a.Seq, 36) + "-" + a.Key }

// ArchiveStore keeps the messages of all archives, in the order in which they came. Its
// methods may be called from any goroutine.
type ArchiveStore interface {
	// Append stores a message of an account with somebody, by bare JIDs. One whose once,
	// if that is not empty, was stored within some minutes before is not stored again;
	// the first is returned.
	Append(ctx context.Context, user, with jid.JID, m Archived, once string) (Archived, error)
	// Read returns the first messages of an account, with somebody or with all (zero),
	// from a place on, or where that is zero, of a time or later; limit of them at most,
	// and fewer when they are large. left is how many others follow.
	Read(ctx context.Context, user, with jid.JID, from uint64, since time.Time, limit int) (found []Archived, left int, err error)
}

// Archives are the message archives of accounts (XEP-0313).
type Archives struct {
	Store       ArchiveStore
	Preferences PreferenceStore
	// Default is which messages of accounts without preferences are kept.
	Default Policy
	// Roster is that of an account, for the policy of that name.
	Roster func(user jid.JID) *roster.Roster
	// Page bounds the messages of an answer. Zero: 100.
	Page int
	// Failed learns of messages that could not be kept. It must not block.
	Failed func(error)
}

// pageBytes bounds the bytes of an answer, but for its last message: the client has to
// acknowledge it before much more can be sent (XEP-0198).
const pageBytes = 256 << 10

// Keep implements router.Archive.
func (a *Archives) Keep(ctx context.Context, user jid.JID, st *stanza.Stanza, once string) string {
	with := st.From
	if user == st.From.Bare() {
		with = st.To
	}
	if !a.wants(user, with) {
		return ""
	}
	m, err := a.Store.Append(ctx, user, with.Bare(), Archived{Key: strings.ToLower(rand.Text()[:16]), XML: st.Append(nil, "")}, once)
	if err != nil {
		a.Failed(fmt.Errorf("message %s not archived: %w", st.ID, err))
		return ""
	}
	return m.id()
}

// Has implements router.Archive.
func (a *Archives) Has(ctx context.Context, user jid.JID, id string) bool {
	_, err := a.find(ctx, user, id)
	return err == nil
}

var noSuchItem = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}

// find returns the message of an id; the error is item-not-found for one that is not
// there.
func (a *Archives) find(ctx context.Context, user jid.JID, id string) (Archived, error) {
	place, key, ok := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(place, 36, 64)
	if err != nil || !ok || seq == 0 {
		return Archived{}, noSuchItem
	}
	found, _, err := a.Store.Read(ctx, user, jid.JID{}, seq, time.Time{}, 1)
	switch {
	case err != nil:
		return Archived{}, err
	case len(found) == 0 || found[0].Seq != seq || found[0].Key != key:
		return Archived{}, noSuchItem
	}
	return found[0], nil
}

// Service returns what answers queries, of the owner only.
func (a *Archives) Service() router.Service {
	return router.Service{
		Payloads: []xmlwire.Name{{Space: nsArchive, Local: "query"}, {Space: nsArchive, Local: "metadata"}, {Space: nsArchive, Local: "prefs"}},
		Reach:    router.Owner,
		// §7: the archive is that of the account. Clients ask the domain all the same.
		OfAccount: []string{nsArchive, nsArchive + "#extended", stanza.StanzaID.Space},
		OfDomain:  []string{nsArchive, nsArchive + "#extended", stanza.StanzaID.Space},
		Answer:    a.answer,
	}
}

func (a *Archives) answer(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	switch get := rq.Type == stanza.TypeGet; {
	case rq.Payload.Name.Local == "prefs":
		return a.preferences(ctx, rq)
	case rq.Payload.Name.Local == "metadata" && get:
		return a.metadata(ctx, rq.Account())
	case rq.Payload.Name.Local == "query" && get:
		return archiveForm(), nil
	case rq.Payload.Name.Local == "query" && rq.Asker != nil:
		return a.query(ctx, rq)
	}
	return nil, badRequest
}

// query sends the messages that a client asks for, and then says which they were (§4).
func (a *Archives) query(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	q, err := parseArchiveQuery(rq.Payload)
	if err != nil {
		return nil, err
	}
	page, err := a.page(ctx, rq.Account(), q)
	if err != nil {
		return nil, err
	}
	send := page.messages
	if q.flip {
		send = slices.Clone(send)
		slices.Reverse(send)
	}
	for _, m := range send {
		st, err := result(rq, q.id, m)
		if err != nil {
			return nil, err
		}
		if err := rq.Asker.Send(ctx, st); err != nil {
			return nil, err
		}
	}
	return page.fin(), nil
}

// result carries an archived message to a client (§4.2).
func result(rq router.Request, queryID string, m Archived) (*stanza.Stanza, error) {
	n := len(m.XML) + 1 // it was within the limits when it came in
	old, err := stanza.ParseBytes(m.XML, xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if err != nil {
		return nil, fmt.Errorf("archived message %s: %w", m.id(), err)
	}
	forwarded := xmlwire.New("urn:xmpp:forward:0", "forwarded")
	forwarded.Add(xmlwire.New(stanza.Delay.Space, stanza.Delay.Local, "stamp", received(old, rq.Account(), m.At)))
	forwarded.Add(old.Whole())
	st := stanza.NewMessage(rq.From, rq.Account(), "", "")
	e := xmlwire.New(nsArchive, "result", "id", m.id())
	e.SetAttr("queryid", queryID)
	st.Element.Add(e.Add(forwarded))
	return st, nil
}

// received is when the server has got a message, which for one that had to wait for its
// recipient is in the mark of that.
func received(st *stanza.Stanza, user jid.JID, at time.Time) string {
	if d := st.Element.Child(stanza.Delay); d != nil && d.Attr("from") == user.Domain() {
		if t, err := time.Parse(time.RFC3339Nano, d.Attr("stamp")); err == nil && t.Before(at) {
			at = t
		}
	}
	return at.UTC().Format(stampFormat)
}

// stampFormat is that of XEP-0082, as fine as start and end of a query are compared.
const stampFormat = "2006-01-02T15:04:05.000000Z"

// metadata says where an archive begins and ends (§5).
func (a *Archives) metadata(ctx context.Context, user jid.JID) (*xmlwire.Element, error) {
	e := xmlwire.New(nsArchive, "metadata")
	s := span{a: a, user: user, from: 1, to: end}
	first, err := s.pageFrom(ctx, 1, 1)
	if err != nil || len(first) == 0 {
		return e, err
	}
	last, err := s.pageBefore(ctx, end, 1)
	if err != nil {
		return nil, err
	}
	for _, m := range []struct {
		local string
		of    []Archived
	}{{"start", first}, {"end", last}} {
		if len(m.of) > 0 {
			e.Add(xmlwire.New(nsArchive, m.local, "id", m.of[0].id(), "timestamp", m.of[0].At.UTC().Format(stampFormat)))
		}
	}
	return e, nil
}
