package httpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// readLines starts the work on each line. It calls begin before the first. The
// error ends the batch.
func (b *batchRun) readLines(br *bufio.Reader, begin func()) error {
	for {
		text, err := b.readLine(br)
		var p *problem
		switch {
		case errors.As(err, &p) && p.Where == overlong: // the rest can be read
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(text.b) == 0:
			text.release()
			continue
		}
		if b.lines > b.s.opt.MaxBatchLines {
			text.release()
			return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("line %d", b.lines), "a batch has at most %d lines", b.s.opt.MaxBatchLines)
		}
		if err := b.await(); err != nil {
			text.release()
			return err
		}
		if b.queued == 0 {
			begin()
		}
		b.start(text, p)
	}
}

// overlong is the place of a line that was read to its end and not kept.
const overlong = "line"

// readLine reads one line and takes its end off. A line that is too long, or
// finds no memory, is skipped, and the error says so with the place overlong; a
// line that the body breaks off in is not a line.
func (b *batchRun) readLine(br *bufio.Reader) (*body, error) {
	text := &body{memory: b.s.memory}
	limit := b.x.opt.MaxMessageSize
	b.lines++
	var bad error
	for {
		chunk, err := br.ReadSlice('\n')
		if bad == nil {
			bad = b.keep(text, chunk, limit)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			text.release()
			if errors.Is(context.Cause(b.x.r.Context()), errDraining) {
				return nil, newProblem(http.StatusServiceUnavailable, fmt.Sprintf("line %d", b.lines), "no more lines are taken now").because(err)
			}
			return nil, readProblem(err)
		}
		if bad != nil {
			text.release()
			return text, bad
		}
		if err == io.EOF && len(text.b) == 0 {
			text.release()
			return nil, io.EOF
		}
		text.b = bytes.TrimSpace(text.b)
		return text, nil
	}
}

// keep appends a piece of a line.
func (b *batchRun) keep(text *body, chunk []byte, limit int64) error {
	need := int64(len(text.b) + len(chunk))
	if need > limit+2 { // CR LF
		p := tooLarge(limit)
		p.Where = overlong
		return p
	}
	if need > text.held {
		if err := text.hold(b.x.r.Context(), min(max(2*text.held, need), limit+2), b.s.opt.ReadTimeout); err != nil {
			p := asProblem(err)
			p.Where = overlong
			return p
		}
	}
	text.b = append(text.b, chunk...)
	return nil
}

// await waits until one more line may be begun: the rate, the window, and the
// client's reading allow it.
func (b *batchRun) await() error {
	ctx, cancel := context.WithDeadline(b.x.r.Context(), b.x.start.Add(b.s.opt.BodyTimeout))
	defer cancel()
	if limiter := b.s.peers.get(b.x.peer.Addr()).limiter(b.x.opt); limiter != nil {
		if err := limiter.Wait(ctx); err != nil {
			return newProblem(http.StatusTooManyRequests, fmt.Sprintf("line %d", b.lines), "at %g messages a second the rest takes too long", b.x.opt.Rate).because(err)
		}
	}
	select {
	case b.window <- struct{}{}:
	case <-ctx.Done():
		return newProblem(http.StatusServiceUnavailable, fmt.Sprintf("line %d", b.lines), "try again later").because(ctx.Err())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.unsent > maxUnsent && !b.gone {
		b.room.Wait() // the writer has a deadline: it wakes us, or finds the client gone
	}
	if b.gone {
		<-b.window
		return newProblem(http.StatusRequestTimeout, "body", "the results were not read")
	}
	return nil
}
