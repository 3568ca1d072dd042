package config

import (
	"strings"
	"testing"
)

// Rows that share a name share no scope: which one a setting means would depend
// on their order.
func TestTableRowsAreDistinct(t *testing.T) {
	t.Parallel()
	for name, rows := range byName {
		var seen scopeSet
		for _, o := range rows {
			if seen&o.scopes != 0 {
				t.Errorf("%s is in the table twice for %s", name, seen&o.scopes)
			}
			seen |= o.scopes
			if o.scopes == 0 {
				t.Errorf("%s is valid nowhere", name)
			}
		}
	}
}

func TestTableRowsAreComplete(t *testing.T) {
	t.Parallel()
	for _, o := range table {
		switch {
		case o.doc == "" || strings.HasSuffix(o.doc, ".") || strings.Contains(o.doc, "\n"):
			t.Errorf("%s: documentation %q is not one line without a full stop", o.name, o.doc)
		case o.name != strings.ToLower(o.name):
			t.Errorf("%s: names are lower case", o.name)
		case (o.kind == kindEnum) != (len(o.words) > 0):
			t.Errorf("%s: words are for enums", o.name)
		case o.def != "" && o.defDoc != "":
			t.Errorf("%s: has two defaults", o.name)
		case scopeByName(o.name) != nil && o.name != "pathway":
			t.Errorf("%s: is a scope too", o.name)
		}
	}
}

// chapterTable is Table 10.1 and section 10.1.2 of the reference chapter: every
// option with every scope it names. "listener" stands for xmpp_listener.
var chapterTable = map[string]string{
	"accept_queue_backlog":    "listen xmpp_listener",
	"authdigestmd5parameters": "listen pathway pathway_group peer xmpp_listener",
	"authplainparameters":     "listen pathway pathway_group xmpp_listener",
	"concurrency":             "listen threadpool xmpp_listener",
	"disable_nagle_algorithm": "global listen xmpp_listener",
	"enable":                  "listen xmpp_listener",
	"events_per_iter":         "listen xmpp_listener",
	"file_mode":               "xmpp_listener",
	"idle_time":               "listen pathway pathway_group peer xmpp_listener",
	"listen_backlog":          "listen xmpp_listener",
	"pool_name":               "listen xmpp_listener",
	"tcp_recv_buffer_size":    "listen xmpp_listener",
	"tcp_send_buffer_size":    "listen xmpp_listener",
	"tls_certificate":         "binding binding_group domain listen pathway pathway_group peer xmpp_listener",
	"tls_ciphers":             "binding binding_group domain global listen pathway pathway_group peer xmpp_listener",
	"tls_client_ca":           "global listen pathway pathway_group peer xmpp_listener",
	"tls_key":                 "binding binding_group domain global listen pathway pathway_group peer xmpp_listener",
	"tls_verify_mode":         "listen pathway pathway_group peer xmpp_listener",
	"xmpp_role":               "domain",
	"xmpp_dialback_secret":    "domain",
	"enabled":                 "xmpp",
	"debug_level":             "xmpp",
}

func TestChapterOptions(t *testing.T) {
	t.Parallel()
	for name, where := range chapterTable {
		for _, s := range strings.Fields(where) {
			n := nodeIn(s, inXMPPListener)
			o := findOption(name, n)
			if o == nil {
				t.Errorf("%s is not valid in %s", name, s)
				continue
			}
			if !o.chapter {
				t.Errorf("%s in %s is not marked as the chapter's", name, s)
			}
		}
	}
	for _, o := range table {
		if o.chapter && chapterTable[o.name] == "" {
			t.Errorf("%s is marked as the chapter's, which does not have it", o.name)
		}
	}
	for _, s := range []string{"listen", "peer"} { // the two scopes of Table 10.1
		if scopeByName(s).parents&inXMPPListener == 0 {
			t.Errorf("%s does not stand in xmpp_listener", s)
		}
	}
}

// nodeIn returns a scope of some kind as it would stand in a file; listen and
// peer within the given kind of listener.
func nodeIn(name string, listener scopeSet) *node {
	s := scopeByName(name)
	if name == "global" {
		s = scopes[0]
	}
	n := &node{scope: s}
	if s.bit&(inListen|inPeer) != 0 {
		n.parent = &node{scope: scopeByBit(listener)}
	}
	return n
}

// scopeByBit returns the scope of a set of one.
func scopeByBit(bit scopeSet) *scope {
	for _, s := range scopes {
		if s.bit == bit {
			return s
		}
	}
	return nil
}
