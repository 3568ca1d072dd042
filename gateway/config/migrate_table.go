package config

// oldThing is an option or scope of the system being replaced that this gateway has not,
// and why.
type oldThing struct{ reason, hint string }

// Reasons that many have in common.
var (
	oldLog      = oldThing{"there is one log, on stderr, with one line for each outcome of a message", "xmpp_logger writes stanzas; trace has the life of a message"}
	oldStore    = oldThing{"accounts are in files (file://, digest://) or in the built-in store", "mcmt2xmpp user add, or a password file"}
	oldSpam     = oldThing{"mail is not judged here", "leave it to the mail server before the gateway, which may pass MCMT on"}
	oldCluster  = oldThing{"processes share the work over a NATS cluster", "nats { urls = ( … ) }"}
	oldScript   = oldThing{"scripts are in Lua", "scriptlet { script \"name\" { source = … } } with the functions in README"}
	oldProtocol = oldThing{"the protocol is not spoken: messages come as MCMT by SMTP or HTTP, and leave for Jabber or as mail", "have the sender inject MCMT, with an SMS or MM7 part"}
	oldSigning  = oldThing{"mail is not signed here", "relay { gateway = … } to a smart host that signs"}
	oldProcess  = oldThing{"user, group, rights and limits of the process are its service manager's", "deploy/systemd/mcmt2xmpp.service"}
	oldSpool    = oldThing{"messages are kept in JetStream", "data_dir, and nats { max_store = … }"}
	oldQueue    = oldThing{"messages in custody are on disk: memory does not bound them", "nats { max_store = … } bounds the disk"}
	oldBinding  = oldThing{"connections leave from the address that the system chooses", "the routing of the system"}
	oldBounce   = oldThing{"notifications follow RFC 3461: what a sender has asked for by NOTIFY", ""}
)

// oldScopes are scopes and modules of the old system.
var oldScopes = map[string]oldThing{
	"ec_logger": oldLog, "bounce_logger": oldLog, "chunk_logger": oldLog, "custom_logger": oldLog, "custom_bounce_logger": oldLog,
	"syslog": oldLog, "smpp_logger": oldLog, "mm7_logger": oldLog, "inbound_audit": oldLog, "outbound_audit": oldLog,
	"auth_ds": oldStore, "auth_ldap": oldStore, "auth_radius": oldStore, "datasource": oldStore, "ds_core": oldStore, "ldap": oldStore,
	"antivirus": oldSpam, "brightmail": oldSpam, "clamav": oldSpam, "cloudmark": oldSpam, "commtouch_ctasd": oldSpam, "csapi": oldSpam,
	"dkim_validate": oldSpam, "domainkeys_validate": oldSpam, "senderid": oldSpam, "sophos": oldSpam, "spf_v1": oldSpam, "spf_macros": oldSpam,
	"cluster": oldCluster, "eccluster_listener": oldCluster, "ecstream_listener": oldCluster, "msgc_server": oldCluster, "msgc_client": oldCluster,
	"replicate": oldCluster, "subcluster": oldCluster, "node": oldCluster,
	"sieve": oldScript, "perl": oldScript, "java": oldScript,
	"smpp": oldProtocol, "mm7": oldProtocol, "mobility": oldProtocol,
	"domainkeys_sign": oldSigning, "opendkim": oldSigning,
	"security":   oldProcess,
	"host":       {"how one address is reached is not set by itself", "domain \"…\" { … } for Jabber, relay { … } for mail"},
	"host_group": {"how one address is reached is not set by itself", "domain \"…\" { … } for Jabber, relay { … } for mail"},
	"riak":       {"rosters are in JetStream", "mcmt2xmpp migrate --rosters imports the records"},
	"snmp":       {"numbers are at /metrics, for Prometheus", "deploy/prometheus and deploy/grafana"},
	"alerting":   {"numbers are at /metrics, for Prometheus", "deploy/prometheus and deploy/grafana"},
	"adaptive":   {"a domain's rate is set, or follows from what it answers", "outbound_throttle_messages and retry_interval in a domain scope"},
}

// oldScope says why a scope is not here.
func oldScope(name string) (reason, hint string) {
	if t, ok := oldScopes[name]; ok {
		return t.reason, t.hint
	}
	return "there is no such scope or module here", didYouMean(name, everywhere.names()[1:])
}

// oldOptions are options of the old system, in whatever scope.
var oldOptions = map[string]oldThing{
	"spool_base": oldSpool, "spool_mode": oldSpool, "suppress_spool": {"nothing is answered before it is stored", ""},
	"max_resident_active_queue": oldQueue, "max_resident_messages": oldQueue, "server_reserve_maximum": oldProcess,
	"authloginparameters":   {"LOGIN is offered beside PLAIN, from the same accounts", "authplainparameters"},
	"authcrammd5parameters": {"CRAM-MD5 is not offered: SCRAM is, from the same accounts", "authplainparameters"},
	"bind_address":          oldBinding, "bind_address_v6": oldBinding,
	"bounce_behavior": oldBounce, "generate_bounces": oldBounce, "generate_delay_dsn": oldBounce, "bounce_domains": oldBounce,
	"debug_flags":   {"what is logged is a level", "log_level, and debug_level of a module"},
	"ehlo_hostname": {"there is one name of the gateway", "hostname"}, "banner_hostname": {"there is one name of the gateway", "hostname"},
	"esmtp_hostname":                {"there is one name of the gateway", "hostname"},
	"open_relay":                    {"nobody can make this gateway an open relay", "relay_hosts, relay_domains, or authentication"},
	"outbound_throttle_connections": {"connections are bounded by their number", "max_outbound_connections"},
	"inbound_throttle_messages":     {"what comes in is bounded by address", "max_message_rate over HTTP; a filter of type rate"},
	"inbound_throttle_connections":  {"what comes in is bounded by address", "max_connections_per_address"},
	"delivery_method":               {"a domain with an xmpp_role is Jabber's, all others are mail's", ""},
	"pid_file":                      oldProcess, "pidfile": oldProcess, "group": oldProcess,
	"timezone": oldProcess,
}

// oldWords are words of the old system that are called otherwise here, by option.
var oldWords = map[string]map[string]string{
	"debug_level": {"notice": "info", "warning": "warn", "critical": "error"},
}

// alsoRelay are options that the old system has outside of scopes for all that it sends,
// and this one for Jabber alone: relay has its own.
var alsoRelay = map[string]bool{"retry_interval": true, "max_retry_interval": true}

// scopeNotes are scopes that go by the same name and are not the same.
var scopeNotes = map[string]string{
	"control_listener": "speaks HTTP here (health, metrics, JSON): the console of the old system cannot connect",
	"http_listener":    "takes messages by HTTP here, by the paths in README; what else the old one served is not there",
}
