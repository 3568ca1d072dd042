package dns

import (
	"cmp"
	"slices"
	"strings"
)

// record is an SRV record of either service.
type record struct {
	Target
	priority, weight uint16
}

// order returns the targets as they are to be tried (RFC 2782, "Priority" and
// "Weight"): lower priorities first, and within one each next is drawn with a
// chance by its weight. It orders the records of both services as one set, so that
// the owner of the domain decides which is preferred (XEP-0368 §3 rule 1).
func order(all []record, intN func(n int) int) []Target {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b record) int {
		return cmp.Or(
			cmp.Compare(a.priority, b.priority),
			cmp.Compare(min(a.weight, 1), min(b.weight, 1)),              // the ones of weight 0 first, as Weight says
			strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), // so that the draw alone decides
		)
	})
	targets := make([]Target, 0, len(all))
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].priority == all[0].priority {
			n++
		}
		i := draw(all[:n], intN)
		targets = append(targets, all[i].Target)
		all = slices.Delete(all, i, i+1)
	}
	return targets
}

// draw picks one of the records of a priority: the first whose running sum of
// weights is not below a random number from 0 to the sum of all (RFC 2782, "Weight").
// So one of weight 0 has a chance, a very small one beside others.
func draw(same []record, intN func(n int) int) int {
	sum := 0
	for _, r := range same {
		sum += int(r.weight)
	}
	chosen := intN(sum + 1)
	for i, r := range same {
		if chosen -= int(r.weight); chosen <= 0 {
			return i
		}
	}
	return len(same) - 1
}
