package delivery

import (
	"context"
	"fmt"
	"time"

	"mcmt2xmpp/gateway/convert"
)

// Media keeps the files that stanzas offer. Its methods are called from many goroutines.
type Media interface {
	// Place says by what a file of a message is kept, and its address: always the same
	// for the same file of the same message, on every node, and not to be guessed. No
	// address: the file is not offered.
	Place(message string, f convert.File) (id, url string)
	// Keep stores a file by its ID. A second time does no harm. Errors count as
	// temporary.
	Keep(ctx context.Context, f convert.File) error
}

// keepFor bounds the storing of the files of one message.
const keepFor = time.Minute

// place is Place for one message.
func (c *Conversion) place(message string) func(convert.File) (id, url string) {
	if c.Media == nil {
		return nil
	}
	return func(f convert.File) (string, string) { return c.Media.Place(message, f) }
}

// keep stores the files of a stanza before that goes on its way: whoever gets an address
// finds something there. While they cannot be stored the message waits.
func (c *Conversion) keep(ctx context.Context, files []convert.File) error {
	if len(files) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepFor)
	defer cancel()
	for i, f := range files {
		if err := c.Media.Keep(ctx, f); err != nil {
			return fmt.Errorf("file %d of the message: %w", i+1, err)
		}
	}
	return nil
}
