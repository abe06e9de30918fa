package strict

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Numbers are read as they are written, in decimal. YAML would make 291 of 0443,
// 31 of 0x1f and 1000 of 1_000 and 1e3, and its versions disagree on which.
var (
	wholeRE   = Lazily(`^-?(0|[1-9][0-9]*)$`)
	decimalRE = Lazily(`^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)$`)
)

const leadingZero = "has a leading zero"

// parseWhole reads a whole number; one that is too large is the largest.
func parseWhole(s string) (int, bool) {
	if !wholeRE().MatchString(s) {
		return 0, false
	}
	i, _ := strconv.Atoi(s) // can only be out of range
	return i, true
}

// parseDecimal reads a number; one that is too large is infinite.
func parseDecimal(s string) (float64, bool) {
	if !decimalRE().MatchString(s) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(s, 64) // can only be out of range
	return f, true
}

// Lazily compiles a pattern when it is first used: most texts need few of them, and
// the start of a program waits for each.
func Lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// withoutZeros returns the text without the zeros ahead of its numbers, "1m5s" for
// "01m05s", and whether there were any.
func withoutZeros(s string) (string, bool) {
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	kept := make([]byte, 0, len(s))
	for i := range len(s) {
		inNumber := len(kept) > 0 && (isDigit(kept[len(kept)-1]) || kept[len(kept)-1] == '.' || kept[len(kept)-1] == '_')
		if s[i] == '0' && !inNumber && i+1 < len(s) && isDigit(s[i+1]) {
			continue
		}
		kept = append(kept, s[i])
	}
	return string(kept), len(kept) < len(s)
}

// meantWhole returns the whole number that s spells in another way.
func meantWhole(s string) (string, bool) {
	s, _ = withoutZeros(strings.ReplaceAll(strings.TrimPrefix(s, "+"), "_", ""))
	return s, wholeRE().MatchString(s)
}
