package config

import (
	"time"
	"unicode"
	"unicode/utf8"
)

// Mail is how messages of Jabber users become mail to a domain.
type Mail struct {
	// DigestWindow is how long the first of several lines waits for the others. Zero:
	// each goes alone.
	DigestWindow time.Duration
	// Format is "plain" or "mcmt".
	Format string
	// Subject is that of mail whose message has none.
	Subject string
	// Receipts asks the mail server to report what has arrived, where a message asks for
	// a receipt.
	Receipts bool
}

// maxSubject bounds mail_subject in characters: longer ones are cut where they are shown.
const maxSubject = 200

// mailOptions hold for mail that is made from messages of Jabber users.
var mailOptions = []*option{
	{name: "mail_media", kind: kindEnum, words: []string{"link", "attach"}, def: "link", scopes: inGlobal,
		doc: "files that Jabber messages offer become links in mail, or are fetched, from public addresses only, and attached to it"},
	{name: "digest_window", kind: kindDuration, def: "0", max: 3600, scopes: inGlobal | inDomain,
		doc: "chat lines of one conversation within so many seconds go to the mail domain as one plain mail; 0: each goes alone"},
	{name: "mail_format", kind: kindEnum, words: []string{"plain", "mcmt"}, def: "plain", scopes: inGlobal | inDomain,
		doc: "form of mail made from Jabber messages: \"mcmt\" holds the stanza too, for another gateway at the mail domain"},
	{name: "mail_receipts", kind: kindBoolean, def: "true", scopes: inGlobal | inDomain,
		doc: "who asks for a receipt (XEP-0184) gets one when the mail server reports delivery (RFC 3461, NOTIFY=SUCCESS); its reports come to the user's address"},
	{name: "mail_subject", kind: kindString, def: "\"Chat message\"", scopes: inGlobal | inDomain,
		doc: "subject of mail made from Jabber messages that have none"},
}

func (v view) mail() Mail {
	return Mail{DigestWindow: v.duration("digest_window"), Format: v.text("mail_format"), Subject: v.text("mail_subject"), Receipts: v.flag("mail_receipts")}
}

// buildMail finds what holds for each mail domain that has a scope. What is said for
// #smtp# of a domain holds before what is said for all of it.
func (t *tree) buildMail(c *Config) {
	c.mail, c.mails = t.view(t.root).mail(), make(map[string]Mail)
	t.checkMail(t.view(t.root))
	for _, n := range t.root.of(inDomain) {
		_, there := c.mails[n.domain]
		if n.protocol == "xmpp" || there && n.protocol == "" {
			continue
		}
		c.mails[n.domain] = t.view(n).mail()
		t.checkMail(t.view(n))
	}
}

// checkMail reports a subject that no mail can have.
func (t *tree) checkMail(v view) {
	s := v.text("mail_subject")
	for _, r := range s {
		if unicode.IsControl(r) {
			t.report.errorf(v.pos("mail_subject"), "", "mail_subject holds a control character")
			return
		}
	}
	if n := utf8.RuneCountInString(s); n > maxSubject {
		t.report.errorf(v.pos("mail_subject"), "", "mail_subject is %d characters long, at most are %d", n, maxSubject)
	}
}

// Mail returns how messages become mail to a domain: as its scope says, or as the global
// options do.
func (c *Config) Mail(domain string) Mail {
	if m, ok := c.mails[domainKey(domain)]; ok {
		return m
	}
	return c.mail
}
