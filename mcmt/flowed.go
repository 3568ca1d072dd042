package mcmt

import "strings"

// unflow joins the lines of format=flowed text (RFC 3676 §4.1, 4.2): a line
// that ends in a space goes on in the next of the same quote depth; the space
// is dropped where delsp is yes. Space-stuffing is undone (§4.4), the signature
// line stays alone (§4.3).
func unflow(s string, delsp bool) string {
	var b strings.Builder
	b.Grow(len(s))
	open, depth := false, 0 // the line before goes on, at this depth
	for i, line := range strings.Split(s, "\n") {
		quotes := len(line) - len(strings.TrimLeft(line, ">"))
		line = strings.TrimPrefix(line[quotes:], " ")
		signature := line == "-- "
		joins := open && quotes == depth && !signature
		if i > 0 && !joins {
			b.WriteByte('\n')
		}
		if !joins && quotes > 0 {
			b.WriteString(strings.Repeat(">", quotes))
			b.WriteByte(' ')
		}
		open, depth = strings.HasSuffix(line, " ") && !signature, quotes
		if open && delsp {
			line = line[:len(line)-1]
		}
		b.WriteString(line)
	}
	return b.String()
}
