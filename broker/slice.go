package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Slice is the part of a stage that one process works on: the partitions p with
// p % Of == Index. A single node has {0, 1}.
type Slice struct{ Index, Of int }

// Has says whether the partition of a route is in the slice.
func (s Slice) Has(route string) bool { return s.HasPartition(PartitionOf(route)) }

// HasPartition says whether a partition is in the slice.
func (s Slice) HasPartition(partition int) bool { return s.Of > 0 && partition%s.Of == s.Index }

// Partitions are those of the slice, in their order; nil: all there are.
func (s Slice) Partitions() []int {
	if s.Of == 1 {
		return nil
	}
	var all []int
	for p := s.Index; p < Partitions && s.Of > 0; p += s.Of {
		all = append(all, p)
	}
	return all
}

// String is "<index>/<of>".
func (s Slice) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

// overlaps says whether some partition is in both, which may be of different layouts.
func (s Slice) overlaps(o Slice) bool {
	for p := range Partitions {
		if s.HasPartition(p) && o.HasPartition(p) {
			return true
		}
	}
	return false
}

// filters are the subjects of the slice in a stage; none: all that there are.
func (s Slice) filters(stage Stage) []string {
	if s.Of == 1 {
		return nil
	}
	subjects := make([]string, 0, Partitions/s.Of+1)
	for p := s.Index; p < Partitions; p += s.Of {
		subjects = append(subjects, partitionFilter(stage, p))
	}
	return subjects
}

func partitionFilter(stage Stage, p int) string {
	return string(stage) + "." + strconv.Itoa(p) + ".*.*"
}

// meets says whether a consumer with these filters gets messages of the slice.
func (s Slice) meets(stage Stage, filters []string) bool {
	if len(filters) == 0 {
		return true
	}
	for _, f := range filters {
		rest, _ := strings.CutPrefix(f, string(stage)+".")
		p, _, _ := strings.Cut(rest, ".")
		// What is not one of our filters may hold anything.
		if n, err := strconv.Atoi(p); err != nil || s.HasPartition(n) {
			return true
		}
	}
	return false
}

// wantedOwners are the members that are to own the slices of a stage, by index: no member
// has two more than another. Each slice goes to the member with the highest score of those
// that may have one more (rendezvous hashing with bounded loads). A member that comes or
// goes moves its own part and few others. Names are different; "" when there are none.
func wantedOwners(stage Stage, of int, names []string) []string {
	owners := make([]string, of)
	if len(names) == 0 {
		return owners
	}
	least, more := of/len(names), of%len(names) // so many members have one more than the least
	loads := make(map[string]int, len(names))
	for i := range owners {
		best, top := "", uint64(0)
		for _, name := range names {
			if n := loads[name]; n > least || n == least && more == 0 {
				continue
			}
			if score := score(stage, i, name); best == "" || score > top || score == top && name > best {
				best, top = name, score
			}
		}
		if loads[best] == least {
			more--
		}
		loads[best]++
		owners[i] = best
	}
	return owners
}

func score(stage Stage, index int, name string) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s.%d.%s", stage, index, name))
	return binary.BigEndian.Uint64(sum[:])
}
