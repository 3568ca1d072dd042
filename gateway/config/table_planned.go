package config

// inOutgoing is where options for what we send are set.
const inOutgoing = inGlobal | inDomain | inRelay

// yesNo are the words of a boolean-like enum of the field.
var (
	tlsWords    = []string{"no", "ifavailable", "required"}
	verifyWords = []string{"no", "ca", "host"}
)

// plannedOptions are accepted and checked, so that a file can be written for all
// of the product, and say when they are set that they have no effect yet.
var plannedOptions = []*option{
	// What happens to mail and to what cannot be delivered.
	{name: "digest_window", kind: kindDuration, def: "0", scopes: inGlobal | inDomain, planned: everywhere,
		doc: "chat lines of one conversation within so many seconds go as one mail; 0: each goes alone"},
	{name: "fallback", kind: kindEnum, words: []string{"none", "email"}, def: "none", scopes: inGlobal | inDomain, planned: everywhere,
		doc: "what becomes of a message that cannot be delivered: its e-mail part is relayed, or nothing"},
	{name: "fallback_after", kind: kindDuration, def: "300", scopes: inGlobal | inDomain, planned: everywhere,
		doc: "how long a recipient is offline before the fallback"},
	{name: "mail_format", kind: kindEnum, words: []string{"plain", "mcmt"}, def: "plain", scopes: inOutgoing, planned: everywhere,
		doc: "form of mail made from Jabber messages"},
	{name: "mail_media", kind: kindEnum, words: []string{"link", "attach"}, def: "link", scopes: inGlobal, planned: everywhere,
		doc: "files that Jabber messages offer become links in mail, or are fetched and attached to it"},
	{name: "relay_domains", kind: kindDomain, list: true, scopes: inGlobal, planned: everywhere,
		doc: "domains that anybody may relay mail to"},

	// The smart host.
	{name: "retry_interval", kind: kindDuration, def: "1200", min: 1, scopes: inRelay, planned: everywhere,
		doc: "pause before the first retry of a mail; doubles, with jitter"},
	{name: "max_retry_interval", kind: kindDuration, def: "43200", min: 1, scopes: inRelay, planned: everywhere,
		doc: "longest pause between retries of a mail"},
	{name: "user", kind: kindString, scopes: inRelay, planned: everywhere,
		doc: "user name at the smart host"},
	{name: "password", kind: kindString, secret: true, scopes: inRelay | inLink, planned: inRelay,
		doc: "password at the other server"},

	// Scripts.
	{name: "source", kind: kindPath, scopes: inScript, planned: everywhere,
		doc: "the Lua file"},

	// The xmpp_logger.
	{name: "logfile", kind: kindPath, scopes: inXMPPLogger, planned: everywhere, doc: "the file to write"},
	{name: "logmode", kind: kindMode, def: "0660", scopes: inXMPPLogger, planned: everywhere, doc: "access rights of logfile, octal"},
	{name: "heartbeat", kind: kindDuration, def: "60", scopes: inXMPPLogger, planned: everywhere, doc: "pause between heartbeat lines; 0: none"},
	{name: "log_heartbeat_format", kind: kindString, def: "\"%t+M\"", scopes: inXMPPLogger, planned: everywhere, doc: "format of heartbeat lines"},
	logLine("log_delivery", "true", "stanzas sent"), logFormat("log_delivery", "D"),
	logLine("log_reception", "true", "stanzas received"), logFormat("log_reception", "R"),
	logLine("log_filtered", "false", "stanzas filtered"), logFormat("log_filtered", "F"),
	logLine("log_failed", "false", "stanzas that failed for good"), logFormat("log_failed", "P"),
	logLine("log_deferred", "false", "stanzas deferred"), logFormat("log_deferred", "T"),
	logLine("log_relayed", "false", "messages relayed as mail"), logFormat("log_relayed", "L"),
	logLine("log_expired", "false", "messages that expired"), logFormat("log_expired", "E"),
}

// logLine is the row of an xmpp_logger option that switches one kind of line.
func logLine(name, def, what string) *option {
	return &option{name: name, kind: kindBoolean, def: def, scopes: inXMPPLogger, planned: everywhere, doc: "log " + what}
}

// logFormat is the row of an xmpp_logger option that shapes one kind of line.
func logFormat(name, letter string) *option {
	return &option{name: name + "_format", kind: kindString, def: `"%t+` + letter + `+%st+%at+%af+%ai+%ay+%H"`,
		scopes: inXMPPLogger, planned: everywhere, doc: "format of the lines of " + name}
}
