package admin

import (
	"slices"
	"sync"
	"time"

	"mcmt2xmpp/gateway/trace"
)

// stages are those of the flow, in the order of the way of a message.
var stages = []trace.Stage{
	trace.Accepted, trace.Stored, trace.Converted,
	trace.Delivered, trace.Relayed, trace.Diverted, trace.Filtered, trace.Deferred, trace.Failed, trace.Expired, trace.Dropped,
}

const (
	flowSeconds = 60 // for which StageFlow.Recent tells
	rateSeconds = 10 // of which StageFlow.Rate is the mean
)

// StageFlow is how many messages have passed a stage, per recipient where it knows
// them. Of filtered ones only those count that a filter has dropped.
type StageFlow struct {
	Stage  trace.Stage `json:"stage"`
	Total  uint64      `json:"total"`  // since the start
	Rate   float64     `json:"rate"`   // messages a second, over the last 10 s
	Recent []uint32    `json:"recent"` // by second, the last 60, the oldest first
}

// flow counts events by stage and second.
type flow struct {
	mu     sync.Mutex
	total  [16]uint64                  // by the index in stages
	second int64                       // since the epoch, the one that is counted now
	recent [flowSeconds + 1][16]uint32 // by second modulo its length, with the one that is counted now
}

// note counts an event of now.
func (f *flow) note(e trace.Event) {
	i := slices.Index(stages, e.Stage)
	if i < 0 || e.Stage == trace.Filtered && (e.Verdict != "drop" || e.Shadow) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(time.Now().Unix())
	f.total[i]++
	f.recent[f.second%int64(len(f.recent))][i]++
}

// advance makes now the second that is counted, and forgets those too long ago. A clock
// that is put back is not followed until it catches up.
func (f *flow) advance(now int64) {
	for n := min(now-f.second, int64(len(f.recent))); n > 0; n-- {
		clear(f.recent[(now-n+1)%int64(len(f.recent))][:])
	}
	f.second = max(f.second, now)
}

// report tells of whole seconds only.
func (f *flow) report() []StageFlow {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(time.Now().Unix())
	all := make([]StageFlow, len(stages))
	for i, stage := range stages {
		all[i] = StageFlow{Stage: stage, Total: f.total[i], Recent: make([]uint32, flowSeconds)}
		for back := range int64(flowSeconds) {
			n := f.recent[(f.second-1-back)%int64(len(f.recent))][i]
			all[i].Recent[flowSeconds-1-back] = n
			if back < rateSeconds {
				all[i].Rate += float64(n) / rateSeconds
			}
		}
	}
	return all
}
