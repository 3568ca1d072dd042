package config

import (
	"net/netip"
	"slices"
	"strings"

	"mcmt2xmpp/mcmt"
)

// buildListeners resolves every listen scope for every peer scope that its
// connections may fall into.
func (t *tree) buildListeners(c *Config) {
	for _, n := range t.root.of(inListeners) {
		for _, ln := range n.of(inListen) {
			if l := t.buildListen(n, ln); l != nil {
				l.Enable = l.Enable && (l.Kind != XMPPStreams || c.XMPP.Enabled)
				c.Listeners = append(c.Listeners, l)
			}
		}
	}
	t.checkOverlaps(c)
}

var listenerKinds = map[scopeSet]ListenerKind{
	inESMTPListener: ESMTP, inHTTPListener: HTTP, inXMPPListener: XMPPStreams, inControlListener: Control,
}

func (t *tree) buildListen(n, ln *node) *Listen {
	a, err := parseAddress(ln.label)
	if err != nil {
		return nil // reported by checkLabels
	}
	v := t.view(ln)
	l := &Listen{
		Kind:                     listenerKinds[n.scope.bit],
		Address:                  ln.label,
		Enable:                   v.flag("enable"),
		UseSSL:                   v.flag("use_ssl"),
		ListenBacklog:            v.number("listen_backlog"),
		AcceptQueueBacklog:       v.number("accept_queue_backlog"),
		EventsPerIter:            v.number("events_per_iter"),
		FileMode:                 t.view(n).mode("file_mode"),
		TCPRecvBuffer:            int(v.size("tcp_recv_buffer_size")),
		TCPSendBuffer:            int(v.size("tcp_send_buffer_size")),
		MaxConnections:           v.number("max_connections"),
		MaxConnectionsPerAddress: v.number("max_connections_per_address"),
		Pos:                      ln.pos,
	}
	if a.path != "" {
		l.Address = absolute(a.path, ln.dir)
	}
	if v.set("disable_nagle_algorithm") != nil {
		disable := v.flag("disable_nagle_algorithm")
		l.DisableNagle = &disable
	}
	if l.Kind == XMPPStreams {
		l.Concurrency, l.Pool = v.number("concurrency"), strings.ToLower(v.text("pool_name"))
		t.checkPool(v)
		if l.Stream = v.text("stream"); l.Stream == "" {
			l.Stream = a.defaultStream()
		}
	}
	t.buildPeers(l, n, ln)
	return l
}

// buildPeers resolves the options for each peer scope of the listen scope and of
// its listener. Where both have the same range they make one: the listen scope's
// goes first.
func (t *tree) buildPeers(l *Listen, n, ln *node) {
	own := t.view(ln)
	l.base = t.peerEntry(l, own)
	for _, p := range append(ln.of(inPeer), n.of(inPeer)...) {
		prefix, err := peerPrefix(p.label)
		if err != nil || l.peer(prefix) != nil {
			continue // reported by checkLabels, or taken in with the listen scope's
		}
		e := t.peerEntry(l, t.peerView(own, n, ln, prefix))
		e.prefix = prefix
		l.peers = append(l.peers, e)
	}
	slices.SortStableFunc(l.peers, func(a, b *peerEntry) int { return b.prefix.Bits() - a.prefix.Bits() })
}

// peer returns the entry for exactly that range.
func (l *Listen) peer(prefix netip.Prefix) *peerEntry {
	for _, e := range l.peers {
		if e.prefix == prefix {
			return e
		}
	}
	return nil
}

// peerView is what holds for a range in a listen scope.
func (t *tree) peerView(own view, n, ln *node, prefix netip.Prefix) view {
	v := view{in: inListen}
	for _, p := range append(ln.of(inPeer), n.of(inPeer)...) {
		if other, err := peerPrefix(p.label); err == nil && other == prefix {
			v.chain = append(append(v.chain, p), t.taken(p)...)
		}
	}
	v.chain = append(v.chain, own.chain...)
	return v
}

// peerPrefix reads the label of a peer scope.
func peerPrefix(label string) (netip.Prefix, error) {
	v, err := readCIDR(label)
	if err != nil {
		return netip.Prefix{}, err
	}
	return v.(netip.Prefix), nil
}

var (
	receptions  = map[string]mcmt.Reception{"passthru": mcmt.PassThrough, "allow": mcmt.Allow, "reject": mcmt.Reject}
	conflicts   = map[string]Conflict{"replace": ConflictReplace, "refuse": ConflictRefuse, "rename": ConflictRename}
	verifyModes = map[string]VerifyMode{"none": VerifyNone, "require": VerifyRequire}
)

// peerEntry resolves what depends on the peer.
func (t *tree) peerEntry(l *Listen, v view) *peerEntry {
	o := PeerOptions{
		AlwaysDeny:           v.flag("always_deny"),
		IdleTime:             v.duration("idle_time"),
		MCMTReception:        receptions[v.text("mcmt_reception")],
		KeepPartFrom:         v.text("xmpp_part_from") == "keep",
		AuthPlain:            v.text("authplainparameters"),
		AuthDigestMD5:        v.text("authdigestmd5parameters"),
		AllowExternal:        v.flag("allow_external"),
		AllowPlainWithoutTLS: v.flag("allow_plain_without_tls"),
		TLSCertificate:       v.text("tls_certificate"),
		TLSKey:               v.text("tls_key"),
		TLSCiphers:           as[[]uint16](v, "tls_ciphers"),
		TLSClientCA:          v.text("tls_client_ca"),
		TLSVerifyMode:        verifyModes[v.text("tls_verify_mode")],
		MaxMessageSize:       v.size("max_message_size"),
		MaxRecipients:        v.number("max_recipients_per_batch"),
		MaxStanzaSize:        int(v.size("max_stanza_size")),
		MaxPreAuthSize:       int(v.size("max_preauth_size")),
		MaxElementDepth:      v.number("max_element_depth"),
		MaxAttributes:        v.number("max_attributes"),
		AuthTimeout:          v.duration("auth_timeout"),
		MaxFailedLogins:      v.number("max_failed_logins"),
		MaxPreAuthBytes:      v.size("max_preauth_bytes"),
		StanzaRate:           v.rate("stanza_rate"),
		ByteRate:             v.rate("byte_rate"),
		StanzaTime:           v.duration("stanza_time"),
		FailedLoginDelay:     v.duration("failed_login_delay"),
		FailedLoginWindow:    v.duration("failed_login_window"),
		FailedPerAddress:     v.number("max_failed_logins_per_address"),
		FailedPerAccount:     v.number("max_failed_logins_per_account"),
		ResourceConflict:     conflicts[v.text("resource_conflict")],
		ResumeTime:           v.duration("resume_time"),
		ResumeLocation:       v.text("resume_location"),
		MaxHeld:              v.number("max_held_stanzas"),
		MaxUnackedStanzas:    v.number("max_unacked_stanzas"),
		MaxUnackedSize:       int(v.size("max_unacked_size")),
		Origins:              v.words("allowed_origins"),
		WebSocketURL:         v.text("websocket_url"),
		TrustedProxies:       v.cidrs("trusted_proxies"),
		MaxRequests:          v.number("max_concurrent_requests"),
		MessageRate:          v.number("max_message_rate"),
		MessageBurst:         v.number("max_message_burst"),
		LocalRole:            operatorRoles[v.text("local_role")],
		RequestRate:          v.rate("request_rate"),
	}
	for _, token := range v.words("bearer_token") {
		o.BearerTokens = append(o.BearerTokens, Secret(token))
	}
	if o.AuthPlain == "" && o.AuthDigestMD5 == "" && l.Kind != Control {
		o.AuthPlain = builtInStore
	}
	t.checkPeer(l, v)
	switch {
	case o.TLSCertificate == none:
		o.NoTLS, o.TLSCertificate, o.TLSKey = true, "", ""
	case o.TLSKey == "":
		o.TLSKey = o.TLSCertificate
	}
	if l.Kind == HTTP {
		o.MCMTReception = mcmt.Allow // whoever posts to it knows the type
	}
	trusted := o
	trusted.Trusted = true
	return &peerEntry{relayHosts: v.cidrs("relay_hosts"), trusted: &trusted, untrusted: &o}
}

// builtInStore is the account store that goes without saying.
const builtInStore = "nats://accounts"
