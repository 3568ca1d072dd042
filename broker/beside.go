package broker

import (
	"context"
	"errors"
	"sync"
)

// errUnready means that Own has returned before it was ready.
var errUnready = errors.New("ended before it was ready")

// beside is ConsumeOptions.Own at work for one slice.
type beside struct {
	ready chan struct{} // closed by Own: messages may be handed over
	ended chan struct{} // closed when Own has returned
	err   error         // what it returned, valid then
	stop  context.CancelFunc
}

// runBeside starts own, if there is one, in a goroutine; who calls it calls end.
// failed gets the error that own returns after it was ready.
func runBeside(ctx, work context.Context, own func(ctx, work context.Context, s Slice, ready func()) error, s Slice, failed func(error)) *beside {
	ctx, stop := context.WithCancel(ctx)
	o := &beside{ready: make(chan struct{}), ended: make(chan struct{}), stop: stop}
	if own == nil {
		close(o.ready)
		close(o.ended)
		return o
	}
	go func() {
		defer close(o.ended)
		o.err = own(ctx, work, s, sync.OnceFunc(func() { close(o.ready) }))
		if o.err != nil {
			failed(o.err)
		}
	}()
	return o
}

// awaitReady returns nil when messages may be handed over.
func (o *beside) awaitReady(ctx context.Context) error {
	select {
	case <-o.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ended:
	}
	select {
	case <-o.ready: // and then it ended
		return o.err
	default:
	}
	if o.err == nil {
		return errUnready
	}
	return o.err
}

// end tells Own to end and waits for it.
func (o *beside) end() {
	o.stop()
	<-o.ended
}
