package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Numbers are read as they are written, in decimal. YAML would make 291 of 0443,
// 31 of 0x1f and 1000 of 1_000 and 1e3, and its versions disagree on which.
var (
	wholeRE   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimalRE = regexp.MustCompile(`^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)$`)
	// zerosRE matches zeros ahead of a number anywhere in a text: "05s", "1m05s".
	zerosRE = regexp.MustCompile(`(^|[^0-9._])0+([0-9])`)
)

const leadingZero = "has a leading zero"

// parseWhole reads a whole number; one that is too large is the largest.
func parseWhole(s string) (int, bool) {
	if !wholeRE.MatchString(s) {
		return 0, false
	}
	i, _ := strconv.Atoi(s) // can only be out of range
	return i, true
}

// parseDecimal reads a number; one that is too large is infinite.
func parseDecimal(s string) (float64, bool) {
	if !decimalRE.MatchString(s) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(s, 64) // can only be out of range
	return f, true
}

// withoutZeros returns the text without the zeros ahead of its numbers, and
// whether there were any.
func withoutZeros(s string) (string, bool) {
	return zerosRE.ReplaceAllString(s, "$1$2"), zerosRE.MatchString(s)
}

// meantWhole returns the whole number that s spells in another way.
func meantWhole(s string) (string, bool) {
	s, _ = withoutZeros(strings.ReplaceAll(strings.TrimPrefix(s, "+"), "_", ""))
	return s, wholeRE.MatchString(s)
}
