// Package convert makes one XMPP stanza for one recipient of an MCMT message or
// an ordinary mail, and one mail of stanzas. It is pure: no input or output and
// no clock, the same Input gives the same Result, so that a retry sends what the
// first attempt sent.
//
// Standards: RFC 6121 §5 (messages), RFC 7622 and XEP-0106 (addresses),
// XEP-0203 (delay), XEP-0359 (origin id), XEP-0201's use of threads, XEP-0066,
// XEP-0264, XEP-0446 and XEP-0447 (files); of mail, RFC 5322, 2045 to 2047, and RFC 3834
// (automatic responses).
package convert

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Role is the xmpp_role of a domain.
type Role uint8

const (
	NoRole Role = iota // not an XMPP domain as far as the configuration knows
	Client             // a remote one, to which streams are opened
	Server             // ours: we answer for it
)

// DefaultPreference is the order in which parts are tried (mcmt_preference).
var DefaultPreference = []string{"xmpp", "smpp", "mm7", "email"}

// DefaultMaxBody is the length in bytes beyond which a text is cut.
const DefaultMaxBody = 64 << 10

// Options configures a Converter. The zero value of a field means its default.
type Options struct {
	Preference []string // names of DefaultPreference, each at most once; a part that is not named is not used
	XMPPTypes  []string // media types of an XMPP part, lower case; default mcmt.XMPPTypes
	// Roles returns the role of a domain, which it is given as a JID has it: in
	// lower case, with U-labels. nil: none has one. It is called from every
	// goroutine that converts.
	Roles func(domain string) Role
	Maps  []RecipientMap // in order of the configuration, the first that matches wins
	// MailGatewayDomain stands for all mail addresses outside our domains
	// (mail_gateway_domain). Required.
	MailGatewayDomain string
	MessageType       string         // type where the XMPP part says none (xmpp_message_type); default "chat"
	MaxBody           int            // bytes of text, see DefaultMaxBody
	XMPPLimits        xmlwire.Limits // of the XMPP part
}

// RecipientMap is one recipient_map: addresses that Match go to the JID, in which
// $1 and ${name} stand for what the groups of Match found.
type RecipientMap struct {
	Name  string
	Match *regexp.Regexp
	JID   string
}

// Converter converts messages. Its methods may be called from any goroutine.
type Converter struct {
	preference  []string
	xmppTypes   []string
	roles       func(string) Role
	maps        []addressMap
	gateway     jid.JID
	idDomain    string // of our msg-ids
	messageType string
	maxBody     int
	limits      xmlwire.Limits
	pictures    sync.Mutex // held while one is in memory, see thumbnail
}

// New checks o. The error names the option that is wrong.
func New(o Options) (*Converter, error) {
	c := &Converter{
		preference:  o.Preference,
		xmppTypes:   o.XMPPTypes,
		roles:       o.Roles,
		messageType: cmp.Or(o.MessageType, stanza.TypeChat),
		maxBody:     cmp.Or(o.MaxBody, DefaultMaxBody),
		limits:      o.XMPPLimits,
	}
	if len(c.preference) == 0 {
		c.preference = DefaultPreference
	}
	for i, name := range c.preference {
		if !slices.Contains(DefaultPreference, name) {
			return nil, fmt.Errorf("mcmt_preference: no part is called %q", name)
		}
		if slices.Contains(c.preference[:i], name) {
			return nil, fmt.Errorf("mcmt_preference: %q is there twice", name)
		}
	}
	if len(c.xmppTypes) == 0 {
		c.xmppTypes = mcmt.XMPPTypes
	}
	if c.roles == nil {
		c.roles = func(string) Role { return NoRole }
	}
	if !slices.Contains(sendTypes, c.messageType) {
		return nil, fmt.Errorf("xmpp_message_type: %q is not a message type that can be sent", c.messageType)
	}
	var err error
	if c.gateway, err = jid.New("", o.MailGatewayDomain, ""); err != nil {
		return nil, fmt.Errorf("mail_gateway_domain: %w", err)
	}
	c.idDomain = idDomain(c.gateway)
	for _, m := range o.Maps {
		am, err := newAddressMap(m)
		if err != nil {
			return nil, fmt.Errorf("recipient_map %q: %w", m.Name, err)
		}
		c.maps = append(c.maps, am)
	}
	return c, nil
}

// Gateway is the JID of MailGatewayDomain, which speaks for senders that have
// no address of their own and for delays.
func (c *Converter) Gateway() jid.JID { return c.gateway }

// Input is one message for one recipient.
type Input struct {
	ID       string // what the stanza id follows from: the queue id, or what stays the same when the message is sent again
	From, To string // envelope addresses without angle brackets; From empty: null path
	Message  *mcmt.Message
	Received time.Time // when custody was taken
	Now      time.Time // when the stanza is to leave
	// PartFromAllowed: the peer may set the sender in the XMPP part
	// (xmpp_part_from = "keep").
	PartFromAllowed bool
	// Place says where a file of a multimedia message, whose ID and URL are empty, will
	// be: what it is kept by, and its address, which is of ASCII. The same file of the
	// same message always has the same. Without an address the file is not offered; nil:
	// none is.
	Place   func(File) (id, url string)
	Explain bool // note Steps in the Result
}

// Result is what Convert made.
type Result struct {
	Stanza *stanza.Stanza // owned by the caller
	Part   string         // name in DefaultPreference of the part it was made of
	Files  []File         // what the stanza offers: they have to be kept before it leaves
	Stamp  time.Time      // when the message was sent, for AddDelay
	Steps  []Step         // where Input.Explain asks for them; with an error they say how far it came
}

// Step is one decision of a conversion, for an operator to read. It holds
// addresses and reasons but no message text.
type Step struct {
	Topic string `json:"topic"` // "to", "from", a name in DefaultPreference, "id", "body", "delay"
	Note  string `json:"note"`
}

// ContentError is a message in which nothing can be sent.
type ContentError struct{ Text string }

// Error returns the reason.
func (e *ContentError) Error() string { return e.Text }

// Temporary reports false: the message will not change.
func (e *ContentError) Temporary() bool { return false }

// Convert makes the stanza. The error is an *AddressError of the recipient or a
// *ContentError. A sender that has no JID and a part that is not valid are no
// errors: the gateway's domain stands for the one, the next part for the other.
func (c *Converter) Convert(in Input) (Result, error) {
	k := conversion{c: c, in: in}
	if err := k.addresses(); err != nil {
		return k.result, err
	}
	for _, name := range c.preference {
		st := k.try(name)
		if st == nil {
			continue
		}
		k.result.Stanza, k.result.Part = st, name
		k.identify(st)
		k.mark(st)
		k.delay(st)
		return k.result, nil
	}
	return k.result, &ContentError{"message has no part that can be sent"}
}

// conversion is the state of one Convert.
type conversion struct {
	c        *Converter
	in       Input
	to, from jid.JID
	result   Result
}

func (k *conversion) step(topic, format string, args ...any) {
	if k.in.Explain {
		k.result.Steps = append(k.result.Steps, Step{topic, fmt.Sprintf(format, args...)})
	}
}

// addresses finds the JIDs of recipient and sender.
func (k *conversion) addresses() error {
	to, by, err := k.c.recipient(k.in.To)
	switch {
	case err != nil:
		k.step("to", "%s", err)
		return err
	case by != nil:
		k.step("to", "%s: by recipient_map %q", to, by.name)
	default:
		k.step("to", "%s: its domain has an xmpp_role", to)
	}
	k.to = to
	if k.from, err = k.c.Sender(k.in.From); err != nil {
		k.from = k.c.gateway
		k.step("from", "%s; %s stands for it", err, k.from)
		return nil
	}
	k.step("from", "%s", k.from)
	return nil
}

// delay adds the element if the message is not of now.
func (k *conversion) delay(st *stanza.Stanza) {
	k.result.Stamp = stamp(k.in)
	if AddDelay(st, k.c.gateway, k.result.Stamp, k.in.Now) {
		k.step("delay", "message is of %s", k.result.Stamp.UTC().Format(time.RFC3339))
	}
}
