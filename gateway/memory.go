package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryInterval is how often the process looks whether it holds memory for nothing.
const memoryInterval = time.Minute

// heap is what the runtime says of the heap, in bytes.
type heap struct {
	allocated uint64 // since the process began
	live      uint64 // what the last collection has found in use
	held      uint64 // of the system's memory
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return heap{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}

// wastes says whether a heap that was as before an interval ago holds much for nothing,
// and will for long: so little has been allocated since that the runtime's own collection
// is some intervals away.
func (h heap) wastes(before heap) bool {
	const least = 8 << 20 // what is not worth a collection
	return h.allocated-before.allocated < h.live/4 && h.held > h.live+h.live/4+least
}

// returnMemory gives the system back what a burst has left, once it is over and until ctx
// ends: the runtime itself keeps as much as the heap had at the last collection, which after ten
// thousand logins is twice what the idle sessions need.
func returnMemory(ctx context.Context) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	before := readHeap()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := readHeap()
		if now.wastes(before) {
			debug.FreeOSMemory()
			now = readHeap()
		}
		before = now
	}
}
