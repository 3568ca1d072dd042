package s2s

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/xmpptest"
)

// play plays a transcript that is made on the way, on a server as TestTranscripts has it.
func play(t *testing.T, uses []string, text string, look ...func(*site) error) (*site, error) {
	t.Helper()
	script, err := xmpptest.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s, stage := newStage(t, xmpptest.NewAuthority(t), uses)
	stage.Call = func() error { return look[0](s) }
	_, err = script.PlayOn(t.Context(), stage)
	return s, err
}

// proving is how an actor proves pairs of domains to a.example; the domains of the
// header are claims. It is a format with the
// header's from.
const proving = `
C: OPEN a.example %s
S: <stream:features>...</stream:features>
C: <bidi xmlns='urn:xmpp:bidi'/>
C: <db:result from='b.example' to='a.example'>key</db:result>
DIAL2 b.example
S2: <stream:stream from='a.example' to='b.example' version='1.0' xml:lang='en'>
C2: HEADER b.example a.example x
C2: <stream:features/>
S2: <db:verify from='a.example' to='b.example' id='{id}'>key</db:verify>
C2: <db:verify from='b.example' to='a.example' id='{id}' type='valid'/>
S: <db:result from='a.example' to='b.example' type='valid'/>
`

// TestHeaderIsNoProof: the header says c.example, and b.example is proven. Nothing holds
// for c.example: not what it sends, not what is sent to it, not what an operator sees.
func TestHeaderIsNoProof(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{
		"stanzas from it": `
C: <message from='eve@c.example' to='alice@a.example/x'><body>spoofed</body></message>
S: <stream:error><invalid-from xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`,
		"stanzas to it go to its own server": `
SEND <message from='alice@a.example/x' to='carol@c.example'><body>secret</body></message>
DIAL3 c.example
S3: <stream:stream from='a.example' to='c.example' version='1.0' xml:lang='en'>`,
		"stanzas to who is proven": `
SEND <message from='alice@a.example/x' to='bob@b.example'><body>back</body></message>
S: <message from='alice@a.example/x' to='bob@b.example'><body>back</body></message>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := play(t, nil, fmt.Sprintf(proving, "c.example")+rest); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("what an operator sees", func(t *testing.T) {
		t.Parallel()
		looked := false
		_, err := play(t, nil, fmt.Sprintf(proving, "c.example")+"CALL\n", func(s *site) error {
			looked = true
			for _, st := range s.States() {
				if st.Direction != "out" && st.Domain != "b.example" {
					return fmt.Errorf("%+v", st)
				}
			}
			return nil
		})
		if err != nil || !looked {
			t.Error(looked, err)
		}
	})
}

// TestInjection: on a stream on which b.example is proven to a.example nothing else
// passes, whatever is put together of the domains of both sides.
func TestInjection(t *testing.T) {
	t.Parallel()
	ours := []string{"a.example", "a2.example", "z.example", "b.example"}
	theirs := []string{"b.example", "b2.example", "c.example", "a.example", "a2.example", "sub.b.example"}
	for _, from := range theirs {
		for _, to := range ours {
			if from == "b.example" && to == "a.example" {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				s, err := play(t, nil, fmt.Sprintf(proving, "b.example")+fmt.Sprintf(`
C: <message from='x@%s' to='alice@%s/x'><body>injected</body></message>
S: <stream:error>...</stream:error>
S: </stream:stream>
EOF
`, from, to))
				if err != nil {
					t.Error(err)
				}
				if st := s.Stats(); st.Received != 0 || st.Unauthorised != 1 {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestVerdictNeverAsked: on a stream that we have opened the other side grants us pairs
// that we did not ask for (XEP-0220 §3.1). Nothing may be sent for them.
func TestVerdictNeverAsked(t *testing.T) {
	t.Parallel()
	s, err := play(t, nil, `
SEND <message from='alice@a.example/x' to='bob@b.example'><body>1</body></message>
DIAL2 b.example
S2: <stream:stream from='a.example' to='b.example' version='1.0' xml:lang='en'>
C2: HEADER b.example a.example x
C2: <stream:features><bidi xmlns='urn:xmpp:features:bidi'/><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>
S2: <bidi xmlns='urn:xmpp:bidi'/>
S2: <db:result from='a.example' to='b.example'>*</db:result>
C2: <db:result from='c.example' to='a.example' type='valid'/>
C2: <db:result from='b.example' to='a2.example' type='valid'/>
C2: <db:result from='b.example' to='a.example' type='valid'/>
S2: <message from='alice@a.example/x' to='bob@b.example'><body>1</body></message>
SEND <message from='alice@a2.example/x' to='bob@b.example'><body>2</body></message>
S2: <db:result from='a2.example' to='b.example'>*</db:result>
SEND <message from='alice@a.example/x' to='carol@c.example'><body>3</body></message>
DIAL3 c.example
S3: <stream:stream from='a.example' to='c.example' version='1.0' xml:lang='en'>
C2: <message from='eve@c.example' to='alice@a.example/x'><body>spoofed</body></message>
S2: <stream:error><invalid-from xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>
`)
	if err != nil {
		t.Error(err)
	}
	if n := s.Stats().Unasked; n != 2 {
		t.Errorf("%d verdicts dropped", n)
	}
}

// TestAppendedCertificate: the chain of a peer holds the certificate of b.example behind
// its own. It is asked for a key like anybody, and its answer counts.
func TestAppendedCertificate(t *testing.T) {
	t.Parallel()
	_, err := play(t, []string{"direct"}, `
C: TLS appended
C: OPEN a.example b.example
S: <stream:features>...</stream:features>
C: <db:result from='b.example' to='a.example'>key</db:result>
DIAL2 b.example
S2: <stream:stream from='a.example' to='b.example' version='1.0' xml:lang='en'>
C2: HEADER b.example a.example x
C2: <stream:features/>
S2: <db:verify from='a.example' to='b.example' id='{id}'>key</db:verify>
C2: <db:verify from='b.example' to='a.example' id='{id}' type='invalid'/>
S: <db:result from='a.example' to='b.example' type='invalid'/>
S: <stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>
`)
	if err != nil {
		t.Error(err)
	}
}

// TestUnboundedPairs: the pairs of one stream are bounded, those that a certificate proves
// and those whose keys have to be asked about; so are the keys asked about at a time.
func TestUnboundedPairs(t *testing.T) {
	t.Parallel()
	claims := func(n int, format, answer string) string {
		var b strings.Builder
		for i := range n {
			domain := fmt.Sprintf(format, i)
			fmt.Fprintf(&b, "C: <db:result from='%s' to='a.example'>key</db:result>\n", domain)
			if answer != "" {
				fmt.Fprintf(&b, "S: <db:result from='a.example' to='%s' %s</db:result>\n", domain, answer)
			}
		}
		return b.String()
	}
	const constraint = `<db:result from='a.example' to='%s' type='error'><error type='cancel'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>`
	for name, c := range map[string]struct {
		uses []string
		text string
	}{
		"proven by a certificate": {[]string{"direct"}, "C: TLS wildcard\nC: OPEN a.example b.example\nS: <stream:features>...</stream:features>\n" +
			claims(maxPairs, "x%d.b.example", "type='valid'>") + claims(1, "more%d.b.example", "")},
		"of domains that do not exist": {nil, "C: OPEN a.example b.example\nS: <stream:features>...</stream:features>\n" +
			claims(maxPairs, "x%d.example", "type='error'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>") + claims(1, "more%d.b.example", "")},
		"asked about at a time": {nil, "C: OPEN a.example b.example\nS: <stream:features>...</stream:features>\n" +
			claims(maxChecks, "x%d.hang.example", "") + claims(1, "more%d.b.example", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := play(t, c.uses, c.text+"S: "+fmt.Sprintf(constraint, "more0.b.example")+"\n")
			if err != nil {
				t.Error(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, p := range s.peers { // what is known of a domain goes when there is need
				if idle := p.idle(); !idle && !strings.Contains(p.domain, ".hang.") {
					t.Errorf("%s stays", p.domain)
				}
			}
		})
	}
}

// TestUnboundedDomains: the domains that are known at once are bounded. Where nothing goes
// on with one it makes room.
func TestUnboundedDomains(t *testing.T) {
	t.Parallel()
	v := New(Options{})
	defer v.Close()
	for i := range maxPeers + 100 {
		if _, err := v.peer(fmt.Sprintf("x%d.example", i)); err != nil {
			t.Fatalf("domain %d: %v", i, err)
		}
	}
	if n := len(v.peers); n > maxPeers {
		t.Errorf("%d domains", n)
	}
}
