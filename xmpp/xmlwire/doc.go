// Package xmlwire reads and writes the XML of XMPP streams: restricted XML
// (RFC 6120 §11) with its namespaces resolved, as a tree per stanza.
//
// encoding/xml is not used because it bounds nothing, accepts what RFC 6120 §11
// forbids and what Namespaces in XML forbids, and costs several times as much as
// everything else that a message goes through.
package xmlwire
