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

// Every slice has one wanted owner, whatever order the members are in; one that
// goes leaves the others what they have, and one that comes takes only its own.
func TestWantedOwner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z2-7]{1,26}`), 1, 9, rapid.ID).Draw(t, "names")
		stage := rapid.SampledFrom([]Stage{Ingest, Deliver, Mail}).Draw(t, "stage")
		last := len(names) - 1
		for i := range Partitions {
			owner := wantedOwner(stage, i, names)
			if !slices.Contains(names, owner) {
				t.Fatalf("slice %d is to be owned by %q, who is no member", i, owner)
			}
			turned := slices.Clone(names)
			slices.Reverse(turned)
			if other := wantedOwner(stage, i, turned); other != owner {
				t.Fatalf("slice %d: %s or %s, by the order of the members", i, owner, other)
			}
			// The last one goes, or has just come.
			without := wantedOwner(stage, i, names[:last])
			if last > 0 && owner != names[last] && without != owner {
				t.Fatalf("slice %d moves from %s to %s although %s goes", i, owner, without, names[last])
			}
		}
	})
	if wantedOwner(Mail, 0, nil) != "" {
		t.Error("an owner without members")
	}
}

// Over many names slices spread evenly.
func TestSpread(t *testing.T) {
	t.Parallel()
	const nodes, of = 4, 64
	count := make(map[string]int)
	for run := range 50 {
		var names []string
		for n := range nodes {
			names = append(names, routeName(run*nodes+n))
		}
		for i := range of {
			count[string(rune('a'+slices.Index(names, wantedOwner(Deliver, i, names))))]++
		}
	}
	for n, c := range count {
		if c < 50*of/nodes*8/10 || c > 50*of/nodes*12/10 {
			t.Errorf("position %s has %d of %d", n, c, 50*of)
		}
	}
}
