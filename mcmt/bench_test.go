package mcmt

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkParse parses an MCMT message of 4 kB: mail, stanza and short message.
func BenchmarkParse(b *testing.B) {
	raw, err := Build(Draft{
		From: "alerts@corp.example", To: []string{"bob@jabber.example"}, Subject: "Zug verspätet",
		Date: time.Unix(1772442000, 0), MessageID: "m1@corp.example", References: []string{"m0@corp.example"},
		Text: strings.Repeat("The 10:15 to Cologne is 20 minutes late, please wait.\n", 50),
		XMPP: []byte("<message type='chat'><body>" + strings.Repeat("10:15 is late. ", 20) + "</body></message>"),
		SMS:  "10:15: +20 min",
	})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	now := time.Unix(1772442000, 0)
	b.ReportAllocs()
	for b.Loop() {
		NewID(now)
	}
}
