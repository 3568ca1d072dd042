package broker

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pair opens two brokers on one external server, and returns how to restart it.
func pair(t *testing.T) (a, b *Broker, stop, start func()) {
	t.Helper()
	dir := t.TempDir()
	s := outsideServer(t, dir, -1)
	port := s.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { stopServer(s) })
	o := Options{URLs: []string{s.ClientURL()}, User: "u", Password: "p", MaxStore: 512 * mib}
	return openTest(t, o), openTest(t, o), func() { stopServer(s) }, func() { s = outsideServer(t, dir, port) }
}

func answer(t testing.TB, b *Broker, subject string, f func(context.Context, []byte) []byte) (stop func()) {
	t.Helper()
	stop, err := b.Answer(subject, f)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func TestAsk(t *testing.T) {
	t.Parallel()
	a, b, _, _ := pair(t)
	ctx := testContext(t)
	if a.Node() == b.Node() || a.Node() == "" {
		t.Errorf("nodes %q and %q", a.Node(), b.Node())
	}
	subject := "node." + b.Node() + ".test"
	if _, err := a.Ask(ctx, subject, nil); !errors.Is(err, ErrNobody) || permanent(err) {
		t.Errorf("before anybody answers: %v, want a temporary ErrNobody", err)
	}
	stop := answer(t, b, subject, func(_ context.Context, data []byte) []byte { return bytes.ToUpper(data) })
	for _, from := range []*Broker{a, b} {
		for _, text := range []string{"a\x00\r\nü", "", string(bytes.Repeat([]byte("x"), 1<<20))} {
			got, err := from.Ask(ctx, subject, []byte(text))
			if err != nil || !bytes.Equal(got, bytes.ToUpper([]byte(text))) {
				t.Errorf("answer of %d bytes to %d, %v", len(got), len(text), err)
			}
		}
	}
	if _, err := a.Ask(ctx, subject, make([]byte, maxPayload+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a request that no server takes: %v", err)
	}
	stop()
	if _, err := a.Ask(ctx, subject, nil); !errors.Is(err, ErrNobody) {
		t.Errorf("after the end: %v, want ErrNobody", err)
	}
}

// TestAnswerPanics: one request must not take the process with it, nor leave who
// asked waiting.
func TestAnswerPanics(t *testing.T) {
	t.Parallel()
	a, b, _, _ := pair(t)
	answer(t, b, "test", func(_ context.Context, data []byte) []byte { return data[:1] })
	if _, err := a.Ask(testContext(t), "test", nil); !errors.Is(err, errFailed) || errors.Is(err, ErrNobody) {
		t.Errorf("a panic is answered with %v", err)
	}
	if got, err := a.Ask(testContext(t), "test", []byte("xy")); err != nil || string(got) != "x" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// TestAnswerBound fills all places: what comes then waits, and gets its turn.
func TestAnswerBound(t *testing.T) {
	t.Parallel()
	a, b, _, _ := pair(t)
	var running, most atomic.Int64
	full, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	answer(t, b, "test", func(context.Context, []byte) []byte {
		n := running.Add(1)
		defer running.Add(-1)
		if n > most.Load() {
			most.Store(n)
		}
		if n == answering {
			once.Do(func() { close(full) })
		}
		<-release
		return nil
	})
	var all sync.WaitGroup
	for range answering + 100 {
		all.Go(func() {
			if _, err := a.Ask(testContext(t), "test", nil); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "all places taken", full)
	close(release)
	all.Wait()
	if most.Load() > answering {
		t.Errorf("%d at a time, want at most %d", most.Load(), answering)
	}
}

// TestAnswerEnds: stop and Close end what is being answered, and wait for it.
func TestAnswerEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *Broker, func()){
		"stop":  func(_ *testing.T, _ *Broker, stop func()) { stop() },
		"close": func(t *testing.T, b *Broker, _ func()) { closeTest(t, b) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, _, _ := pair(t)
			begun := make(chan struct{})
			var over atomic.Bool
			stop := answer(t, b, "test", func(ctx context.Context, _ []byte) []byte {
				close(begun)
				<-ctx.Done()
				over.Store(true)
				return []byte("ended")
			})
			got := make(chan error, 1)
			go func() {
				resp, err := a.Ask(testContext(t), "test", nil)
				if err == nil && string(resp) != "ended" {
					err = errors.New("answered with " + string(resp))
				}
				got <- err
			}()
			await(t, "request", begun)
			end(t, b, stop)
			if !over.Load() {
				t.Error("it was not waited for")
			}
			if name == "close" {
				return // the answer may be lost with the connection
			}
			if err := <-got; err != nil {
				t.Error(err)
			}
			stop() // once more does nothing
		})
	}
}

// TestStopWhileAsked: whoever asks just when the answering ends learns at once that
// nobody is there.
func TestStopWhileAsked(t *testing.T) {
	t.Parallel()
	a, b, _, _ := pair(t)
	for range 10 {
		var answered atomic.Int64
		stop := answer(t, b, "test", func(context.Context, []byte) []byte { answered.Add(1); return nil })
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				for {
					_, err := a.Ask(testContext(t), "test", nil)
					switch {
					case errors.Is(err, ErrNobody):
						return
					case err != nil:
						t.Error(err)
						return
					}
				}
			})
		}
		for answered.Load() < 100 {
			if !pause(testContext(t), time.Millisecond) {
				t.Fatal("nothing is answered")
			}
		}
		stop()
		all.Wait()
	}
}

// TestAskEnds: nothing keeps who asks longer than it wants to wait, or than there
// is a connection.
func TestAskEnds(t *testing.T) {
	t.Parallel()
	a, b, stopServer, startServer := pair(t)
	begun := make(chan struct{}, 4)
	answer(t, b, "silence", func(ctx context.Context, _ []byte) []byte {
		begun <- struct{}{}
		<-ctx.Done()
		return nil
	})
	answer(t, b, "test", func(context.Context, []byte) []byte { return []byte("here") })
	ask := func(ctx context.Context, from *Broker) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := from.Ask(ctx, "silence", nil)
			done <- err
		}()
		<-begun
		return done
	}
	ctx, cancel := context.WithCancel(testContext(t))
	done := ask(ctx, a)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended: %v", err)
	}
	answer(t, a, "own", func(context.Context, []byte) []byte { return nil })
	back, backB := a.Reconnected(), b.Reconnected()
	done = ask(context.Background(), a)
	stopServer()
	if err := <-done; !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNobody) {
		t.Errorf("connection lost: %v, want ErrUnavailable", err)
	}
	if _, err := a.Ask(context.Background(), "test", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a connection: %v, want ErrUnavailable", err)
	}
	select {
	case <-back:
		t.Error("reconnected to a server that is down")
	default:
	}
	startServer()
	await(t, "reconnection", back)
	if _, err := a.Ask(testContext(t), "own", nil); err != nil {
		t.Errorf("all connections are back: %v", err)
	}
	await(t, "reconnection of the other side", backB)
	if got, err := a.Ask(testContext(t), "test", nil); err != nil || string(got) != "here" {
		t.Errorf("after the reconnection: %q, %v", got, err)
	}
	done = ask(context.Background(), a)
	closeTest(t, a)
	if err := <-done; !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed meanwhile: %v, want ErrUnavailable", err)
	}
	if _, err := a.Ask(context.Background(), "test", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: %v, want ErrUnavailable", err)
	}
	if _, err := a.Answer("test", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("answer of a closed broker: %v, want ErrUnavailable", err)
	}
}
