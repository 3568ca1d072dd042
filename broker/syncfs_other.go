//go:build !linux

package broker

import "errors"

// openSync refuses: sync(2) elsewhere does not wait for the disk, or does not
// report its errors.
func openSync(string) (sync func() error, closer func() error, err error) {
	return nil, nil, errors.New(`broker: durability "power" needs Linux`)
}
