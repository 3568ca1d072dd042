package c2s

import (
	"reflect"
	"testing"
)

// TestStatsAdd: no count is left out of a sum.
func TestStatsAdd(t *testing.T) {
	t.Parallel()
	var one Stats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanInt() {
			f.SetInt(int64(i + 1))
		} else {
			f.SetUint(uint64(i + 1)) //nolint:gosec // a few
		}
	}
	sum := one
	sum.Add(one)
	for i := range v.NumField() {
		f := reflect.ValueOf(sum).Field(i)
		got := 0
		if f.CanInt() {
			got = int(f.Int())
		} else {
			got = int(f.Uint()) //nolint:gosec // a few
		}
		if got != 2*(i+1) {
			t.Errorf("%s: %d, want %d", v.Type().Field(i).Name, got, 2*(i+1))
		}
	}
}
