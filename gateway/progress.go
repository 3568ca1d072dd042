package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressBar shows on a terminal how far long work has come. Elsewhere it shows nothing:
// what was done is said at the end.
type progressBar struct {
	out     io.Writer // nil: nobody watches
	what    string
	n, of   int
	painted time.Time
}

// repaint is how often the line is written anew at most.
const repaint = 100 * time.Millisecond

func newProgress(out io.Writer, what string, of int) *progressBar {
	p := &progressBar{what: what, of: of}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = out
	}
	return p
}

// step counts one more that is done.
func (p *progressBar) step() {
	p.n++
	if p.out != nil && (time.Since(p.painted) >= repaint || p.n == p.of) {
		p.painted = time.Now()
		fmt.Fprintf(p.out, "\r%s %d of %d (%d%%)", p.what, p.n, p.of, 100*p.n/max(p.of, 1))
	}
}

// done leaves the line.
func (p *progressBar) done() {
	if p.out != nil {
		fmt.Fprintln(p.out)
	}
}
