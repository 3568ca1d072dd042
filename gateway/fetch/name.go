package fetch

import (
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds the name of a file in bytes.
const maxName = 120

// fileName is the name that an answer gives its file (RFC 6266), or the last element of
// its address.
func fileName(resp *http.Response) string {
	if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition")); err == nil {
		if name := baseName(params["filename"]); name != "" {
			return name
		}
	}
	return baseName(resp.Request.URL.Path)
}

// baseName makes the last element of a path a name that chooses no folder and shows
// what it is; what is too long loses its beginning, and keeps the extension.
func baseName(name string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError || r == '/' {
			return -1
		}
		return r
	}, name)
	name = strings.Trim(name, ". ")
	for len(name) > maxName {
		_, size := utf8.DecodeRuneInString(name)
		name = name[size:]
	}
	return name
}

// mediaType is a type without its parameters.
func mediaType(v string) string {
	kind, _, err := mime.ParseMediaType(v)
	if err != nil || !strings.Contains(kind, "/") {
		return "application/octet-stream"
	}
	return kind
}
