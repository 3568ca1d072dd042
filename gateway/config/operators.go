package config

import (
	"strings"
	"unicode"
)

// OperatorRole is what an operator may do.
type OperatorRole uint8

// Roles of operators, each of which may do what those before it may.
const (
	OperatorNone OperatorRole = iota // nothing
	OperatorRead                     // look
	OperatorFull                     // change things, too
)

// Operator is somebody who may use the admin HTTP from anywhere, by a bearer token.
type Operator struct {
	Name  string // shows in the audit log
	Role  OperatorRole
	Token Secret // never empty
	File  string // that it is from; empty: it is in the configuration
	Pos   Position
}

var operatorRoles = map[string]OperatorRole{"none": OperatorNone, "read": OperatorRead, "operate": OperatorFull}

// minToken is how many characters the token of an operator has at least: there is no
// name beside it that would have to be guessed, too.
const minToken = 16

// operatorOptions hold for the admin HTTP and those who use it.
var operatorOptions = []*option{
	{name: "role", kind: kindEnum, words: []string{"read", "operate"}, def: "read", scopes: inOperator,
		doc: "read: look at everything; operate: change things, too"},
	{name: "bearer_token", kind: kindString, secret: true, scopes: inOperator,
		doc: "the operator's token, of 16 characters or more; \"${NAME}\" takes it from the environment"},
	{name: "token_file", kind: kindPath, scopes: inOperator,
		doc: "file with the operator's token in its first line, in place of bearer_token; read at the start and at each reload"},
	{name: "local_role", kind: kindEnum, words: []string{"none", "read", "operate"}, def: "operate",
		scopes: inControlListener | inListen | inPeer | inPathways,
		doc:    "what a peer on loopback or a Unix socket may do without a token; none: it needs one like everybody"},
	{name: "request_rate", kind: kindRate, def: "1000/10",
		scopes: inControlListener | inListen | inPeer | inPathways,
		doc:    "requests of one operator at one address (IPv6: one /64) in some seconds, and as many at once; more are answered 429"},
}

// buildOperators makes an Operator of each scope that is good.
func (t *tree) buildOperators(c *Config) {
	for _, n := range t.root.of(inOperator) {
		o := Operator{Name: n.label, Role: operatorRoles[t.view(n).text("role")], Pos: n.pos}
		pos := n.pos
		written, file := n.settings["bearer_token"], n.settings["token_file"]
		switch {
		case written == nil && file == nil:
			t.report.errorf(n.pos, "set bearer_token or token_file", "operator %s has no token", n.label)
			continue
		case written != nil && file != nil:
			t.report.errorf(file.pos, "", "operator %s has a bearer_token and a token_file", n.label)
			continue
		case written != nil && !written.bad:
			pos, o.Token = written.valuePos, Secret(written.value.(string))
		case file != nil && !file.bad:
			pos, o.Token, o.File = file.valuePos, Secret(t.readToken(file)), file.value.(string)
		}
		if o.Token != "" && t.checkOperator(c, o, pos) {
			c.Operators = append(c.Operators, o)
		}
	}
}

// readToken reads the first line of a file, empty where there is none.
func (t *tree) readToken(s *setting) string {
	text, ok := t.readFile(s)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		t.report.errorf(s.valuePos, "", "%s: the first line of %s is empty", s.option.name, s.value)
	}
	return line
}

// checkOperator reports a token that is none, or that is another's.
func (t *tree) checkOperator(c *Config, o Operator, pos Position) bool {
	token := o.Token.Reveal()
	if len(token) < minToken {
		t.report.errorf(pos, "make one with: openssl rand -hex 24", "the token of operator %s has fewer than %d characters", o.Name, minToken)
		return false
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' }) {
		t.report.errorf(pos, "", "the token of operator %s has characters that no HTTP header holds", o.Name)
		return false
	}
	for _, other := range c.Operators {
		if other.Token == o.Token {
			t.report.errorf(pos, "", "operator %s has the token of %s, at %s", o.Name, other.Name, other.Pos)
			return false
		}
	}
	return true
}
