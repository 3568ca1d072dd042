package broker

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// plainServer is a server without JetStream, for which the test answers, and a
// broker that is connected to it.
func plainServer(t *testing.T, subject string, answer func(m *nats.Msg)) (*Broker, *server.Server) {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("server does not start")
	}
	b := new(Broker)
	if b.work, err = dial(Options{}, &embedded{s: s}, "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.work.close)
	responder(t, b, subject, answer)
	return b, s
}

// A cluster that does not answer about a new consumer holds an election: the same
// one is asked for again, and not another.
func TestConsumerAfterElection(t *testing.T) {
	t.Parallel()
	cfg := jetstream.ConsumerConfig{Name: "s0-1", Durable: "s0-1", AckPolicy: jetstream.AckExplicitPolicy}
	asked := 0
	b, _ := plainServer(t, "$JS.API.CONSUMER.CREATE.INGEST.s0-1", func(m *nats.Msg) {
		if asked++; asked == 1 {
			return
		}
		answer := map[string]any{"stream_name": streamIngest, "name": cfg.Name, "config": cfg}
		data, err := json.Marshal(answer)
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	cons, err := b.createConsumer(testContext(t), Ingest, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := cons.CachedInfo().Name; got != cfg.Name || asked != 2 {
		t.Errorf("consumer %s after %d questions", got, asked)
	}
}

// Who waits for a consumer learns at once that the connection is lost.
func TestConsumerWithoutConnection(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 2)
	cfg := jetstream.ConsumerConfig{Name: "s0-1", Durable: "s0-1"}
	b, s := plainServer(t, "$JS.API.CONSUMER.CREATE.INGEST.s0-1", func(*nats.Msg) { asked <- struct{}{} })
	made := make(chan error, 1)
	go func() {
		_, err := b.createConsumer(testContext(t), Ingest, cfg)
		made <- err
	}()
	await(t, "question", asked)
	stopServer(s)
	if err := <-made; !errors.Is(err, errDisconnected) {
		t.Errorf("error %v, want %v", err, errDisconnected)
	}
	if _, err := b.createConsumer(testContext(t), Ingest, cfg); !errors.Is(err, errDisconnected) {
		t.Errorf("without a connection: error %v, want %v", err, errDisconnected)
	}
}
