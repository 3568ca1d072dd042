package app

import (
	"reflect"
	"slices"

	"mcmt2xmpp/gateway/config"
)

// needsRestart names the changes that a reload does not bring about.
func needsRestart(old, new *state) []string {
	var all []string
	for _, o := range fixedOptions {
		if !reflect.DeepEqual(o.of(old.cfg), o.of(new.cfg)) {
			all = append(all, o.name)
		}
	}
	for key, l := range new.listens {
		before, ok := old.listens[key]
		switch {
		case !ok && Served(l):
			all = append(all, key.String()+" is new")
		case ok && Served(before) != Served(l):
			all = append(all, key.String()+" is switched")
		case ok && Served(l):
			for _, o := range fixedListenOptions {
				if !reflect.DeepEqual(o.of(before), o.of(l)) {
					all = append(all, key.String()+": "+o.name)
				}
			}
		}
	}
	for key, l := range old.listens {
		if _, ok := new.listens[key]; !ok && Served(l) {
			all = append(all, key.String()+" is gone")
		}
	}
	slices.Sort(all)
	return all
}

// fixedOptions are what the process takes from the configuration once.
var fixedOptions = []struct {
	name string
	of   func(*config.Config) any
}{
	{"data_dir", func(c *config.Config) any { return c.DataDir }},
	{"hostname", func(c *config.Config) any { return c.Hostname }},
	{"log_level, log_format", func(c *config.Config) any { return c.Log }},
	{"debug_level", func(c *config.Config) any { return c.XMPP.DebugLevel }},
	{"max_sessions_per_account", func(c *config.Config) any { return c.XMPP.MaxSessionsPerAccount }},
	{"max_suspended_per_account", func(c *config.Config) any { return c.XMPP.MaxSuspendedPerAccount }},
	{"max_suspended_sessions", func(c *config.Config) any { return c.XMPP.MaxSuspendedSessions }},
	{"what is kept for accounts: archive…, max_blocked_per_account, max_private_…, max_roster_…, max_upload_size, max_vcard_size, upload_…", func(c *config.Config) any { return c.Accounts }},
	{"media_expiration, media_size", func(c *config.Config) any {
		return config.Media{Size: c.Media.Size, Expiration: c.Media.Expiration}
	}},
	{"message_expiration of dead messages", func(c *config.Config) any { return c.MessageExpiration }},
	{"trace_expiration", func(c *config.Config) any { return c.TraceExpiration }},
	{"nats", func(c *config.Config) any { return c.NATS }},
	{"threadpool", func(c *config.Config) any { return c.ThreadPools }},
	{"domains of the self-signed certificate and of users without a domain in account files", func(c *config.Config) any { return c.ServedDomains() }},
}

// fixedListenOptions are what a socket takes from its scope when it is opened.
var fixedListenOptions = []struct {
	name string
	of   func(*config.Listen) any
}{
	{"stream", func(l *config.Listen) any { return l.Stream }},
	{"use_ssl", func(l *config.Listen) any { return l.UseSSL }},
	{"listen_backlog", func(l *config.Listen) any { return l.ListenBacklog }},
	{"accept_queue_backlog", func(l *config.Listen) any { return l.AcceptQueueBacklog }},
	{"events_per_iter", func(l *config.Listen) any { return l.EventsPerIter }},
	{"concurrency", func(l *config.Listen) any { return l.Concurrency }},
	{"pool_name", func(l *config.Listen) any { return l.Pool }},
	{"file_mode", func(l *config.Listen) any { return l.FileMode }},
	{"disable_nagle_algorithm", func(l *config.Listen) any { return l.DisableNagle }},
	{"tcp_recv_buffer_size", func(l *config.Listen) any { return l.TCPRecvBuffer }},
	{"tcp_send_buffer_size", func(l *config.Listen) any { return l.TCPSendBuffer }},
	{"max_connections", func(l *config.Listen) any { return l.MaxConnections }},
	{"max_connections_per_address", func(l *config.Listen) any { return l.MaxConnectionsPerAddress }},
}
