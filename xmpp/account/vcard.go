package account

import (
	"context"
	"crypto/sha1" // #nosec G505: XEP-0153 §3.1 has SHA-1
	"encoding/base64"
	"encoding/hex"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsVCard = "vcard-temp"

// Avatars keeps the hash of each account's photo, by bare JID. Its methods may be
// called from any goroutine.
type Avatars interface {
	router.Avatars
	// SetAvatar stores the hash of a photo, empty for none.
	SetAvatar(ctx context.Context, user jid.JID, hash string) error
}

// VCards is vcard-temp (XEP-0054), with the hash of the photo for presence (XEP-0153).
type VCards struct {
	Elements Elements
	Avatars  Avatars
	// Size bounds the bytes of a vCard. Zero: 256 KiB.
	Size int
}

// Service returns what answers requests for vCards: of the owner to change his, of
// anybody to see it.
func (v *VCards) Service() router.Service {
	return router.Service{
		Payloads: []xmlwire.Name{{Space: nsVCard, Local: "vCard"}},
		Reach:    router.Owner | router.Others,
		OfDomain: []string{nsVCard}, OfAccount: []string{nsVCard},
		Answer: v.answer,
	}
}

func (v *VCards) answer(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	own := rq.From.Bare() == rq.Account()
	switch {
	case rq.Type == stanza.TypeGet:
		return v.get(ctx, rq.Account(), own)
	case !own:
		return nil, &stanza.Error{Condition: stanza.Forbidden} // §3.2: nobody changes another's
	}
	if err := tooLarge(rq.Payload, orDefault(v.Size, 256<<10)); err != nil {
		return nil, err
	}
	if err := v.Elements.SetElement(ctx, rq.Account(), "vcard", rq.Payload, 1); err != nil {
		return nil, err
	}
	return nil, v.Avatars.SetAvatar(ctx, rq.Account(), photoHash(rq.Payload))
}

// get returns the vCard. Where there is none its owner gets an empty one, and others
// what they get for an account that does not exist (§3.3).
func (v *VCards) get(ctx context.Context, user jid.JID, own bool) (*xmlwire.Element, error) {
	e, err := v.Elements.Element(ctx, user, "vcard")
	switch {
	case err != nil || e != nil:
		return e, err
	case own:
		return xmlwire.New(nsVCard, "vCard"), nil
	}
	return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
}

// photoHash is the SHA-1 of the image in a vCard, empty for none (XEP-0153 §3.1).
func photoHash(card *xmlwire.Element) string {
	photo := card.Child(xmlwire.Name{Space: nsVCard, Local: "PHOTO"})
	if photo == nil {
		return ""
	}
	value := photo.Child(xmlwire.Name{Space: nsVCard, Local: "BINVAL"})
	if value == nil {
		return ""
	}
	image, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value.Text()), ""))
	if err != nil || len(image) == 0 {
		return ""
	}
	sum := sha1.Sum(image) // #nosec G401
	return hex.EncodeToString(sum[:])
}
