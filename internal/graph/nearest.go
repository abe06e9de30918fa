package graph

import "strings"

// maxNearLen is the length in bytes over which names are not compared: nobody
// mistypes such a name, and the comparison is quadratic.
const maxNearLen = 64

// Nearest returns the name in known that name is most likely a misspelling of:
// the one with the fewest letters added, left out, changed or swapped, at most a
// third of them. It ignores case, prefers the earlier of two, and returns "" when
// nothing is near.
func Nearest(name string, known []string) string {
	if name == "" || len(name) > maxNearLen {
		return ""
	}
	name = strings.ToLower(name)
	best, nearest := max(1, len(name)/3)+1, ""
	for _, k := range known {
		if len(k) > maxNearLen || max(len(k)-len(name), len(name)-len(k)) >= best {
			continue
		}
		if d := distance(name, strings.ToLower(k)); d < best && d < max(len(name), len(k)) {
			best, nearest = d, k
		}
	}
	return nearest
}

// distance is the optimal string alignment distance of a and b in bytes.
func distance(a, b string) int {
	// Three rows of the table are enough: a swap looks two rows back.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
