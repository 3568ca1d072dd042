package convert

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// A thread (XEP-0201) is the msg-id that began an exchange of mail (RFC 5322 §3.6.4), so
// that a reply from Jabber refers to it. Clients make threads of their own, which are no
// msg-ids; those stand in one of ours, and are taken out again when a reply refers to it:
//
//	<t.THREAD@gateway>        begins the References of what belongs to the thread
//	<m2.HASH.THREAD@gateway>  is a mail, here with a hop count of 2; without THREAD where
//	                          there is none or it is long
//
// THREAD is in base32, as is the hash.

// maxInID is the longest thread in bytes that also stands in the Message-ID, for replies
// that do not copy the References.
const maxInID = 100

// idDomain is the right side of msg-ids that the gateway of a domain makes.
func idDomain(gateway jid.JID) string {
	if ascii, err := idna.Lookup.ToASCII(gateway.Domain()); err == nil {
		return ascii
	}
	return "gateway.invalid" // an IPv6 address, for one
}

// messageID is that of the mail that key becomes.
func (c *Converter) messageID(key, thread string, hops int) string {
	sum := sha256.Sum256([]byte("mcmt2xmpp mail\x00" + key))
	id := "m" + strconv.Itoa(hops) + "." + idEncoding.EncodeToString(sum[:16])
	if thread != "" && len(thread) <= maxInID {
		id += "." + idEncoding.EncodeToString([]byte(thread))
	}
	return id + "@" + c.idDomain
}

// reference returns the msg-id that stands for a thread in References, and whether it is
// one of a mail that came in, which is replied to. A thread that is too long to come back
// has none.
func (c *Converter) reference(thread string) (id string, reply bool) {
	switch _, made := c.threadIn(thread); {
	case thread == "" || len(thread) > maxID:
		return "", false
	case isMsgID(thread) && !made:
		return thread, true
	}
	return "t." + idEncoding.EncodeToString([]byte(thread)) + "@" + c.idDomain, false
}

// threadIn returns the thread that a msg-id of ours holds.
func (c *Converter) threadIn(id string) (string, bool) {
	left, ok := c.ownID(id)
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(left, '.')
	if kind, _, _ := strings.Cut(left[:i+1], "."); kind != "t" && strings.Count(left, ".") != 2 {
		return "", false
	}
	b, err := idEncoding.DecodeString(left[i+1:])
	thread := string(b)
	// Whoever writes to us may have made it up.
	if err != nil || thread == "" || len(thread) > maxID || !utf8.ValidString(thread) || clean(thread) != thread {
		return "", false
	}
	return thread, true
}

// hopsIn returns the hop count that a msg-id of ours holds; zero for another's.
func (c *Converter) hopsIn(id string) int {
	left, ok := c.ownID(id)
	if !ok || left[0] != 'm' {
		return 0
	}
	digits, _, _ := strings.Cut(left[1:], ".")
	return count(digits)
}

// ownID returns the left side of a msg-id that the gateway may have made.
func (c *Converter) ownID(id string) (left string, ok bool) {
	left, domain, _ := strings.Cut(id, "@")
	if !strings.EqualFold(domain, c.idDomain) || !strings.Contains(left, ".") {
		return "", false
	}
	return left, left[0] == 't' || left[0] == 'm'
}

// isMsgID reports whether s can stand between angle brackets as it is. What mail software
// writes there is not always what the grammar wants.
func isMsgID(s string) bool {
	if i := strings.IndexByte(s, '@'); i <= 0 || i == len(s)-1 || len(s) > maxID {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' })
}

// threadOf is the thread of a stanza, "" for none.
func threadOf(st *stanza.Stanza) string {
	if e := st.Child("thread"); e != nil {
		return e.Text()
	}
	return ""
}

// thread adds the conversation: the first message of the References, so that it
// is the same for every mail of one exchange and the way back can refer to it.
func (k *conversion) thread(st *stanza.Stanza) {
	m := k.in.Message.Email
	if m == nil {
		return
	}
	root := m.MessageID
	if m.InReplyTo != "" {
		root = m.InReplyTo
	}
	if len(m.References) > 0 {
		root = m.References[0]
	}
	thread, ours := k.c.threadIn(root)
	if !ours {
		thread = shortThread(root)
	}
	if thread != "" {
		st.Element.Add(xmlwire.New(stanza.Client, "thread").AddText(thread))
	}
}

// shortThread makes a thread of a msg-id.
func shortThread(root string) string {
	root = strings.TrimSpace(clean(root))
	if len(root) <= maxID {
		return root
	}
	sum := sha256.Sum256([]byte(root))
	return idEncoding.EncodeToString(sum[:16])
}

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
