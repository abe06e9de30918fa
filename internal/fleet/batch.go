package fleet

import (
	"cmp"
	"slices"
)

// SortForBatch orders members by who is upgraded first: those that are well, zone after
// zone if byZone, and by name.
func SortForBatch(list []*Member, byZone bool, weak func(*Member) bool) {
	slices.SortFunc(list, func(a, b *Member) int {
		switch {
		case weak(a) != weak(b) && weak(b):
			return -1
		case weak(a) != weak(b):
			return 1
		case byZone && a.Zone != b.Zone:
			return cmp.Compare(a.Zone, b.Zone)
		}
		return cmp.Compare(a.Name, b.Name)
	})
}
