package convert

import (
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// BenchmarkParseConvert takes MCMT messages of 4 kB from bytes to bytes: parse,
// convert, serialise.
func BenchmarkParseConvert(b *testing.B) {
	full := mcmt.Draft{
		From: "alerts@corp.example", To: []string{"bob@jabber.example"}, Subject: "Zug verspätet",
		Date: time.Unix(1772442000, 0), MessageID: "m1@corp.example", References: []string{"m0@corp.example"},
		Text: strings.Repeat("The 10:15 to Cologne is 20 minutes late, please wait.\n", 50),
		XMPP: []byte("<message type='chat'><body>" + strings.Repeat("10:15 is late. ", 20) + "</body></message>"),
		SMS:  "10:15: +20 min",
	}
	html := full
	html.XMPP, html.SMS, html.Text = nil, "", ""
	html.Email = []byte("Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
		strings.Repeat("<p>The <b>10:15</b> to <a href=\"https://x.example/\">Cologne</a> is late.</p>\r\n", 45))
	for _, bb := range []struct {
		name       string
		preference []string
		d          mcmt.Draft
	}{
		{"xmpp", nil, full},
		{"sms", []string{"smpp"}, full},
		{"email", []string{"email"}, full},
		{"html", []string{"email"}, html},
	} {
		b.Run(bb.name, func(b *testing.B) {
			raw, err := mcmt.Build(bb.d)
			if err != nil {
				b.Fatal(err)
			}
			c := newConverter(b, func(o *Options) { o.Preference = bb.preference })
			var out []byte
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				m, err := mcmt.Parse(raw, mcmt.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				r, err := c.Convert(input(m))
				if err != nil {
					b.Fatal(err)
				}
				out = r.Stanza.Append(out[:0], stanza.Client)
			}
		})
	}
}

// BenchmarkMail is a chat line on its way out.
func BenchmarkMail(b *testing.B) {
	c := newConverter(b, nil)
	in := mailInput(message(b, "type='chat'", "<body>Your train leaves from track 7</body><thread>m@x.example</thread>"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Mail(in); err != nil {
			b.Fatal(err)
		}
	}
}
