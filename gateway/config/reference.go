package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Reference returns the option reference as Markdown, made from the table.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	b.WriteString("\n## Scopes\n\n| Scope | Stands in | Label | Meaning |\n| --- | --- | --- | --- |\n")
	for _, s := range scopes[1:] {
		name := "`" + s.name + "`"
		switch {
		case s.inert != "":
			name += " (no effect)"
		case s.planned:
			name += " (not yet in effect)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, s.parents, cell(labelText(s)), cell(s.doc))
	}
	b.WriteString("\n## Options\n\nOptions marked † are those of the chapter that this product re-creates.\n\n" +
		"| Option | Type | Default | Scopes | Meaning |\n| --- | --- | --- | --- | --- |\n")
	rows := slices.Clone(table)
	slices.SortStableFunc(rows, func(a, b *option) int { return strings.Compare(a.name, b.name) })
	for _, o := range rows {
		name := "`" + o.name + "`"
		if o.chapter {
			name += " †"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, cell(o.typeText()), cell(o.defaultText()), o.scopeText(), cell(o.docText()))
	}
	return b.Bytes()
}

const referenceHead = `# Option reference

Made from the option table by ` + "`go generate ./gateway/config`" + `; do not edit.

## Language

- ` + "`name = value`" + ` sets an option, ` + "`name \"label\" { … }`" + ` or ` + "`name { … }`" + ` opens a scope. Names are compared
  without case. ` + "`#`" + ` begins a comment, except within quotes.
- A value or label may go without quotes where it holds no white space and none of ` + "`# / \" ' = { } [ ] ( )`" + `. A quoted
  string ends on its line. Within ` + "`\"…\"`" + `, ` + "`\\\"`" + ` and ` + "`\\\\`" + ` stand for ` + "`\"`" + ` and ` + "`\\`" + `, any other backslash for itself;
  ` + "`${NAME}`" + ` is the environment variable, an error where it is not set, and ` + "`$${`" + ` a plain ` + "`${`" + `. Within ` + "`'…'`" + ` nothing is special.
- A list is ` + "`( a \"b\" c )`" + `, a dictionary ` + "`[ key = value … ]`" + `, with white space or commas between. A list of one needs no parentheses.
- ` + "`include \"file\"`" + ` reads another file in its place; the path is relative to the file that includes, and may be a pattern.
- Booleans are true or false (also yes, no, on, off), quoted or not. Sizes are bytes, or with k, m or g. Durations are
  seconds, or with s, m, h or d. Modes are octal. Relative paths are taken from the folder of the file that writes them.
- An option that is set twice in one scope is an error, and so is a second scope of the same name and label. Listeners
  without a label may repeat: each is its own.

## Which setting holds

- In a listener: what ` + "`peer`" + ` sets, then ` + "`listen`" + `, then the listener, then the file itself. Of several ` + "`peer`" + ` scopes that
  hold an address the most specific counts, alone; one in ` + "`listen`" + ` goes before one of the same range in the listener. A
  connection on a Unix socket counts as 127.0.0.1.
- A scope that takes in a pathway by ` + "`pathway = name`" + ` has the pathway's options behind its own and before those of the
  scope around it: those of the pathway within a group, then of the pathway alone, then of the group.
- In a domain: what ` + "`domain \"#xmpp#NAME\"`" + ` sets, then ` + "`domain \"NAME\"`" + `, then the file itself.
- Options that are marked *not yet in effect* are read and checked, and a warning says so where they are set.
`

func labelText(s *scope) string {
	switch s.label {
	case labelRequired:
		return s.means
	case labelOptional:
		return "optional: " + s.means
	default:
		return "none"
	}
}

func (o *option) typeText() string {
	text := o.typeName()
	if len(o.words) > 0 {
		text = strings.Join(o.words, ", ")
		if o.list {
			text = "list of " + text
		}
	}
	if o.min != 0 || o.max != 0 {
		text += ", from " + fmt.Sprint(o.min)
	}
	if o.max != 0 {
		text += " to " + fmt.Sprint(o.max)
	}
	if unit := o.unit(); unit != "" {
		text += " (" + unit + ")"
	}
	return text
}

func (o *option) defaultText() string {
	switch {
	case o.def != "":
		return "`" + o.def + "`"
	case o.defDoc != "":
		return o.defDoc
	default:
		return "unset"
	}
}

func (o *option) scopeText() string {
	text := o.scopes.String()
	if only := o.listeners(); o.scopes&(inListen|inPeer) != 0 && o.of != 0 {
		text += " (of " + only.String() + ")"
	}
	return text
}

func (o *option) docText() string {
	text := o.doc
	switch fixed := o.fixed & o.scopes; {
	case o.fixedDoc != "":
		text += "; of a change, after a restart: " + o.fixedDoc
	case fixed == o.scopes:
		text += "; a change takes effect after a restart"
	case fixed != 0:
		text += "; in " + fixed.String() + " a change takes effect after a restart"
	}
	switch planned := o.planned & o.scopes; {
	case planned == o.scopes:
		text += "; *not yet in effect*"
	case planned != 0:
		text += "; *not yet in effect* in " + planned.String()
	}
	return text
}

// cell keeps a text from ending a cell of a Markdown table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
