package smtpd

import (
	"errors"
	"strconv"
	"strings"
)

// mail checks MAIL: order, address, size. go-smtp reads the other parameters.
func (s *session) mail(arg string) string {
	switch {
	case s.hello == "":
		s.send("503 5.5.1 EHLO first")
		return ""
	case s.tx.begun: // RFC 5321 §4.1.4; go-smtp would keep the recipients
		s.send("503 5.5.1 nested MAIL")
		return ""
	case s.opt.AuthRequired && s.user == "":
		s.send("530 5.7.0 authentication required")
		return ""
	case len(arg) < 5 || !strings.EqualFold(arg[:5], "FROM:"):
		s.send("501 5.5.4 expected MAIL FROM:<address>")
		return ""
	}
	path, rest, err := parsePath(arg[5:])
	if err != nil || path != "" && !strings.Contains(path, "@") {
		s.send("501 5.1.7 bad sender address syntax")
		return ""
	}
	params, size, ok := s.params(rest)
	if !ok {
		return ""
	}
	if !isASCII(path) && !hasParam(params, "SMTPUTF8") { // RFC 6531 §3.4
		s.send("553 5.6.7 address is not ASCII and SMTPUTF8 was not asked for")
		return ""
	}
	s.tx.path, s.tx.size = path, size
	return "MAIL FROM:<" + path + ">" + strings.Join(params, "") + "\r\n"
}

// rcpt checks RCPT: order, number, address.
func (s *session) rcpt(arg string) string {
	switch {
	case !s.tx.begun || s.tx.body != nil:
		s.send("503 5.5.1 MAIL first")
		return ""
	case len(s.tx.env.To) >= s.opt.MaxRecipients:
		// RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
		s.send("452 4.5.3 too many recipients")
		return ""
	case len(arg) < 3 || !strings.EqualFold(arg[:3], "TO:"):
		s.send("501 5.5.4 expected RCPT TO:<address>")
		return ""
	}
	path, rest, err := parsePath(arg[3:])
	if err != nil || path == "" {
		s.send("501 5.1.3 bad recipient address syntax")
		return ""
	}
	if !isASCII(path) && !s.tx.env.SMTPUTF8 {
		s.send("553 5.6.7 address is not ASCII and SMTPUTF8 was not asked for")
		return ""
	}
	if !strings.Contains(path, "@") { // RFC 5321 §4.5.1
		path += "@" + s.srv.opt.PostmasterDomain
	}
	params, _, ok := s.params(rest)
	if !ok {
		return ""
	}
	s.tx.path = path
	return "RCPT TO:<" + path + ">" + strings.Join(params, "") + "\r\n"
}

// params checks the parameters of MAIL or RCPT, takes SIZE out (RFC 1870 §6),
// which go-smtp reads only up to 4 GiB, and returns the others, each with a space
// before it. It is false when it has answered.
func (s *session) params(rest string) (params []string, size int64, ok bool) {
	seen := make(map[string]bool)
	for _, f := range strings.Fields(rest) {
		key, value, _ := strings.Cut(f, "=")
		key = strings.ToUpper(key)
		if seen[key] {
			s.send("501 5.5.4 parameter given twice")
			return nil, 0, false
		}
		seen[key] = true
		if key != "SIZE" {
			params = append(params, " "+f)
			continue
		}
		n, err := strconv.ParseUint(value, 10, 63)
		switch {
		case errors.Is(err, strconv.ErrRange) || err == nil && int64(n) > s.opt.MaxMessageSize:
			s.send("552 5.3.4 message is larger than " + strconv.FormatInt(s.opt.MaxMessageSize, 10) + " bytes")
			return nil, 0, false
		case err != nil:
			s.send("501 5.5.4 SIZE is not a number")
			return nil, 0, false
		}
		size = int64(n)
	}
	return params, size, true
}

// hasParam reports whether params has the keyword.
func hasParam(params []string, keyword string) bool {
	for _, p := range params {
		if strings.EqualFold(strings.TrimPrefix(p, " "), keyword) {
			return true
		}
	}
	return false
}

// data checks the order; go-smtp answers 354 and calls Data.
func (s *session) data(arg string) string {
	switch {
	case arg != "":
		s.send("501 5.5.4 DATA has no argument")
	case !s.tx.begun:
		s.send("503 5.5.1 MAIL first")
	case s.tx.body != nil: // RFC 3030 §2
		s.send("503 5.5.1 DATA after BDAT")
	case len(s.tx.env.To) == 0:
		s.send("554 5.5.1 no valid recipients")
	default:
		return "DATA\r\n"
	}
	return ""
}
