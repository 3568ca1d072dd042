// Package account is what the server keeps for its accounts and does on their
// behalf, beyond rosters and presence. Each specification is a file, and a function
// that returns the router.Service to register. Where something is kept is the
// caller's business.
//
//	archive.go       message archives (XEP-0313): what is kept, and the answers
//	archivequery.go  the wire of queries (XEP-0004, XEP-0059)
//	archivepage.go   which messages match them
//	archiveprefs.go  with whom messages are kept
//	blocking.go      block lists (XEP-0191)
//	private.go       XML that clients keep (XEP-0049)
//	upload.go        slots for files (XEP-0363), uploadhttp.go the files
//	vcard.go         vCards, and the hash of the photo (XEP-0054, XEP-0153)
package account

import (
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// follower is a session that can be told of changes. Sessions of other processes are
// none: their process tells them.
type follower interface {
	router.Session
	// Follow has the client told of changes of something from now on.
	Follow(what string)
	// Follows says whether that was called.
	Follows(what string) bool
}

// follow has the client of a request told of changes of something.
func follow(rq router.Request, what string) {
	if f, ok := rq.Asker.(follower); ok {
		f.Follow(what)
	}
}

var badRequest = &stanza.Error{Condition: stanza.BadRequest}
