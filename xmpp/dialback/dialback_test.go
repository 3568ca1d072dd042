package dialback

import (
	"strings"
	"testing"
)

// The example of XEP-0185 §3.
const (
	secret      = "s3cr3tf0rd14lb4ck"
	receiving   = "xmpp.example.com"
	originating = "example.org"
	streamID    = "D60000229F"
	key         = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
)

func TestKey(t *testing.T) {
	t.Parallel()
	if got := Key(secret, receiving, originating, streamID); got != key {
		t.Errorf("key %s, want that of XEP-0185 §3", got)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		secret, receiving, originating, streamID, key string
		want                                          bool
	}{
		"the example":                    {secret, receiving, originating, streamID, key, true},
		"another secret":                 {secret + "x", receiving, originating, streamID, key, false},
		"the names the other way round":  {secret, originating, receiving, streamID, key, false},
		"a key of another stream":        {secret, receiving, originating, "D60000229G", key, false},
		"a key of another domain":        {secret, receiving, "example.net", streamID, key, false},
		"no key":                         {secret, receiving, originating, streamID, "", false},
		"the beginning of the key":       {secret, receiving, originating, streamID, key[:63], false},
		"more than the key":              {secret, receiving, originating, streamID, key + "0", false},
		"the key in capitals":            {secret, receiving, originating, streamID, strings.ToUpper(key), false},
		"no secret, and the key of none": {"", receiving, originating, streamID, Key("", receiving, originating, streamID), false},
	} {
		if got := Verify(tt.secret, tt.receiving, tt.originating, tt.streamID, tt.key); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// XEP-0185 §2, note 5: where one name ends and the next begins is part of the key.
func TestKeySeparatesNames(t *testing.T) {
	t.Parallel()
	if Key(secret, "example.info", "rm.example.org", streamID) == Key(secret, "example.in", "form.example.org", streamID) {
		t.Error("two pairs of domains have the same key")
	}
}
