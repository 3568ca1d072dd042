package certificate

import (
	"net"
	"testing"

	"mcmt2xmpp/xmpp/xmpptest"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	type leaf = xmpptest.Leaf
	a := xmpptest.NewAuthority(t)
	const server, client = "xmpp-server", "xmpp-client"
	for name, tt := range map[string]struct {
		leaf    leaf
		domain  string
		service string
		want    bool
	}{
		"dNSName":                     {leaf{DNS: []string{"im.example.com"}}, "im.example.com", server, true},
		"dNSName, RFC 4343":           {leaf{DNS: []string{"IM.Example.com"}}, "im.example.com", server, true},
		"dNSName of another":          {leaf{DNS: []string{"example.com"}}, "im.example.com", server, false},
		"second of two":               {leaf{DNS: []string{"example.com", "im.example.com"}}, "im.example.com", server, true},
		"dNSName for clients":         {leaf{DNS: []string{"im.example.com"}}, "im.example.com", client, true},
		"RFC 6125 §6.4.4, no CN":      {leaf{CommonName: "im.example.com"}, "im.example.com", server, false},
		"CN beside other names":       {leaf{CommonName: "im.example.com", DNS: []string{"x.example"}}, "im.example.com", server, false},
		"an underscore":               {leaf{DNS: []string{"my_host.local"}}, "my_host.local", server, true},
		"A-labels, RFC 6125 §6.4.2":   {leaf{DNS: []string{"xn--bcher-kva.example"}}, "bücher.example", server, true},
		"A-labels given":              {leaf{DNS: []string{"xn--bcher-kva.example"}}, "XN--bcher-kva.example", server, true},
		"wildcard, RFC 6125 §6.4.3":   {leaf{DNS: []string{"*.example.com"}}, "im.example.com", server, true},
		"wildcard for an A-label":     {leaf{DNS: []string{"*.example.com"}}, "bücher.example.com", server, true},
		"wildcard, two labels":        {leaf{DNS: []string{"*.example.com"}}, "a.im.example.com", server, false},
		"wildcard, no label":          {leaf{DNS: []string{"*.example.com"}}, "example.com", server, false},
		"wildcard in a label":         {leaf{DNS: []string{"i*.example.com"}}, "im.example.com", server, false},
		"wildcard not the left-most":  {leaf{DNS: []string{"im.*.com"}}, "im.example.com", server, false},
		"wildcard twice":              {leaf{DNS: []string{"*.*.com"}}, "im.example.com", server, false},
		"wildcard of a top level":     {leaf{DNS: []string{"*.com"}}, "example.com", server, false},
		"wildcard alone":              {leaf{DNS: []string{"*"}}, "localhost", server, false},
		"SRVName, RFC 4985":           {leaf{SRV: []string{"_xmpp-server.example.com"}}, "example.com", server, true},
		"SRVName in capitals":         {leaf{SRV: []string{"_XMPP-Server.EXAMPLE.com"}}, "example.com", server, true},
		"SRVName of another service":  {leaf{SRV: []string{"_xmpp-client.example.com"}}, "example.com", server, false},
		"SRVName for clients":         {leaf{SRV: []string{"_xmpp-client.example.com"}}, "example.com", client, true},
		"SRVName of mail":             {leaf{SRV: []string{"_imaps.example.com"}}, "example.com", server, false},
		"SRVName without a service":   {leaf{SRV: []string{"example.com"}}, "example.com", server, false},
		"SRVName, wildcard":           {leaf{SRV: []string{"_xmpp-server.*.example.com"}}, "im.example.com", server, true},
		"SRVName, A-labels":           {leaf{SRV: []string{"_xmpp-server.xn--bcher-kva.example"}}, "bücher.example", server, true},
		"xmppAddr, RFC 6120 §13.7":    {leaf{XMPP: []string{"example.com"}}, "example.com", server, true},
		"xmppAddr in U-labels":        {leaf{XMPP: []string{"Bücher.example"}}, "bücher.example", server, true},
		"xmppAddr of a user":          {leaf{XMPP: []string{"juliet@example.com"}}, "example.com", server, false},
		"xmppAddr of a resource":      {leaf{XMPP: []string{"example.com/x"}}, "example.com", server, false},
		"xmppAddr takes no wildcard":  {leaf{XMPP: []string{"*.example.com"}}, "im.example.com", server, false},
		"an address":                  {leaf{IP: []net.IP{net.ParseIP("192.0.2.1")}}, "192.0.2.1", server, true},
		"an IPv6 address":             {leaf{IP: []net.IP{net.ParseIP("2001:db8::1")}}, "[2001:db8::1]", server, true},
		"another address":             {leaf{IP: []net.IP{net.ParseIP("192.0.2.1")}}, "192.0.2.2", server, false},
		"an address as dNSName":       {leaf{DNS: []string{"192.0.2.1"}}, "192.0.2.1", server, false},
		"no domain":                   {leaf{DNS: []string{"example.com"}}, "", server, false},
		"a JID in place of a domain":  {leaf{XMPP: []string{"juliet@example.com"}}, "juliet@example.com", server, false},
		"a certificate without names": {leaf{}, "example.com", server, false},
	} {
		if got := Match(a.Issue(t, tt.leaf).Leaf, tt.domain, tt.service); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
