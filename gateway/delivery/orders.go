package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
)

// Exchange carries orders to the process that owns a route.
type Exchange interface {
	Answer(subject string, f func(ctx context.Context, data []byte) []byte) (stop func(), err error)
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Remove takes a message out of a stage.
	Remove(ctx context.Context, stage broker.Stage, seq uint64) (removed bool, err error)
}

// order is what an operator wants done with parked messages. What PARK holds of a
// route may be touched only by its owner, under the route's mutex.
type order struct {
	// Retry are routes to be tried now.
	Retry []string `json:"retry,omitempty"`
	// Drop is a route whose messages are to be dropped: those with one of the ids,
	// or all where there is none.
	Drop string   `json:"drop,omitempty"`
	IDs  []string `json:"ids,omitempty"`
}

// carried is what became of an order: how many messages it has touched.
type carried struct {
	N     int    `json:"n"`
	Error string `json:"error,omitempty"`
}

// orderSubject is where the owner of a partition listens.
func (dl *Delivery) orderSubject(partition string) string {
	if dl.stage == broker.Mail {
		return "relay." + partition + ".order"
	}
	return "deliver." + partition + ".order"
}

// answerOrders answers the orders for a slice until stop is called.
func (dl *Delivery) answerOrders(o *owned) (stop func(), err error) {
	if dl.o.Exchange == nil {
		return func() {}, nil
	}
	partitions := []string{"*"}
	if ps := o.slice.Partitions(); ps != nil {
		partitions = partitions[:0]
		for _, p := range ps {
			partitions = append(partitions, strconv.Itoa(p))
		}
	}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, p := range partitions {
		s, err := dl.o.Exchange.Answer(dl.orderSubject(p), dl.carryOut)
		if err != nil {
			stop()
			return nil, fmt.Errorf("delivery: orders: %w", err)
		}
		stops = append(stops, s)
	}
	return stop, nil
}

func (dl *Delivery) carryOut(ctx context.Context, data []byte) []byte {
	var o order
	var a carried
	err := json.Unmarshal(data, &o)
	switch {
	case err != nil:
	case o.Drop != "":
		a.N, err = dl.drop(ctx, o.Drop, o.IDs)
	default:
		for _, name := range o.Retry {
			a.N += dl.WakeAll(name)
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	out, err := json.Marshal(a)
	if err != nil {
		return nil // cannot be: a number and a text
	}
	return out
}

// drop removes parked messages of a route and notes that they were dropped.
func (dl *Delivery) drop(ctx context.Context, name string, ids []string) (n int, err error) {
	dl.mu.Lock()
	owner := dl.owner(name)
	dl.mu.Unlock()
	if owner == nil {
		return 0, errors.New("the route is another process's now, try again")
	}
	wanted := make(map[string]bool)
	for _, id := range ids {
		wanted[id] = true
	}
	rt := dl.lock(name)
	defer dl.unlock(rt)
	for from := uint64(0); ; {
		found, next, err := dl.broker.Peek(ctx, broker.Park, name, from, 100)
		if err != nil {
			return n, fmt.Errorf("drop: %w", err)
		}
		for i := range found {
			gone, err := dl.dropOne(ctx, rt, &found[i], wanted)
			if err != nil {
				return n, fmt.Errorf("drop: %w", err)
			}
			if gone {
				n++
			}
		}
		if from = next; next == 0 {
			return n, nil
		}
	}
}

func (dl *Delivery) dropOne(ctx context.Context, rt *route, p *broker.Peeked, wanted map[string]bool) (bool, error) {
	rec, err := custody.Read(&p.Delivery)
	if err != nil {
		rec = Known(rec, &p.Delivery) // unreadable, and all the more worth dropping
	}
	if len(wanted) > 0 && !wanted[string(rec.ID)] {
		return false, nil
	}
	gone, err := dl.o.Exchange.Remove(ctx, broker.Park, p.Seq)
	if err != nil || !gone {
		return false, err
	}
	rt.parked.Store(max(0, rt.parked.Load()-1))
	dl.dropped.Add(1)
	const why = "dropped by an operator"
	dl.trace.Emit(event(trace.Dropped, rec, trace.Event{Reason: why}))
	return true, dl.broker.Record(ctx, journal(custody.Outcome{Record: rec, End: custody.Dropped, Why: why, Node: dl.o.Node}))
}

// Retry has the parked messages of routes tried now, by whoever owns them, and
// returns how many messages that is. A name may be a domain: all routes into it.
func (dl *Delivery) Retry(ctx context.Context, routes []string) (n int, err error) {
	byPartition := make(map[int][]string)
	for _, name := range routes {
		p := broker.PartitionOf(name)
		byPartition[p] = append(byPartition[p], name)
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	var errs []error
	for p, names := range byPartition {
		asking.Go(func() {
			a, err := dl.ask(ctx, p, order{Retry: names})
			mu.Lock()
			defer mu.Unlock()
			n += a
			errs = append(errs, err)
		})
	}
	asking.Wait()
	return n, errors.Join(errs...)
}

// Drop removes the parked messages of a route, or those of them with one of the
// ids, and returns how many.
func (dl *Delivery) Drop(ctx context.Context, route string, ids []string) (n int, err error) {
	return dl.ask(ctx, broker.PartitionOf(route), order{Drop: route, IDs: ids})
}

func (dl *Delivery) ask(ctx context.Context, partition int, o order) (int, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	out, err := dl.o.Exchange.Ask(ctx, dl.orderSubject(strconv.Itoa(partition)), data)
	if err != nil {
		return 0, fmt.Errorf("no process delivers for partition %d now: %w", partition, err)
	}
	var a carried
	switch err := json.Unmarshal(out, &a); {
	case err != nil:
		return 0, fmt.Errorf("order: answer: %w", err)
	case a.Error != "":
		return a.N, errors.New(a.Error)
	}
	return a.N, nil
}
