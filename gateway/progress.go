package main

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progressOn shows on a terminal how far the phases of long work have come, and takes
// each away when it is done. Elsewhere there is nothing to see, and it is nil.
func progressOn(w io.Writer, what string) func(string, float64) {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return nil
	}
	var bar *progressbar.ProgressBar
	var current string
	return func(phase string, done float64) {
		if phase != current {
			current = phase
			bar = progressbar.NewOptions(1000, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what+": "+phase),
				progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
		}
		_ = bar.Set(int(1000 * min(1, done)))
	}
}
