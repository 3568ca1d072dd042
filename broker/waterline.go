package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// The embedded server cuts a damaged file off at its first bad message when it
// opens it, and counts only some of what it has lost that way. So we remember, in
// a file beside the store, how far each stage had come.
const (
	waterlineFile     = "waterline.json"
	waterlineInterval = time.Second
)

// waterline is the last position of each stage, and when its stream was made:
// positions begin anew with the stream.
type waterline map[Stage]level

type level struct {
	Seq  uint64    `json:"seq"`
	Made time.Time `json:"made"`
}

func (b *Broker) waterlinePath() string { return filepath.Join(b.o.Dir, waterlineFile) }

// compare finds how many messages each stage has lost since the waterline was
// written. A store that had none yet has lost nothing that we know of.
func (b *Broker) compare(ctx context.Context) error {
	now, err := b.levels(ctx)
	if err != nil {
		return fmt.Errorf("broker: waterline: %w", err)
	}
	data, err := os.ReadFile(b.waterlinePath())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("broker: waterline: %w", err)
	}
	var before waterline
	if err := json.Unmarshal(data, &before); err != nil {
		b.log.Warn().Err(err).Msg("waterline cannot be read: not known whether the store has lost messages")
		return nil
	}
	b.lost = make(map[Stage]uint64)
	for s, l := range before {
		if at, ok := now[s]; ok && at.Made.Equal(l.Made) && at.Seq < l.Seq {
			b.lost[s] = l.Seq - at.Seq
		}
	}
	return nil
}

func (b *Broker) levels(ctx context.Context) (waterline, error) {
	w := make(waterline)
	for s := range b.counts {
		info, err := b.admin.js.Stream(ctx, streamOf(s))
		if err != nil {
			return nil, requestRefusal(err)
		}
		w[s] = level{info.CachedInfo().State.LastSeq, info.CachedInfo().Created}
	}
	return w, nil
}

// watchWaterline writes the waterline down whenever it has risen, until ctx ends,
// and then once more.
func (b *Broker) watchWaterline(ctx context.Context) {
	t := time.NewTicker(waterlineInterval)
	defer t.Stop()
	var written waterline
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-t.C:
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), waterlineInterval)
		w, err := b.levels(work)
		cancel()
		if err == nil && !maps.Equal(w, written) {
			if err = b.writeWaterline(w); err == nil {
				written = w
			}
		}
		if err != nil && !last {
			b.log.Debug().Err(err).Msg("waterline not written")
		}
	}
}

// writeWaterline replaces the file as a whole: half of one would be none.
func (b *Broker) writeWaterline(w waterline) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	path := b.waterlinePath()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
