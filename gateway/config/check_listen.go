package config

// checkOverlaps reports listen scopes that cannot be open at once.
func (t *tree) checkOverlaps(c *Config) {
	for i, l := range c.Listeners {
		a, _ := parseAddress(l.Address)
		for _, earlier := range c.Listeners[:i] {
			b, _ := parseAddress(earlier.Address)
			if l.Enable && earlier.Enable && a.overlaps(b) {
				t.report.errorf(l.Pos, "", "%s is listened on already, at %s", l.Address, earlier.Pos)
				break
			}
		}
	}
}

// checkPeer reports options that contradict each other in one scope, and what
// the files they name lack. An option that holds in many scopes is reported once.
func (t *tree) checkPeer(l *Listen, v view) {
	certificate := v.text("tls_certificate")
	switch {
	case certificate == none && l.UseSSL:
		t.report.errorf(v.pos("tls_certificate"), "", "use_ssl needs a certificate: tls_certificate is none, use_ssl is set at %s", v.pos("use_ssl"))
	case certificate == none && v.text("tls_verify_mode") == "require":
		t.report.errorf(v.pos("tls_verify_mode"), "", "a client certificate cannot be required without TLS: tls_certificate is none")
	case certificate == "" && v.set("tls_key") != nil:
		t.report.errorf(v.pos("tls_key"), "set tls_certificate too", "tls_key without tls_certificate")
	case certificate != "" && certificate != none:
		t.checkKeyPair(v)
	}
	if s := v.set("tls_client_ca"); s != nil {
		t.checkAuthorities(s)
	}
	for _, name := range []string{"authplainparameters", "authdigestmd5parameters"} {
		if s := v.set(name); s != nil {
			t.checkStore(s)
		}
	}
	t.checkLogin(l, v)
}

// checkLogin notes which account store a client listener uses when none is
// written: the chapter demands one, here the built-in store is the default.
func (t *tree) checkLogin(l *Listen, v view) {
	if l.Kind != XMPPStreams || !l.Clients() || v.chain[0].scope.bit == inPeer {
		return
	}
	if v.set("authplainparameters") == nil && v.set("authdigestmd5parameters") == nil {
		t.report.notef(v.chain[0].listener().pos, "", "accounts are those of the built-in store, nats://accounts: neither authplainparameters nor authdigestmd5parameters is set")
	}
}

// checkNATS reports options of one kind of broker that are set for the other.
func (t *tree) checkNATS(v view) {
	external := v.set("urls") != nil
	for _, o := range table {
		s := v.chain[0].settings[o.name]
		if s == nil || s.bad || s.option != o {
			continue
		}
		switch o.name {
		case "credentials", "user", "password", "token", "tls_ca", "tls_certificate", "tls_key", "slices", "events", "events_deferred", "events_expiration", "events_size":
			if !external {
				t.report.errorf(s.pos, "add urls, or leave it out", "%s is for an external cluster, but the broker is embedded", o.name)
			}
		case "max_store", "max_memory", "disk_reserve":
			if external {
				t.report.errorf(s.pos, "set it on the servers", "%s is for the embedded broker, but urls is set", o.name)
			}
		case "replicas":
			if !external && s.value.(int) > 1 {
				t.report.errorf(s.pos, "", "the embedded broker keeps one replica; more need urls")
			}
		}
	}
	t.checkNATSFiles(v)
	if v.set("user") == nil && v.set("password") != nil {
		t.report.errorf(v.pos("password"), "", "password without user")
	}
	var first *setting
	for _, name := range []string{"credentials", "user", "token"} {
		s := v.set(name)
		if s != nil && first != nil {
			t.report.errorf(s.pos, "", "%s and %s exclude each other", first.option.name, name)
		}
		if first == nil {
			first = s
		}
	}
}

// checkSockets warns about listeners that have no socket.
func (t *tree) checkSockets() {
	for _, n := range t.root.of(inListeners) {
		if len(n.children) == 0 || len(n.of(inListen)) == 0 && len(n.children) == len(n.of(inPeer)) {
			t.report.warnf(n.pos, `add listen "ADDRESS:PORT" {}`, "%s listens nowhere: it has no listen scope", n.scope.name)
		}
	}
}

// checkPool warns about a bound that does not hold because a thread pool's does.
func (t *tree) checkPool(v view) {
	if own, pool := v.set("concurrency"), v.set("pool_name"); own != nil && pool != nil {
		t.report.warnf(own.pos, "", "concurrency has no effect: that of threadpool %s holds, by pool_name at %s", pool.text, pool.pos)
	}
}
