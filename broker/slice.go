package broker

import "fmt"

// Slice is the part of a stage that one process works on: the partitions p with
// p % Of == Index. A single node has {0, 1}.
type Slice struct{ Index, Of int }

// Has says whether the partition of a route is in the slice.
func (s Slice) Has(route string) bool {
	return s.Of > 0 && PartitionOf(route)%s.Of == s.Index
}

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
