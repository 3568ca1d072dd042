package store

import (
	"context"
	"encoding/json"

	archive "mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
)

// ArchivePreferences are with whom the accounts want messages kept (XEP-0313), known to
// every process. They are used from many goroutines.
type ArchivePreferences struct{ *table[preferenceRecord] }

// preferenceRecord is one account's, as JSON with the addresses as text.
type preferenceRecord struct{ archive.ArchivePreferences }

type preferenceJSON struct {
	Default string   `json:"default"`
	Always  []string `json:"always,omitempty"`
	Never   []string `json:"never,omitempty"`
}

// MarshalJSON writes it.
func (p preferenceRecord) MarshalJSON() ([]byte, error) {
	out := preferenceJSON{Default: string(p.Default)}
	for _, j := range p.Always {
		out.Always = append(out.Always, j.String())
	}
	for _, j := range p.Never {
		out.Never = append(out.Never, j.String())
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads it. An address that is none counts for nothing.
func (p *preferenceRecord) UnmarshalJSON(data []byte) error {
	var in preferenceJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	p.Default = archive.Policy(in.Default)
	for _, l := range []struct {
		from []string
		to   *[]jid.JID
	}{{in.Always, &p.Always}, {in.Never, &p.Never}} {
		for _, s := range l.from {
			if j, err := jid.Parse(s); err == nil {
				*l.to = append(*l.to, j)
			}
		}
	}
	return nil
}

// OpenArchivePreferences opens the bucket, making it if need be, and reads it.
func OpenArchivePreferences(ctx context.Context, b Buckets, report func(error)) (*ArchivePreferences, error) {
	t, err := openTable[preferenceRecord](ctx, tableOptions{
		buckets: b, bucket: "archive-prefs", description: "with whom messages are archived, by bare JID", bytes: 256 << 20, report: report,
	})
	if err != nil {
		return nil, err
	}
	return &ArchivePreferences{t}, nil
}

// ArchivePreferences returns those of an account, which must not be changed.
func (p *ArchivePreferences) ArchivePreferences(user jid.JID) archive.ArchivePreferences {
	return p.get(user).ArchivePreferences
}

// SetArchivePreferences stores them.
func (p *ArchivePreferences) SetArchivePreferences(ctx context.Context, user jid.JID, now archive.ArchivePreferences) error {
	return p.update(ctx, user, func(preferenceRecord) (preferenceRecord, error) { return preferenceRecord{now}, nil })
}
