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
