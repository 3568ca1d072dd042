package config

import (
	"strings"
	"testing"
)

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"listen_backlog", "idle_time", "idle_timeout", "tls", "enable", "enabled"}
	tests := []struct{ why, word, want string }{
		{"a letter is missing", "lisen_backlog", "listen_backlog"},
		{"two are swapped", "listen_bakclog", "listen_backlog"},
		{"without underscores", "ListenBacklog", "listen_backlog"},
		{"with dashes", "idle-time", "idle_time"},
		{"the nearest of two", "idle_timeot", "idle_timeout"},
		{"a short word needs to be close", "xyz", ""},
		{"nothing is like it", "frobnicate", ""},
		{"longer than anybody types", strings.Repeat("enable", 50), ""},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			if got := suggest(tt.word, known); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
