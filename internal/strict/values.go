package strict

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written with its unit.
type Duration time.Duration

// D returns the duration for use with package time.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns the duration as one would write it: "5s", "1m30s", "336h".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// spelled matches durations as people write them and Go does not read them.
var spelled = Lazily(`(?i)^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s*$`)

// text is String, long ones in days where these may be written.
func (d Duration) text(days bool) string {
	const day = Duration(24 * time.Hour)
	if days && d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

// readDuration reads a duration, days only where they may be written.
func readDuration(s string, days bool) (Duration, error) {
	d, err := time.ParseDuration(s)
	if number, ok := strings.CutSuffix(s, "d"); ok && days {
		n, whole := parseWhole(number)
		if !whole || n < 0 || n > math.MaxInt16 {
			return 0, errors.New("is not a duration")
		}
		return Duration(n) * Duration(24*time.Hour), nil
	}
	_, bare := parseDecimal(s) // Go reads "0" without a unit
	_, zeros := withoutZeros(s)
	switch {
	case zeros:
		return 0, errors.New(leadingZero)
	case bare && err == nil:
		return 0, errors.New("has no unit")
	case bare || err != nil:
		return 0, errors.New("is not a duration")
	}
	return Duration(d), nil
}

// durationHint says what somebody who wrote s probably meant.
func durationHint(s string, days bool) string {
	if meant := meantDuration(s); meant != "" {
		if _, err := readDuration(meant, days); err == nil {
			return `write "` + meant + `"`
		}
	}
	if days {
		return `write a number and a unit (s, m, h or d), such as "90s"`
	}
	return `write a number and a unit (ms, s, m or h), such as "5s"`
}

// meantDuration writes a number without a unit in seconds, and the units of people
// as those of Go.
func meantDuration(s string) string {
	if len(s) > 20 {
		return ""
	}
	s, _ = withoutZeros(s)
	if _, bare := parseDecimal(s); bare {
		return s + "s"
	}
	m := spelled().FindStringSubmatch(s)
	if m == nil {
		return s
	}
	unit := strings.ToLower(m[2])
	switch {
	case strings.HasPrefix(unit, "ms") || strings.HasPrefix(unit, "milli"):
		unit = "ms"
	default:
		unit = unit[:1]
	}
	hours := map[string]float64{"d": 24, "w": 7 * 24}[unit]
	if hours == 0 {
		return m[1] + unit
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n*hours > math.MaxInt32 {
		return ""
	}
	return strconv.FormatFloat(n*hours, 'f', -1, 64) + "h"
}

// Size is a part of a whole, in percent, or an amount: bytes or inodes. One of
// the two is zero; the zero Size asks for nothing.
type Size struct {
	Percent float64 // over 0, at most 100
	Amount  uint64
}

// IsZero says that the size asks for nothing.
func (s Size) IsZero() bool { return s == Size{} }

// units are those of sizes in bytes, the larger of those that Size.String uses
// first.
var units = []struct {
	name  string
	bytes uint64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"B", 1},
}

// String returns the size as one would write it: "10%", "5GiB". An amount that
// is no round number of a unit is in bytes, "1B"; see Count for inodes.
func (s Size) String() string {
	if s.Percent != 0 {
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	}
	if s.Amount == 0 {
		return "0B"
	}
	for _, u := range units {
		if s.Amount%u.bytes == 0 {
			return strconv.FormatUint(s.Amount/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatUint(s.Amount, 10) + "B"
}

// Count returns a size of inodes as one would write it: "5%", "100000".
func (s Size) Count() string {
	if s.Percent != 0 {
		return s.String()
	}
	return strconv.FormatUint(s.Amount, 10)
}

// parsePercent reads "10%"; the second result says whether the text is meant as
// a percentage at all.
func parsePercent(s string) (Size, bool, error) {
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		return Size{}, false, nil
	}
	p, ok := parseDecimal(strings.TrimSpace(number))
	if !ok || p <= 0 || p > 100 {
		return Size{}, true, errors.New("is not a percentage over 0 and up to 100")
	}
	return Size{Percent: p}, true, nil
}

// parseBytes reads "10%" or "5GiB".
func parseBytes(s string) (Size, error) {
	if size, ok, err := parsePercent(s); ok {
		return size, err
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(strings.ToLower(s), strings.ToLower(u.name))
		if !ok {
			continue
		}
		n, ok := parseDecimal(strings.TrimSpace(number))
		if !ok || n <= 0 || n*float64(u.bytes) >= math.MaxUint64 {
			break
		}
		if amount := uint64(n * float64(u.bytes)); amount > 0 {
			return Size{Amount: amount}, nil
		}
		break
	}
	return Size{}, errors.New("is not a size")
}

// parseCount reads "5%" or "100000".
func parseCount(s string) (Size, error) {
	if size, ok, err := parsePercent(s); ok {
		return size, err
	}
	n, ok := parseWhole(s)
	if !ok || n <= 0 {
		return Size{}, errors.New("is not a number of inodes")
	}
	return Size{Amount: uint64(n)}, nil
}

// StatusRange is the HTTP status codes From to To, both included.
type StatusRange struct{ From, To int }

// String returns the range as one would write it: "200", "2xx", "200-204".
func (r StatusRange) String() string {
	switch {
	case r.From == r.To:
		return strconv.Itoa(r.From)
	case r.From%100 == 0 && r.To == r.From+99:
		return strconv.Itoa(r.From/100) + "xx"
	default:
		return fmt.Sprintf("%d-%d", r.From, r.To)
	}
}

// Statuses is a set of HTTP status codes.
type Statuses []StatusRange

// Contains says whether the code is in the set.
func (s Statuses) Contains(code int) bool {
	for _, r := range s {
		if r.From <= code && code <= r.To {
			return true
		}
	}
	return false
}

// String returns the set as one would write it: "200, 3xx".
func (s Statuses) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ", ")
}

// parseStatusRange reads "200", "2xx" or "200-204".
func parseStatusRange(s string) (StatusRange, error) {
	bad := errors.New("is not an HTTP status")
	from, to, isRange := strings.Cut(s, "-")
	if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok {
		from, to, isRange = class+"00", class+"99", true
	}
	var r StatusRange
	var ok bool
	if r.From, ok = parseWhole(strings.TrimSpace(from)); !ok {
		return StatusRange{}, bad
	}
	r.To = r.From
	if isRange {
		if r.To, ok = parseWhole(strings.TrimSpace(to)); !ok {
			return StatusRange{}, bad
		}
	}
	if r.From < 100 || r.To > 599 || r.To < r.From {
		return StatusRange{}, bad
	}
	return r, nil
}
