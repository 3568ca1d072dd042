package dnstest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// ttl is that of every record, in seconds.
const ttl = 60

// zone is what the server knows. Names are absolute and in lower case.
type zone struct {
	records map[string][]dnsmessage.Resource
	fates   map[string]fate
	above   map[string]bool // all names that have a name below them
}

// fate is what becomes of the questions about a name and the names below it.
type fate int

const (
	servFail fate = iota + 1
	silent
)

// found is what the zone has to say to one question.
type found struct {
	answers []dnsmessage.Resource
	code    dnsmessage.RCode
	silent  bool
}

func parse(records []string) (zone, error) {
	z := zone{
		records: make(map[string][]dnsmessage.Resource),
		fates:   make(map[string]fate),
		above:   make(map[string]bool),
	}
	for _, line := range records {
		if err := z.add(strings.Fields(line)); err != nil {
			return zone{}, fmt.Errorf("record %q: %w", line, err)
		}
	}
	return z, nil
}

func (z *zone) add(field []string) error {
	if len(field) < 2 {
		return fmt.Errorf("needs a name and a type")
	}
	name := absolute(field[0])
	for up := parent(name); up != ""; up = parent(up) {
		z.above[up] = true
	}
	switch field[1] {
	case "SERVFAIL":
		z.fates[name] = servFail
		return nil
	case "SILENT":
		z.fates[name] = silent
		return nil
	}
	body, kind, err := parseData(field[1], field[2:])
	if err != nil {
		return err
	}
	owner, err := dnsmessage.NewName(name)
	if err != nil {
		return err
	}
	z.records[name] = append(z.records[name], dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: owner, Type: kind, Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   body,
	})
	return nil
}

// parseData reads the data of a record.
func parseData(kind string, field []string) (dnsmessage.ResourceBody, dnsmessage.Type, error) {
	want := map[string]int{"A": 1, "AAAA": 1, "CNAME": 1, "MX": 2, "SRV": 4}
	if want[kind] == 0 || len(field) != want[kind] {
		return nil, 0, fmt.Errorf("not a type that is served, or not as many fields as it has")
	}
	switch kind {
	case "A", "AAAA":
		addr, err := netip.ParseAddr(field[0])
		switch {
		case err != nil:
			return nil, 0, err
		case kind == "A" && addr.Is4():
			return &dnsmessage.AResource{A: addr.As4()}, dnsmessage.TypeA, nil
		case kind == "AAAA" && addr.Is6():
			return &dnsmessage.AAAAResource{AAAA: addr.As16()}, dnsmessage.TypeAAAA, nil
		}
		return nil, 0, fmt.Errorf("an address of the other family")
	case "CNAME":
		name, err := dnsmessage.NewName(absolute(field[0]))
		return &dnsmessage.CNAMEResource{CNAME: name}, dnsmessage.TypeCNAME, err
	}
	n := make([]uint16, len(field)-1)
	for i := range n {
		v, err := strconv.ParseUint(field[i], 10, 16)
		if err != nil {
			return nil, 0, err
		}
		n[i] = uint16(v)
	}
	target, err := dnsmessage.NewName(absolute(field[len(n)]))
	if kind == "MX" {
		return &dnsmessage.MXResource{Pref: n[0], MX: target}, dnsmessage.TypeMX, err
	}
	return &dnsmessage.SRVResource{Priority: n[0], Weight: n[1], Port: n[2], Target: target}, dnsmessage.TypeSRV, err
}

// find answers a question. The nearest name decides: the records of the name
// itself, else the fate of the first name above it that has one.
func (z *zone) find(q dnsmessage.Question) found {
	name := absolute(q.Name.String())
	for n := name; n != ""; n = parent(n) {
		switch z.fates[n] {
		case servFail:
			return found{code: dnsmessage.RCodeServerFailure}
		case silent:
			return found{silent: true}
		}
		if n == name && len(z.records[n]) > 0 {
			return found{answers: z.answers(name, q.Type)}
		}
	}
	if z.above[name] {
		return found{}
	}
	return found{code: dnsmessage.RCodeNameError}
}

// answers follows aliases within the zone (RFC 1034 §3.6.2).
func (z *zone) answers(name string, kind dnsmessage.Type) (all []dnsmessage.Resource) {
	const hops = 8 // of a loop
	for range hops {
		next := ""
		for _, r := range z.records[name] {
			if r.Header.Type == kind {
				all = append(all, r)
			} else if c, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
				all = append(all, r)
				next = absolute(c.CNAME.String())
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return all
}

// question writes a question as Asked returns it.
func question(q dnsmessage.Question) string {
	return strings.TrimSuffix(q.Name.String(), ".") + " " + strings.TrimPrefix(q.Type.String(), "Type")
}

func absolute(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + "."
}

// parent returns the name above, "" for none.
func parent(name string) string {
	_, up, _ := strings.Cut(name, ".")
	return up
}
