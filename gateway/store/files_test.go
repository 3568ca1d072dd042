package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	files "mcmt2xmpp/xmpp/account"
)

func openFiles(t *testing.T, b *broker.Broker, o FilesOptions) *Files {
	t.Helper()
	s, err := OpenFiles(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFiles: a file that was reserved is stored once, read by another process and after a
// restart, counts against its owner's quota, and goes with the account.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	here, there := openFiles(t, b, FilesOptions{Bytes: 4 << 20, Age: time.Hour}), openFiles(t, b, FilesOptions{Bytes: 4 << 20, Age: time.Hour})
	ctx := t.Context()
	content := bytes.Repeat([]byte("0123456789"), 40000) // some chunks
	f := files.File{User: bob, Name: "ä.png", Type: "image/png", Size: int64(len(content))}
	const quota = 1 << 20
	read := func(s *Files, id string) ([]byte, files.File) {
		t.Helper()
		got, r, err := s.Open(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data, got
	}
	if err := here.Save(ctx, "one", f, bytes.NewReader(content)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("without a reservation: %v", err)
	}
	if err := here.Reserve(ctx, "one", f, time.Minute, quota); err != nil {
		t.Fatal(err)
	}
	// One that breaks off leaves nothing behind but the right to try again.
	broken := io.MultiReader(bytes.NewReader(content[:300000]), iotestErr{})
	if err := there.Save(ctx, "one", f, broken); err == nil {
		t.Error("a broken upload was stored")
	}
	if _, _, err := here.Open(ctx, "one"); !errors.Is(err, files.ErrNoFile) {
		t.Errorf("a broken upload: %v", err)
	}
	if err := there.Save(ctx, "one", f, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := here.Save(ctx, "one", f, strings.NewReader("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	data, got := read(here, "one")
	if !bytes.Equal(data, content) || got.Name != f.Name || got.Type != f.Type || got.User != bob || got.Size != f.Size || got.ETag == "" {
		t.Errorf("read %d bytes of %+v", len(data), got)
	}

	// 400,000 bytes are there: what is reserved counts, what has lapsed does not.
	if err := here.Reserve(ctx, "lapsed", f, -time.Minute, quota); err != nil {
		t.Fatal(err)
	}
	if err := there.Reserve(ctx, "two", f, time.Minute, quota); err != nil {
		t.Errorf("after one that has lapsed: %v", err)
	}
	if err := here.Reserve(ctx, "three", f, time.Minute, quota); !errors.Is(err, files.ErrFull) {
		t.Errorf("over the quota: %v", err)
	}
	g := f
	g.User = carol
	if err := here.Reserve(ctx, "hers", g, time.Minute, quota); err != nil {
		t.Errorf("another account: %v", err)
	}
	if err := here.Save(ctx, "hers", g, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}

	closeBroker(t, b)
	again := openFiles(t, openBroker(t, dir), FilesOptions{Bytes: 4 << 20, Age: time.Hour})
	if data, _ := read(again, "one"); !bytes.Equal(data, content) {
		t.Error("after a restart the file is another one")
	}
	if err := again.Remove(ctx, bob); err != nil {
		t.Fatal(err)
	}
	if _, _, err := again.Open(ctx, "one"); !errors.Is(err, files.ErrNoFile) {
		t.Errorf("after the account: %v", err)
	}
	if data, _ := read(again, "hers"); !bytes.Equal(data, content) {
		t.Error("another account's file went too")
	}
	if err := again.Reserve(ctx, "new", f, time.Minute, int64(len(content))); err != nil {
		t.Errorf("after the account its quota is used: %v", err)
	}
}

// TestFilesFull: there is an end of the room for all.
func TestFilesFull(t *testing.T) {
	t.Parallel()
	s := openFiles(t, openBroker(t, t.TempDir()), FilesOptions{Bytes: 256 << 10, Age: time.Hour})
	f := files.File{User: bob, Name: "x", Size: 1 << 20}
	if err := s.Reserve(t.Context(), "x", f, time.Minute, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), "x", f, bytes.NewReader(make([]byte, f.Size))); !errors.Is(err, files.ErrFull) {
		t.Errorf("got %v, want %v", err, files.ErrFull)
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errors.New("connection lost") }
