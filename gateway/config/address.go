package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// address is the label of a listen scope, taken apart.
type address struct {
	path string // of a Unix socket; the rest is zero then
	host string // empty: every address of the machine
	port int
}

// parseAddress reads the label of a listen scope.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok || strings.HasPrefix(s, "/") {
		if path == "" || path[0] == '@' {
			return address{}, faultf("write /PATH", "%q names no socket file", s)
		}
		return address{path: filepath.Clean(path)}, nil
	}
	host, port, err := net.SplitHostPort(s)
	const hint = `"*:PORT", ":PORT", "ADDRESS:PORT", "[IPV6]:PORT" or "/PATH"`
	switch {
	case err != nil:
		return address{}, faultf("write "+hint, "%q is not an address to listen on", s)
	case !isPort(port):
		return address{}, faultf("a port is a number from 0 to 65535", "%q has no port", s)
	}
	n, _ := strconv.Atoi(port)
	if host == "*" {
		host = ""
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if host = ip.Unmap().String(); ip.IsUnspecified() {
			host = "" // Go listens on both families for 0.0.0.0 and [::] alike
		}
		return address{host: host, port: n}, nil
	}
	if _, err := jid.New("", host, ""); host != "" && (err != nil || strings.ContainsAny(host, "*/")) {
		return address{}, faultf("write "+hint, "%q is not an address to listen on", s)
	}
	return address{host: strings.ToLower(host), port: n}, nil
}

// overlaps reports whether both cannot be listened on at once. Port 0 is another
// one each time.
func (a address) overlaps(b address) bool {
	if a.path != "" || b.path != "" {
		return a.path == b.path
	}
	return a.port == b.port && a.port != 0 && (a.host == b.host || a.host == "" || b.host == "")
}

// defaultStream is the stream kind that goes without saying for a port.
func (a address) defaultStream() string {
	switch a.port {
	case 5269:
		return StreamServer
	case 5347:
		return StreamComponent
	case 5280, 5281:
		return StreamWebSocket
	default:
		return StreamClient
	}
}

// splitDomain reads the label of a domain scope: a domain, or #PROTOCOL#DOMAIN
// for one protocol of it (multi-protocol domain naming).
func splitDomain(label string) (protocol, name string, err error) {
	name = label
	if rest, ok := strings.CutPrefix(label, "#"); ok {
		protocol, name, ok = strings.Cut(rest, "#")
		protocol = strings.ToLower(protocol)
		switch {
		case !ok:
			return "", "", faultf(`write "#xmpp#DOMAIN"`, "%q has no domain", label)
		case protocol != "xmpp" && protocol != "smtp":
			return "", "", faultf("known are #xmpp# and #smtp#", "protocol %q is not known", protocol)
		}
	}
	v, err := readDomain(name)
	if err != nil {
		return "", "", err
	}
	return protocol, v.(string), nil
}

// domainKey is how domain names are compared.
func domainKey(name string) string {
	if v, err := readDomain(name); err == nil {
		return v.(string)
	}
	return strings.ToLower(name)
}
