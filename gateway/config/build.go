package config

import (
	"regexp"
	"strings"
)

// build makes the typed result. The tree may still be full of errors: then the
// result is thrown away, but what building finds is reported with the rest.
func (t *tree) build() *Config {
	g := t.view(t.root)
	c := &Config{
		DataDir:  g.text("data_dir"),
		Hostname: g.text("hostname"),
		Log:      Log{Level: levels[g.text("log_level")], Format: formats[g.text("log_format")]},
		MCMT: MCMT{
			Preference:  g.words("mcmt_preference"),
			MessageType: g.text("xmpp_message_type"),
		},
		Media:             Media{Size: g.size("media_size"), Expiration: g.duration("media_expiration"), Attach: g.text("mail_media") == "attach"},
		MailGatewayDomain: g.text("mail_gateway_domain"),
		MessageExpiration: g.duration("message_expiration"),
		TraceExpiration:   g.duration("trace_expiration"),
		outgoing:          g.outgoing(),
		DenyUnknown:       g.text("s2s_default") == "deny",
		Resolvers:         g.words("resolvers"),
		RelayDomains:      g.words("relay_domains"),
		ThreadPools:       make(map[string]int),
		domains:           make(map[string]*Domain),
		tree:              t,
	}
	for _, typ := range g.words("mcmt_xmpp_types") {
		c.MCMT.XMPPTypes = append(c.MCMT.XMPPTypes, strings.ToLower(typ))
	}
	for _, n := range t.root.of(inThreadpool) {
		c.ThreadPools[strings.ToLower(n.label)] = t.view(n).number("concurrency")
	}
	t.buildXMPP(c)
	t.buildNATS(c)
	t.buildDomains(c)
	t.buildListeners(c)
	t.buildOperators(c)
	t.buildLinks(c)
	t.buildRelay(c)
	t.buildMail(c)
	t.buildMaps(c)
	t.buildFilters(c)
	t.buildScripts(c)
	t.buildWebhooks(c)
	t.buildLoggers(c)
	return c
}

var (
	levels  = map[string]LogLevel{"debug": LogDebug, "info": LogInfo, "warn": LogWarn, "error": LogError}
	formats = map[string]LogFormat{"auto": LogAuto, "console": LogConsole, "json": LogJSON}
)

func (t *tree) buildXMPP(c *Config) {
	g := t.view(t.root)
	c.XMPP.MaxSessionsPerAccount = g.number("max_sessions_per_account")
	c.XMPP.MaxSuspendedPerAccount = g.number("max_suspended_per_account")
	c.XMPP.MaxSuspendedSessions = g.number("max_suspended_sessions")
	c.Accounts = Accounts{
		Archive:           g.text("archive"),
		ArchiveExpiration: g.duration("archive_expiration"),
		ArchiveSize:       g.size("archive_size"),
		MaxUploadSize:     g.size("max_upload_size"), UploadQuota: g.size("upload_quota"), UploadSize: g.size("upload_size"),
		UploadURL: g.text("upload_url"), UploadExpiration: g.duration("upload_expiration"),
		ArchivePage:        g.number("archive_page"),
		MaxBlocked:         g.number("max_blocked_per_account"),
		MaxRosterContacts:  g.number("max_roster_contacts"),
		MaxRosterGroups:    g.number("max_roster_groups"),
		MaxRosterRequests:  g.number("max_roster_requests"),
		MaxRosterSize:      g.size("max_roster_size"),
		MaxPrivateElements: g.number("max_private_elements"),
		MaxPrivateSize:     g.size("max_private_size"),
		MaxVCardSize:       g.size("max_vcard_size"),
	}
	for _, n := range t.root.of(inXMPP) {
		v := t.view(n)
		c.XMPP.Enabled = v.flag("enabled")
		if v.set("debug_level") != nil {
			level := levels[v.text("debug_level")]
			c.XMPP.DebugLevel = &level
		}
	}
}

func (t *tree) buildNATS(c *Config) {
	c.NATS.Replicas = 1
	for _, n := range t.root.of(inNATS) {
		v := t.view(n)
		c.NATS = NATS{
			URLs:        v.words("urls"),
			Replicas:    v.number("replicas"),
			Slices:      v.number("slices"),
			Credentials: v.text("credentials"),
			User:        v.text("user"),
			Password:    Secret(v.text("password")),
			Token:       Secret(v.text("token")),
			TLSCA:       v.text("tls_ca"),
			TLSCert:     v.text("tls_certificate"),
			TLSKey:      v.text("tls_key"),
			Durability:  v.text("durability"),
			MaxStore:    v.size("max_store"),
			MaxMemory:   v.size("max_memory"),
			DiskReserve: v.size("disk_reserve"),
		}
		if len(c.NATS.URLs) > 0 && v.flag("events") {
			c.NATS.Events = NATSEvents{Size: v.size("events_size"), Expiration: v.duration("events_expiration"), Deferred: v.flag("events_deferred")}
		}
		if c.NATS.TLSKey == "" {
			c.NATS.TLSKey = c.NATS.TLSCert
		}
		t.checkNATS(v)
	}
}

func (v view) rate(name string) Rate {
	r := as[rate](v, name)
	return Rate{r.count, r.per}
}

func (v view) outgoing() Outgoing {
	return Outgoing{
		RetryInterval:    v.duration("retry_interval"),
		MaxRetryInterval: v.duration("max_retry_interval"),
		Expiration:       v.duration("message_expiration"),
		Fallback:         v.text("fallback") == "email",
		FallbackAfter:    v.duration("fallback_after"),
		DelayWarning:     v.duration("delay_warning"),
		Throttle:         v.rate("outbound_throttle_messages"),
		Streams:          v.streams(),
	}
}

// buildDomains makes one Domain for each name that speaks XMPP, from all the
// scopes that name it.
func (t *tree) buildDomains(c *Config) {
	for _, n := range t.root.of(inDomain) {
		name := n.domain
		if n.protocol == "smtp" {
			continue
		}
		if d := c.domains[name]; d != nil && n.protocol == "" {
			continue // falls behind #xmpp# of the same name, which was there before
		}
		v := t.view(n)
		d := &Domain{
			Name:            name,
			Role:            map[string]Role{"server": RoleServer, "client": RoleClient}[v.text("xmpp_role")],
			DialbackSecret:  Secret(v.text("xmpp_dialback_secret")),
			ComponentSecret: Secret(v.text("component_secret")),
			Outgoing:        v.outgoing(),
			Pos:             n.pos,
		}
		if old := c.domains[name]; old != nil {
			*old = *d
			continue
		}
		c.domains[name] = d
		c.Domains = append(c.Domains, d)
	}
	if served := c.ServedDomains(); c.MailGatewayDomain == "" && len(served) > 0 {
		c.MailGatewayDomain = "mail." + served[0]
	}
	t.checkDomains(c)
	t.checkUploads(c)
}

func (t *tree) buildMaps(c *Config) {
	for _, n := range t.root.of(inRecipientMap) {
		v := t.view(n)
		match, _ := v.get("match").(*regexp.Regexp)
		m := RecipientMap{Name: n.label, Match: match, JID: v.text("jid"), Pos: n.pos}
		if t.checkMap(n, v, m) {
			c.RecipientMaps = append(c.RecipientMaps, m)
		}
	}
}
