package account

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

// oneRange leaves out what a request says of ranges unless it asks for one range of
// bytes. Several may be for every byte alone and in no order, and would each be looked
// for from the beginning of the file; a server may ignore them (RFC 9110 §14.2). Other
// units, and other methods than GET, it has to.
func oneRange(r *http.Request) *http.Request {
	ranges := r.Header.Values("Range")
	one := len(ranges) == 1 && strings.HasPrefix(ranges[0], "bytes=") && !strings.Contains(ranges[0], ",")
	if len(ranges) == 0 || one && r.Method == http.MethodGet {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	return r
}

// forward reads a file from any place on, but never goes back: the store gives it from
// the beginning, and what comes before is read and thrown away.
type forward struct {
	r    io.Reader
	size int64
	at   int64 // where r is
	from int64 // where reading goes on
}

// Seek says where reading goes on.
func (f *forward) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.from
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, errors.New("before the beginning")
	}
	f.from = offset
	return offset, nil
}

// Read reads what comes next.
func (f *forward) Read(b []byte) (int, error) {
	if f.from < f.at {
		return 0, errors.New("what was read is gone")
	}
	skipped, err := io.CopyN(io.Discard, f.r, f.from-f.at)
	f.at += skipped
	if err != nil {
		return 0, err
	}
	n, err := f.r.Read(b)
	f.at += int64(n)
	f.from = f.at
	return n, err
}
