package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// samples are the values of /metrics by name and labels, as they are written.
type samples map[string]float64

func metricsOf(t *testing.T, g *gateway) samples {
	t.Helper()
	resp, err := http.Get(g.admin() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v\n%s", resp.Status, err, text)
	}
	all := make(samples)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Errorf("/metrics: %q: %v", line, err)
		}
		all[line[:i]] = v
	}
	return all
}

// value is one of the samples, which must be there.
func (s samples) value(t *testing.T, name string) float64 {
	t.Helper()
	v, ok := s[name]
	if !ok {
		t.Errorf("no sample %s", name)
	}
	return v
}
