package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// responder answers questions to a subject with what f makes of them.
func responder(t *testing.T, b *Broker, subject string, f func(m *nats.Msg)) {
	t.Helper()
	_, err := b.work.nc.Subscribe(subject, f)
	if err == nil {
		err = b.work.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Answers reach who asked, in whatever order they come.
func TestRequest(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const n = 500
	var held []*nats.Msg // the responder's
	responder(t, b, "echo", func(m *nats.Msg) {
		if held = append(held, m); len(held) < 10 {
			return
		}
		for i := len(held) - 1; i >= 0; i-- {
			if err := held[i].Respond(held[i].Data); err != nil {
				t.Error(err)
			}
		}
		held = nil
	})
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() {
			want := strconv.Itoa(i)
			got, err := b.pub.request(testContext(t), &nats.Msg{Subject: "echo", Data: []byte(want)}, patience)
			if err != nil || string(got.Data) != want {
				t.Errorf("asked %s, got %v, %v", want, got, err)
			}
		})
	}
	asking.Wait()
	b.pub.requests.mu.Lock()
	defer b.pub.requests.mu.Unlock()
	if len(b.pub.waiting) != 0 {
		t.Errorf("%d are still waited for", len(b.pub.waiting))
	}
}

// An answer that comes too late is nobody's, even where the place of who asked
// was taken by another.
func TestRequestTooLate(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	questions := make(chan *nats.Msg, 1)
	responder(t, b, "late", func(m *nats.Msg) { questions <- m })
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	for range 100 {
		_, err := b.pub.request(testContext(t), &nats.Msg{Subject: "late"}, time.Nanosecond)
		if !errors.Is(err, noAnswer(time.Nanosecond)) {
			t.Fatalf("error %v", err)
		}
		first := <-questions
		if _, err = b.pub.request(ctx, &nats.Msg{Subject: "late"}, patience); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
		second := <-questions
		done := make(chan error)
		go func() {
			got, err := b.pub.request(testContext(t), &nats.Msg{Subject: "late"}, patience)
			if err == nil && string(got.Data) != "third" {
				err = fmt.Errorf("got the answer to the %s", got.Data)
			}
			done <- err
		}()
		third := <-questions
		if err := errors.Join(first.Respond([]byte("first")), second.Respond([]byte("second")), third.Respond([]byte("third"))); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// Where nobody is who could answer, the server says so.
func TestRequestNobody(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	m := &nats.Msg{Subject: "nobody"}
	if _, err := b.pub.request(testContext(t), m, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("error %v", err)
	}
	if m.Reply != "" {
		t.Errorf("the message still asks for an answer to %q", m.Reply)
	}
}

// The short way to read an answer accepts only what is certainly a success, and
// the long way reads the same in it.
func TestParseAck(t *testing.T) {
	t.Parallel()
	for data, short := range map[string]bool{
		`{"stream":"INGEST","seq":17}`:                                      true,
		`{"stream":"INGEST","seq":17,"duplicate":true}`:                     false,
		`{"stream":"INGEST","domain":"x","seq":17}`:                         false,
		`{"stream":"INGEST","seq":17,"batch":"b","count":2}`:                false,
		`{"error":{"code":503,"err_code":10077},"stream":"INGEST","seq":0}`: false,
		`{"stream":"INGEST","seq":0,"error":{"code":503,"err_code":1}}`:     false,
		`{"stream":"","seq":17}`:                                            false,
		`{"stream":"INGEST","seq":}`:                                        false,
		`{"stream":"INGEST","seq":17`:                                       false,
		``:                                                                  false,
	} {
		if got := plainAck([]byte(data)); got != short {
			t.Errorf("%s: %v, want %v", data, got, short)
		}
	}
	b := openTest(t, small(t.TempDir()))
	m := Message{Stage: Ingest, Route: "r", ID: "1"}
	for _, short := range []bool{true, false} { // what the real server says to the first, and to a copy
		wire, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.pub.request(testContext(t), wire, patience)
		if err != nil || plainAck(resp.Data) != short {
			t.Errorf("%s, %v: not read in the way it should be", resp.Data, err)
		}
		if ack, err := parseAck(resp.Data); err != nil || ack.Duplicate == short {
			t.Errorf("%s: %+v, %v", resp.Data, ack, err)
		}
	}
}
