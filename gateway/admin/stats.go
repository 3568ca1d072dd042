package admin

import (
	"net/http"
	"sync/atomic"
)

// Stats counts what was turned away, since the start.
type Stats struct {
	NoToken     uint64 // requests without a token, from where one is needed
	WrongTokens uint64 // requests with a token that is none
	Guarded     uint64 // requests whose token was not tried, after too many wrong ones
	Throttled   uint64 // requests over the rate
	Forbidden   uint64 // requests that take another role
	OtherSites  uint64 // requests of other sites' pages, or with a foreign name in Host
	OverLimit   uint64 // connections
}

// counts are those of Stats as they are counted.
type counts struct {
	noToken, wrongTokens, guarded, throttled, forbidden, otherSites, overLimit atomic.Uint64
}

// Stats returns what has been counted so far.
func (s *Server) Stats() Stats {
	c := &s.counts
	return Stats{
		NoToken: c.noToken.Load(), WrongTokens: c.wrongTokens.Load(), Guarded: c.guarded.Load(), Throttled: c.throttled.Load(),
		Forbidden: c.forbidden.Load(), OtherSites: c.otherSites.Load(), OverLimit: c.overLimit.Load(),
	}
}

// denied counts a caller who is not let in.
func (c *counts) denied(d *denied) {
	switch {
	case d.token:
		c.wrongTokens.Add(1)
	case d.status == http.StatusTooManyRequests:
		c.guarded.Add(1)
	case d.status == http.StatusUnauthorized:
		c.noToken.Add(1)
	default:
		c.otherSites.Add(1)
	}
}
