package smtpd

import "strings"

// command looks at one command line before go-smtp does. It answers what go-smtp
// would get wrong and returns "", or returns the line that go-smtp is to run.
func (s *session) command(line string) string {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	verb, arg, _ := strings.Cut(line, " ")
	verb, arg = strings.ToUpper(verb), strings.Trim(arg, " ")

	s.endAuth()
	// First, whatever else is wrong with it: a chunk follows.
	if strings.HasPrefix(verb, "BDAT") {
		return s.bdat(verb, arg)
	}
	switch {
	case len(line)+2 > maxCommandLine && verb != "AUTH":
		s.send("500 5.5.2 line too long")
		return ""
	case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }):
		s.send("501 5.5.2 control character in command")
		return ""
	case !isASCII(line) && verb != "MAIL" && verb != "RCPT":
		s.send("501 5.5.2 command is not ASCII")
		return ""
	}
	run, known := verbs[verb]
	if !known {
		s.send("500 5.5.2 command not recognized")
		return ""
	}
	return run(s, arg)
}

// verbs are the commands and what becomes of them.
var verbs = map[string]func(*session, string) string{
	"HELO":     func(s *session, arg string) string { return s.greet("HELO", arg) },
	"EHLO":     func(s *session, arg string) string { return s.greet("EHLO", arg) },
	"MAIL":     (*session).mail,
	"RCPT":     (*session).rcpt,
	"DATA":     (*session).data,
	"AUTH":     (*session).auth,
	"STARTTLS": (*session).starttls,
	"RSET":     func(s *session, _ string) string { return s.junked("RSET") },
	"NOOP":     func(s *session, _ string) string { return s.junked("NOOP") },
	"VRFY":     (*session).vrfy,
	"HELP":     func(s *session, _ string) string { s.junked(""); s.send("214 2.0.0 see RFC 5321"); return "" },
	"QUIT": func(s *session, _ string) string {
		s.say = "221 2.0.0 " + s.srv.opt.Hostname + " closing connection"
		return "QUIT\r\n"
	},
	"EXPN": notImplemented,
	"ETRN": notImplemented,
	"SEND": notImplemented,
	"SOML": notImplemented,
	"SAML": notImplemented,
	"TURN": notImplemented,
	// A browser that was led here by a page; its next lines are the page's.
	"GET":     notHTTP,
	"POST":    notHTTP,
	"PUT":     notHTTP,
	"CONNECT": notHTTP,
}

func notImplemented(s *session, _ string) string {
	s.send("502 5.5.1 command not implemented")
	return ""
}

func notHTTP(s *session, _ string) string {
	s.hangup("500 5.5.2 this is not HTTP, closing connection")
	return ""
}

// junked counts a command that leads nowhere, and passes it.
func (s *session) junked(line string) string {
	if s.junk++; s.junk > s.srv.opt.MaxJunk {
		s.failed()
	}
	if line == "" {
		return ""
	}
	return line + "\r\n"
}

// vrfy checks for the argument; go-smtp answers 252 (RFC 5321 §7.3).
func (s *session) vrfy(arg string) string {
	if arg == "" {
		s.send("501 5.5.4 VRFY needs an argument")
		return ""
	}
	return s.junked("VRFY x")
}

// greet handles HELO and EHLO. The reply begins with our name (RFC 5321
// §4.1.1.1), which go-smtp leaves out.
func (s *session) greet(verb, arg string) string {
	name, _, _ := strings.Cut(arg, " ")
	if name == "" || len(name) > maxDomain {
		s.send("501 5.5.4 " + verb + " needs a domain or address literal")
		return ""
	}
	s.hello, s.extended = name, verb == "EHLO"
	if s.extended {
		s.first = "250-" + s.srv.opt.Hostname + " greets " + clean(name)
	} else {
		s.say = "250 " + s.srv.opt.Hostname
	}
	return s.junked(verb + " " + name)
}

// starttls goes under TLS (RFC 3207 §4).
func (s *session) starttls(arg string) string {
	switch {
	case arg != "":
		s.send("501 5.5.4 STARTTLS has no argument")
		return ""
	case s.tls != nil:
		s.send("503 5.5.1 already under TLS")
		return ""
	case s.opt.TLS == nil:
		s.send("502 5.5.1 TLS is not available")
		return ""
	case s.wire.br.Buffered() > 0:
		// It came in clear text, perhaps from somebody in between, and read
		// after the handshake it would pass for protected (CVE-2011-0411).
		s.hangup("503 5.5.1 data after STARTTLS, closing connection")
		return ""
	}
	s.send("220 2.0.0 ready to start TLS")
	if !s.secure(s.wire.startTLS(s.soft, s.opt.TLS)) {
		return ""
	}
	// RFC 3207 §4.2: what was learned in clear text is forgotten.
	s.drop()
	s.hello, s.extended, s.user = "", false, ""
	s.restart, s.mute = true, true // go-smtp greets again, the peer must not see it
	return ""
}
