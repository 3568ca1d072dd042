package config

import (
	"io/fs"
	"path/filepath"
	"time"

	"mcmt2xmpp/xmpp/xmpplog"
)

// Logger is one xmpp_logger that is switched on.
type Logger struct {
	Name string // as written; xmpp_logger where it has none
	File string
	Mode fs.FileMode
	// Heartbeat is the pause between heartbeats. Zero: there are none.
	Heartbeat time.Duration
	// Formats are those of the kinds that are logged.
	Formats map[xmpplog.Kind]*xmpplog.Format
	Level   *LogLevel // of what the logger says of itself
	Pos     Position
}

// loggerOptions hold for an xmpp_logger. Those of the first group are of the field.
var loggerOptions = []*option{
	{name: "logfile", kind: kindPath, def: `"/var/log/ecelerity/xmpplog.ec"`, scopes: inXMPPLogger,
		doc: "the file to write; opened anew on SIGHUP. Several loggers may write to one"},
	{name: "logmode", kind: kindMode, def: "0644", scopes: inXMPPLogger,
		doc: "access rights of logfile, octal"},
	{name: "heartbeat", kind: kindDuration, def: "60", scopes: inXMPPLogger,
		doc: "pause between heartbeat lines; 0: none"},
	{name: "log_heartbeat_format", kind: kindString, def: `"%t+M"`, scopes: inXMPPLogger,
		doc: "format of heartbeat lines: %t"},
	{name: "namespace", kind: kindString, defDoc: "none", scopes: inXMPPLogger, inert: "a logger sees all streams and all messages",
		doc: "accepted where a file brings it along; no effect"},
	logLine("log_delivery", "true", "what streams send: stanzas, stream headers and stream errors"),
	logFormat("log_delivery", "D", ""),
	logLine("log_reception", "true", "what streams receive"),
	logFormat("log_reception", "R", ""),

	logLine("log_filtered", "false", "stanzas that filters drop"),
	logFormat("log_filtered", "F", "+%xf+%xr"),
	logLine("log_failed", "false", "messages that failed for good"),
	logFormat("log_failed", "P", "+%xr"),
	logLine("log_deferred", "false", "messages that wait for their recipient"),
	logFormat("log_deferred", "T", "+%xn+%xr"),
	logLine("log_relayed", "false", "messages that a mail server took"),
	logFormat("log_relayed", "L", ""),
	logLine("log_expired", "false", "messages that waited too long"),
	logFormat("log_expired", "E", "+%xr"),
}

// logLine is the row of an option that switches one kind of line.
func logLine(name, def, what string) *option {
	return &option{name: name, kind: kindBoolean, def: def, scopes: inXMPPLogger, doc: "log " + what}
}

// logFormat is the row of an option that shapes one kind of line; more is what its
// default has beyond the format of the field.
func logFormat(name, letter, more string) *option {
	return &option{name: name + "_format", kind: kindString, def: `"%t+` + letter + `+%st+%at+%af+%ai+%ay+%H` + more + `"`,
		scopes: inXMPPLogger, doc: "format of the lines of " + name}
}

// logged are the options that switch the kinds of lines. Heartbeats have none.
var logged = []struct {
	kind   xmpplog.Kind
	option string
}{
	{xmpplog.Delivery, "log_delivery"}, {xmpplog.Reception, "log_reception"}, {xmpplog.Filtered, "log_filtered"}, {xmpplog.Failed, "log_failed"},
	{xmpplog.Deferred, "log_deferred"}, {xmpplog.Relayed, "log_relayed"}, {xmpplog.Expired, "log_expired"},
}

func (t *tree) buildLoggers(c *Config) {
	for _, n := range t.root.of(inXMPPLogger) {
		v := t.view(n)
		if !v.flag("enabled") {
			continue
		}
		g := Logger{
			Name: n.label, File: filepath.Clean(v.text("logfile")), Mode: v.mode("logmode"), Heartbeat: v.duration("heartbeat"),
			Formats: make(map[xmpplog.Kind]*xmpplog.Format), Pos: n.pos,
		}
		if g.Name == "" {
			g.Name = n.scope.name
		}
		if v.set("debug_level") != nil {
			level := levels[v.text("debug_level")]
			g.Level = &level
		}
		t.lineFormat(v, g, xmpplog.Heartbeat, "log_heartbeat_format")
		for _, l := range logged {
			format := l.option + "_format"
			f := t.lineFormat(v, g, l.kind, format)
			switch {
			case !v.flag(l.option):
				delete(g.Formats, l.kind)
				if v.set(format) != nil {
					t.report.warnf(v.pos(format), "", "%s has no effect: %s is false", format, l.option)
				}
			case f != nil && f.Whole():
				t.report.notef(v.pos(format), "%so is the stanza without it", "%s writes the text of messages to %s", format, g.File)
			}
		}
		t.checkLogger(c, v, g)
		c.Loggers = append(c.Loggers, g)
	}
}

// lineFormat reads one format into g.Formats and returns it, nil where it is wrong.
func (t *tree) lineFormat(v view, g Logger, kind xmpplog.Kind, option string) *xmpplog.Format {
	f, err := xmpplog.ParseFormat(kind, v.text(option))
	if err != nil {
		pos := v.pos(option)
		if s := v.set(option); s != nil {
			pos = s.valuePos
		}
		t.report.errorf(pos, "known are "+xmpplog.Macros(kind), "%s: %s", option, err)
		return nil
	}
	g.Formats[kind] = f
	return f
}

// checkLogger refuses two wishes for the access rights of one file.
func (t *tree) checkLogger(c *Config, v view, g Logger) {
	for _, other := range c.Loggers {
		if other.File == g.File && other.Mode != g.Mode {
			t.report.errorf(v.pos("logmode"), "", "logmode: the xmpp_logger at %s wants %04o for the same file", other.Pos, other.Mode)
			return
		}
	}
}
