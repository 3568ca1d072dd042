//go:build !unix

package listener

import (
	"fmt"
	"runtime"
	"syscall"
)

// setBacklog leaves the backlog that the net package chose, the system's
// maximum: what cannot be set here is larger, never smaller.
func setBacklog(uintptr, int) error { return nil }

// setBuffers refuses sizes: nothing here can set them before the window scale
// is agreed.
func setBuffers(_ uintptr, recv, send int) error {
	if recv > 0 || send > 0 {
		return fmt.Errorf("tcp_recv_buffer_size and tcp_send_buffer_size are not available on %s", runtime.GOOS)
	}
	return nil
}

// waiting says yes: without a question to the system every connection counts as
// one that waited, and events_per_iter yields more often than it has to.
func waiting(syscall.Conn) bool { return true }
