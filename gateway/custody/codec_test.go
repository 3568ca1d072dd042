package custody

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// arbitrary is a record whose fields are set or not, with texts of all kinds.
func arbitrary(t *testing.T, r *rand.Rand) Record {
	t.Helper()
	texts := []string{"", "", "alice@localhost", "q1.0", `a"b\c`, "é", "a<b>&c", "\x00\n\t", "\xff", "\u2028", "null", "}", ","}
	var rec Record
	v := reflect.ValueOf(&rec).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string, mcmt.ID, Steps:
			f.SetString(texts[r.IntN(len(texts))])
		case bool:
			f.SetBool(r.IntN(2) == 0)
		case int:
			f.SetInt(int64(r.Uint32() >> 1 >> r.IntN(31)))
		case uint64, mcmt.Reception:
			f.SetUint(r.Uint64() >> r.IntN(64) >> (64 - f.Type().Bits()))
		case time.Time:
			if r.IntN(2) == 0 {
				f.Set(reflect.ValueOf(time.Unix(r.Int64N(4e9), r.Int64N(1e9)).In(time.FixedZone("", 60*r.IntN(600)))))
			}
		case mcmt.Recipient:
			to := mcmt.Recipient{Address: texts[r.IntN(len(texts))]}
			if r.IntN(3) == 0 {
				to.Notify, to.ORCPT = []string{"NEVER"}, texts[r.IntN(len(texts))]
			}
			f.Set(reflect.ValueOf(to))
		case jid.JID: // not written
		default:
			t.Fatalf("field %s: no texts of this kind", v.Type().Field(i).Name)
		}
	}
	return rec
}

// TestCodec: what is written is what encoding/json writes, byte for byte, and
// read as encoding/json reads it. A field that somebody adds to Record and not to
// fields shows here.
func TestCodec(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		rec := arbitrary(t, r)
		want, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		data, err := rec.encode()
		if err != nil || data != string(want) {
			t.Fatalf("wrote %s, %v\nwant  %s", data, err, want)
		}
		var got, read Record
		if err := json.Unmarshal(want, &read); err != nil {
			t.Fatal(err)
		}
		if err := got.decode(data); err != nil || !reflect.DeepEqual(got, read) {
			t.Fatalf("read %+v, %v\nwant %+v\nfrom %s", got, err, read, data)
		}
	}
}

// TestCodecQuick: the records of ordinary messages do not need encoding/json.
func TestCodecQuick(t *testing.T) {
	t.Parallel()
	rec := ordinary()
	data, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	c := coder{reading: true, next: '{', in: data}
	new(Record).fields(&c)
	if c.in != "}" {
		t.Errorf("%q of %s was not read", c.in, data)
	}
}

// TestCodecBadTime: a time that cannot be written is an error, not a record that
// cannot be read.
func TestCodecBadTime(t *testing.T) {
	t.Parallel()
	rec := ordinary()
	rec.Accepted = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	if data, err := rec.encode(); err == nil {
		t.Errorf("wrote %s", data)
	}
}

// FuzzCodec: whatever a header holds is read as encoding/json reads it.
func FuzzCodec(f *testing.F) {
	rec, whole := ordinary(), full()
	for _, r := range []*Record{&rec, &whole} {
		data, err := r.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, data := range []string{
		`{}`, `{"id":"a","id":"b"}`, `{"from":"b","id":"a"}`, `{"id":"a","from":"b","to":null}`, `{"id":null}`, `{"id":"a","unknown":1}`, ` {"id":"a"}`,
		`{"id":"a","from":"","to":{"Address":"x","Notify":null,"ORCPT":""},"reception":256}`, `{"id":"a","from":"","reception":01}`,
		`{"id":"a","from":"","to":{"Address":"x","Notify":null,"ORCPT":""},"trusted":false,"accepted":"2026-01-01t00:00:00z"}`, `{"id":"a"}}`, `{"src":1.0}`, `}`, `{}`,
	} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data string) {
		var got, want Record
		wantErr := json.Unmarshal([]byte(data), &want)
		if err := got.decode(data); (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: read %+v, %v\nwant %+v, %v", data, got, err, want, wantErr)
		}
	})
}

// ordinary is the record of most messages.
func ordinary() Record {
	at := time.Date(2026, 11, 23, 8, 0, 0, 123456789, time.UTC)
	return Record{ID: "1abc", From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost"}, Reception: mcmt.Allow,
		Listener: "esmtp_listener 127.0.0.1:2525", Peer: "192.0.2.1:999", Accepted: at, Sent: at, StanzaID: "s1", Part: "xmpp"}
}

func BenchmarkCodec(b *testing.B) {
	rec := ordinary()
	data, err := rec.encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rec.encode()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got Record
			_ = got.decode(data)
		}
	})
	b.Run("json/encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = json.Marshal(rec)
		}
	})
	b.Run("json/decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got Record
			_ = json.Unmarshal([]byte(data), &got)
		}
	})
}
