package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mcmt2xmpp/gateway/config"
)

// Role is a part of the work that a process of a cluster can do alone.
type Role string

// The roles. A process without any has all of them.
const (
	Ingest  Role = "ingest"  // takes messages in: SMTP and HTTP
	Convert Role = "convert" // makes stanzas of them
	Deliver Role = "deliver" // client sessions, and what is sent to them
	Relay   Role = "relay"   // mail out
)

// RoleNames are the words of --role.
func RoleNames() []string { return slices.Clone(roleNames) }

var roleNames = []string{"all", string(Ingest), string(Convert), string(Deliver), string(Relay)}

// Roles are those of one process, in no order; none means all.
type Roles []Role

// ParseRoles reads a list with commas, as --role takes it.
func ParseRoles(s string) (Roles, error) {
	var roles Roles
	for word := range strings.SplitSeq(s, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		switch {
		case word == "all":
			return nil, nil
		case !slices.Contains(roleNames, word):
			return nil, fmt.Errorf("role %q is none of %s", word, strings.Join(roleNames, ", "))
		}
		roles = append(roles, Role(word))
	}
	return roles, nil
}

func (r Roles) has(role Role) bool { return len(r) == 0 || slices.Contains(r, role) }

// serves says whether a listener of that kind belongs to one of the roles. The
// admin HTTP belongs to all.
func (r Roles) serves(kind config.ListenerKind) bool {
	switch kind {
	case config.ESMTP, config.HTTP:
		return r.has(Ingest)
	case config.XMPPStreams:
		return r.has(Deliver)
	}
	return true
}

// check refuses roles that leave work undone or that do nothing.
func (r Roles) check(cfg *config.Config) error {
	switch {
	case len(r) == 0:
		return nil
	case len(cfg.NATS.URLs) == 0:
		return errors.New("a process with a role of its own needs the others' broker: set nats { urls = ( … ) }")
	}
	return nil
}

func (r Roles) String() string {
	if len(r) == 0 {
		return "all"
	}
	words := make([]string, len(r))
	for i, role := range r {
		words[i] = string(role)
	}
	return strings.Join(words, ",")
}
