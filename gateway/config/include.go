package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of include.
const (
	maxIncludeDepth = 16
	maxFiles        = 256
)

// include reads the files of an include into the scope it stands in. The path is
// relative to the file that includes; a pattern that matches nothing is fine, so
// that a folder of snippets may be empty.
func (l *loader) include(src *source, into *node, name *text) {
	s, ok := l.scalar(src, name.Token)
	if !ok {
		return
	}
	if s.text == "" {
		l.errorf(s.pos, "", "file name is empty")
		return
	}
	path := s.text
	if !filepath.IsAbs(path) {
		path = filepath.Join(src.dir, path)
	}
	files := []string{path}
	if strings.ContainsAny(s.text, "*?[") {
		var err error
		if files, err = filepath.Glob(path); err != nil {
			l.errorf(s.pos, "", "pattern %q is malformed", s.text)
			return
		}
	}
	for _, file := range files {
		l.includeFile(src, into, file, s.pos)
	}
}

func (l *loader) includeFile(from *source, into *node, path string, pos Position) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	switch {
	case slices.Contains(l.stack, path):
		l.errorf(pos, "", "%s includes itself: %s", shown(from, path), l.cycle(path))
		return
	case len(l.stack) >= maxIncludeDepth:
		l.errorf(pos, "", "files include each other deeper than %d", maxIncludeDepth)
		return
	case len(l.files) >= maxFiles:
		l.errorf(pos, "", "more than %d files are included", maxFiles)
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		l.errorf(pos, "", "%s: %s", shown(from, path), reason(err))
		return
	}
	l.files = append(l.files, path)
	l.stack = append(l.stack, path)
	l.source(newSource(shown(from, path), filepath.Dir(path), string(text)), into)
	l.stack = l.stack[:len(l.stack)-1]
}

// cycle lists the files from path to where it is included again.
func (l *loader) cycle(path string) string {
	var names []string
	for _, f := range l.stack[slices.Index(l.stack, path):] {
		names = append(names, filepath.Base(f))
	}
	return strings.Join(append(names, filepath.Base(path)), " → ")
}

// shown is how positions name an included file: relative as the including file
// is, where it is within the same folder or below.
func shown(from *source, path string) string {
	rel, err := filepath.Rel(from.dir, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return filepath.Join(filepath.Dir(from.name), rel)
}

// reason is the cause of a file system error without the path, which the
// message has already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
