package config

import (
	"fmt"
	"strings"
)

// suggest returns the candidate that word was most likely meant to be, or "".
func suggest(word string, candidates []string) string {
	if len(word) > 64 {
		return "" // nobody mistypes that, and the distance costs the product of the lengths
	}
	best, at := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if plain(c) == plain(word) {
			return c
		}
		if d := distance(word, c); d < at {
			best, at = c, d
		}
	}
	return best
}

// plain leaves out what people set differently: listen-backlog, ListenBacklog.
func plain(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)) }

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours that make a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	prev2, prev, cur := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		cur[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(y)]
}

// didYouMean is a hint with the candidate nearest to word, or "".
func didYouMean(word string, candidates []string) string {
	if s := suggest(word, candidates); s != "" {
		return fmt.Sprintf("did you mean %s?", s)
	}
	return ""
}
