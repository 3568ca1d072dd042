package broker

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSliceHas(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		owners := 0
		for index := range 6 {
			if (Slice{index, 6}).Has(routeName(i)) {
				owners++
				if PartitionOf(routeName(i))%6 != index {
					t.Errorf("%s is in slice %d", routeName(i), index)
				}
			}
		}
		if owners != 1 {
			t.Errorf("%s is in %d slices", routeName(i), owners)
		}
	}
	if (Slice{}).Has("r") {
		t.Error("the zero slice holds a route")
	}
}

// The filters of all slices hold each partition once, and a consumer meets those
// slices that share a partition with its own.
func TestSliceFilters(t *testing.T) {
	t.Parallel()
	for of := 1; of <= Partitions; of++ {
		seen := make(map[string]bool)
		for i := range of {
			for _, f := range (Slice{i, of}).filters(Deliver) {
				if seen[f] {
					t.Fatalf("%s is in two of %d slices", f, of)
				}
				seen[f] = true
			}
		}
		if of > 1 && len(seen) != Partitions {
			t.Errorf("%d partitions in %d slices", len(seen), of)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Slice {
			of := rapid.IntRange(1, Partitions).Draw(t, name+" of")
			return Slice{rapid.IntRange(0, of-1).Draw(t, name), of}
		}
		a, b := draw("a"), draw("b")
		shared := false
		for _, f := range a.filters(Mail) {
			shared = shared || slices.Contains(b.filters(Mail), f)
		}
		shared = shared || a.Of == 1 || b.Of == 1
		if a.overlaps(b) != shared || b.meets(Mail, a.filters(Mail)) != shared {
			t.Errorf("%v and %v share partitions: %v; overlaps %v, meets %v", a, b, shared, a.overlaps(b), b.meets(Mail, a.filters(Mail)))
		}
	})
	if !(Slice{1, 8}).meets(Mail, []string{"mail.>"}) || !(Slice{1, 8}).meets(Mail, []string{"mail.*.r.x"}) {
		t.Error("a filter that is not ours may hold anything")
	}
}

// Every slice has one wanted owner, whatever order the members are in, and no member has
// two more than another.
func TestWantedOwners(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z2-7]{1,26}`), 1, 9, rapid.ID).Draw(t, "names")
		stage := rapid.SampledFrom([]Stage{Ingest, Deliver, Mail}).Draw(t, "stage")
		of := rapid.IntRange(1, Partitions).Draw(t, "of")
		owners := wantedOwners(stage, of, names)
		count := make(map[string]int)
		for i, owner := range owners {
			if !slices.Contains(names, owner) {
				t.Fatalf("slice %d is to be owned by %q, who is no member", i, owner)
			}
			count[owner]++
		}
		for _, name := range names {
			if n := count[name]; n != of/len(names) && n != of/len(names)+min(1, of%len(names)) {
				t.Fatalf("%s is to own %d of %d slices among %d members", name, n, of, len(names))
			}
		}
		turned := slices.Clone(names)
		slices.Reverse(turned)
		if other := wantedOwners(stage, of, turned); !slices.Equal(other, owners) {
			t.Fatalf("%v or %v, by the order of the members", owners, other)
		}
	})
	if got := wantedOwners(Mail, 2, nil); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("owners without members: %v", got)
	}
}

// A member that goes leaves most slices of the others where they are; where there are two,
// all of them.
func TestFewMove(t *testing.T) {
	t.Parallel()
	const of, runs = 64, 50
	for members := 2; members <= 8; members++ {
		moved, its := 0, 0
		for run := range runs {
			var names []string
			for n := range members {
				names = append(names, routeName(run*members+n))
			}
			before, after := wantedOwners(Deliver, of, names), wantedOwners(Deliver, of, names[1:])
			for i, owner := range before {
				switch {
				case owner == names[0]:
					its++
				case owner != after[i]:
					moved++
				}
			}
		}
		if moved > its || members == 2 && moved > 0 {
			t.Errorf("of %d members: %d slices of those that go move, and %d others", members, its, moved)
		}
	}
}
