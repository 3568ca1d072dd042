-- Prosody 0.12 on loopback. What stands between @ signs is filled in; the hosts
-- follow.
run_as_root = true
interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { @C2S@ }
s2s_ports = { @S2S@ }
s2s_direct_tls_ports = { @DIRECT@ }
component_ports = { @COMPONENT@ }
http_ports = {}
https_ports = {}
data_path = "@DIR@/data"
certificates = "@DIR@/certs"
ssl = { cafile = "@CA@" }
pidfile = "@DIR@/prosody.pid"
log = { debug = "*stdout" }

-- Names are asked of the test's DNS only. lua-unbound refuses resolvers on
-- loopback by default.
unbound = {
	resolvconf = false; hoststxt = false;
	forward = { "@RESOLVER@" };
	options = { ["do-not-query-localhost:"] = "no" };
}

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "presence"; "message"; "iq"; "offline"; "carbons"; "ping"; "smacks"; "s2s";
	@DIALBACK@ @BIDI@
}
modules_disabled = { "s2s_auth_dane_in" }
authentication = "internal_plain" -- no PBKDF2, which takes time
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_allow_encryption = @TLS@
s2s_require_encryption = @TLS@
s2s_secure_auth = @CERTS@
s2s_timeout = 20
network_settings = { tcp_backlog = 1024 }

