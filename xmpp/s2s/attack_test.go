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
