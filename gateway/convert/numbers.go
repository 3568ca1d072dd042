package convert

import "strings"

// IsNumber says whether an address, as Converter.MailAddress returns it, is a phone
// number in E.164.
func IsNumber(addr string) bool { return !strings.Contains(addr, "@") && strings.HasPrefix(addr, "+") }

// number returns the E.164 form of a phone number, "+" and 7 to 15 digits (ITU-T
// E.164 §6), and whether s is one. It reads what mobile gateways write:
// "+49 (151) 234-567", "004915123456", "15551234567/TYPE=PLMN" (OMA MMS
// Encapsulation Protocol, addressing model), "tel:+1-555-123-4567". Digits without "+" count as international,
// since nothing here knows a country, except those that begin with one 0, which
// no country code does.
func number(s string) (string, bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		if !strings.EqualFold(s[i+1:], "TYPE=PLMN") {
			return "", false
		}
		s = s[:i]
	}
	if len(s) > 4 && strings.EqualFold(s[:4], "tel:") {
		s = s[4:]
	}
	digits := make([]byte, 0, 17)
	plus := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digits = append(digits, c)
		case c == '+' && !plus && len(digits) == 0:
			plus = true
		case strings.IndexByte(" -.()", c) < 0:
			return "", false
		}
		if len(digits) > 17 {
			return "", false
		}
	}
	d := string(digits)
	if !plus {
		d = strings.TrimPrefix(d, "00")
	}
	if len(d) < 7 || len(d) > 15 || d[0] == '0' {
		return "", false
	}
	return "+" + d, true
}
