package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// chapterDefaults are the defaults that the chapter gives its options.
var chapterDefaults = map[string]string{
	"accept_queue_backlog": "0", "concurrency": "0", "disable_nagle_algorithm": "false", "enable": "true", "events_per_iter": "0",
	"file_mode": "0660", "idle_time": "0", "listen_backlog": "500", "tcp_recv_buffer_size": "4096", "tcp_send_buffer_size": "4096",
	"tls_verify_mode": "none",
}

// MigrationGuide returns the guide for those who come from the system that is replaced, as
// Markdown, made from the tables that check and migrate obey.
func MigrationGuide() []byte {
	var b bytes.Buffer
	b.WriteString(guideHead)
	b.WriteString("\n## The options of the XMPP chapter\n\nAll of them are taken, in the scopes that the chapter names and in more.\n\n" +
		"| Option | Default then | Default here | What it does here |\n| --- | --- | --- | --- |\n")
	rows := slices.Clone(table)
	slices.SortStableFunc(rows, func(a, b *option) int { return strings.Compare(a.name, b.name) })
	for _, o := range rows {
		if o.chapter {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.name, thenText(o.name), cell(o.defaultText()), cell(o.docText()))
		}
	}
	b.WriteString("\n## What goes by another name\n\n| Old | New |\n| --- | --- |\n")
	b.WriteString("| `gateway` outside of scopes | `relay { gateway = … }` |\n")
	for _, name := range slices.Sorted(maps.Keys(alsoRelay)) {
		fmt.Fprintf(&b, "| `%s` outside of scopes | the same, for Jabber; `relay { %s = … }` for mail |\n", name, name)
	}
	for _, name := range slices.Sorted(maps.Keys(oldWords)) {
		for _, word := range slices.Sorted(maps.Keys(oldWords[name])) {
			fmt.Fprintf(&b, "| `%s = \"%s\"` | `%s = \"%s\"` |\n", name, word, name, oldWords[name][word])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scopeNotes)) {
		fmt.Fprintf(&b, "| `%s` | the same name; it %s |\n", name, scopeNotes[name])
	}
	writeOld(&b, "Scopes and modules that are not here", oldScopes)
	writeOld(&b, "Options that are not here", oldOptions)
	b.WriteString("\nWhatever is not in these tables and not in [OPTIONS.md](OPTIONS.md) is left out too, and listed.\n")
	return b.Bytes()
}

// thenText is the default of an option in the chapter.
func thenText(name string) string {
	if def := chapterDefaults[name]; def != "" {
		return "`" + def + "`"
	}
	return "none"
}

func writeOld(b *bytes.Buffer, heading string, things map[string]oldThing) {
	fmt.Fprintf(b, "\n## %s\n\n| Old | Why | Instead |\n| --- | --- | --- |\n", heading)
	for _, name := range slices.Sorted(maps.Keys(things)) {
		instead := things[name].hint
		if instead == "" {
			instead = "nothing"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, cell(things[name].reason), cell(instead))
	}
}

const guideHead = `# Coming from the system that this gateway replaces

Made from the option table by ` + "`go generate ./gateway/config`" + `; do not edit.

The XMPP stanzas of an old configuration paste in unchanged. For a whole file there is a command:

` + "```sh" + `
mcmt2xmpp migrate ecelerity.conf > mcmt2xmpp.conf   # what is left out goes to stderr, each with its place and why
mcmt2xmpp check -c mcmt2xmpp.conf
` + "```" + `

1. **On the old machine**, or where its certificates, password files and scripts are under the same paths: what check refuses is left out, and
   a file that is not there is refused. The new file has to stand in the folder of the old one as long as it names files by relative paths.
2. **Read the list.** The status is 0 where everything was kept, 2 where something was left out or has no effect yet; ` + "`--json`" + ` is for programs. Where
   something is left out that restricts who may connect, the listen scope or listener around it is written with ` + "`enable = false`" + `.
3. **Scripts** are compiled and run once; functions of the old system that are not here are listed with their lines. Those that are: README, *Policy scripts*.
4. **Accounts**: password files stay where they are (` + "`file://`, `digest://`" + `); others are made by ` + "`mcmt2xmpp user add`" + `.
5. **Rosters**, while the gateway runs and has the accounts: ` + "`mcmt2xmpp migrate --rosters FOLDER`" + `, one file of JSON for each account, called by its bare JID, or
   one file with all of them under their JIDs. Contacts that are there stay, so it can be done again.
6. **Try it beside the old system**: other ports, ` + "`mcmt2xmpp convert --explain`" + ` on messages that you have, then one injector.

Messages in the spool of the old system are not taken over: let it deliver them, with nothing new going in.
`
