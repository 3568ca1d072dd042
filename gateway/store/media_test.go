package store

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	files "mcmt2xmpp/xmpp/account"
)

func readMedia(t *testing.T, s *Media, id string) ([]byte, files.File) {
	t.Helper()
	f, r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data, f
}

// TestMedia: a file is kept once however often it comes, is the same for another process
// and after a restart, and is gone when its time is over.
func TestMedia(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	o := FilesOptions{Bytes: 4 << 20, Age: time.Hour}
	s, err := OpenMedia(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	f, content := files.File{Name: "ä.png", Type: "image/png"}, bytes.Repeat([]byte("0123456789"), 40000)
	if err := s.Keep(t.Context(), "one", f, content); err != nil {
		t.Fatal(err)
	}
	_, first := readMedia(t, s, "one")
	if err := s.Keep(t.Context(), "one", f, content); err != nil {
		t.Fatal(err)
	}
	data, again := readMedia(t, s, "one")
	if !bytes.Equal(data, content) || again.Name != f.Name || again.Type != f.Type || again.Size != int64(len(content)) {
		t.Errorf("read %d bytes of %+v", len(data), again)
	}
	if first.ETag == "" || again.ETag != first.ETag {
		t.Errorf("stored anew: %q was %q", again.ETag, first.ETag)
	}
	if _, _, err := s.Open(t.Context(), "other"); !errors.Is(err, files.ErrNoFile) {
		t.Errorf("another: %v", err)
	}

	closeBroker(t, b)
	b = openBroker(t, dir)
	if s, err = OpenMedia(t.Context(), b, o); err != nil {
		t.Fatal(err)
	}
	if data, _ := readMedia(t, s, "one"); !bytes.Equal(data, content) {
		t.Error("after a restart the file is another one")
	}
	// With little time left it begins anew.
	if s, err = OpenMedia(t.Context(), b, FilesOptions{Bytes: o.Bytes, Age: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half of its time is over", func() bool {
		if err := s.Keep(t.Context(), "one", f, content); err != nil {
			t.Fatal(err)
		}
		_, now := readMedia(t, s, "one")
		return now.ETag != first.ETag
	})
	eventually(t, "the file is gone", func() bool {
		_, _, err := s.Open(t.Context(), "one")
		return errors.Is(err, files.ErrNoFile)
	})
}

// TestMediaTogether: the file of a message to many takes the room of one.
func TestMediaTogether(t *testing.T) {
	t.Parallel()
	s, err := OpenMedia(t.Context(), openBroker(t, t.TempDir()), FilesOptions{Bytes: 16 << 20, Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 300<<10)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := s.Keep(t.Context(), "one", files.File{Name: "x"}, content); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	status, err := s.objects.Status(t.Context())
	if err != nil || status.Size() > 2*uint64(len(content)) {
		t.Errorf("%d bytes are stored of a file of %d (%v)", status.Size(), len(content), err)
	}
	if data, _ := readMedia(t, s, "one"); !bytes.Equal(data, content) {
		t.Error("another file was stored")
	}
}

// noDisk is a broker whose disk is full.
type noDisk struct{ *broker.Broker }

func (noDisk) SetAside(int64) (func(), error) { return nil, broker.ErrFull }

// TestMediaDisk: files leave custody the room that it needs.
func TestMediaDisk(t *testing.T) {
	t.Parallel()
	s, err := OpenMedia(t.Context(), noDisk{openBroker(t, t.TempDir())}, FilesOptions{Bytes: 256 << 10, Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(t.Context(), "one", files.File{Name: "x"}, []byte("x")); !errors.Is(err, broker.ErrFull) {
		t.Errorf("got %v, want %v", err, broker.ErrFull)
	}
	if _, _, err := s.Open(t.Context(), "one"); !errors.Is(err, files.ErrNoFile) {
		t.Errorf("it was stored: %v", err)
	}
}

// TestMediaFull: without room nothing is kept of a file, and it may be tried again.
func TestMediaFull(t *testing.T) {
	t.Parallel()
	s, err := OpenMedia(t.Context(), openBroker(t, t.TempDir()), FilesOptions{Bytes: 256 << 10, Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(t.Context(), "large", files.File{Name: "x"}, make([]byte, 1<<20)); !errors.Is(err, files.ErrFull) {
		t.Errorf("got %v, want %v", err, files.ErrFull)
	}
	if _, _, err := s.Open(t.Context(), "large"); !errors.Is(err, files.ErrNoFile) {
		t.Errorf("what did not fit: %v", err)
	}
	if err := s.Keep(t.Context(), "small", files.File{Name: "x"}, make([]byte, 10<<10)); err != nil {
		t.Errorf("what fits: %v", err)
	}
}
