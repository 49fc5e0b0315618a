package seal_test

import (
	"math"
	"testing"

	"tieline/db/seal"
)

func TestVeil(t *testing.T) {
	t.Parallel()
	older, newer := seal.Generate(), seal.Generate()
	before, during, after := keys(t, older), keys(t, newer, older), keys(t, newer)
	here, there := seal.AD("feed", "a"), seal.AD("feed", "b")
	seen := map[seal.Veiled]bool{}
	for _, n := range []uint64{0, 1, 2, 1 << 40, math.MaxUint64} {
		v := before.Veil(n, here)
		if seen[v] || v != before.Veil(n, here) {
			t.Errorf("%d is veiled as another, or in two ways", n)
		}
		seen[v] = true
		for _, k := range []*seal.Keys{before, during} {
			if got, ok := k.Unveil(v, here); !ok || got != n {
				t.Errorf("%d is %d, %v", n, got, ok)
			}
			if got, ok := k.Unveil(v, there); ok {
				t.Errorf("%d of another place is %d", n, got)
			}
		}
		if _, ok := after.Unveil(v, here); ok {
			t.Errorf("a key that is gone unveils %d", n)
		}
		if v == during.Veil(n, here) || during.Veil(n, here) != after.Veil(n, here) {
			t.Error("the first key veils")
		}
	}
}
