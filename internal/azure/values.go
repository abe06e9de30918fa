package azure

import (
	"regexp"
	"strconv"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// get returns what p leads to, or nothing.
func get[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

// text returns what p leads to, a string of some kind, as a string.
func text[T ~string](p *T) string { return string(get(p)) }

// integer returns what p leads to as an int, or nil.
func integer(p *int32) *int {
	if p == nil {
		return nil
	}
	n := int(*p)
	return &n
}

func location(p *string) string { return fleet.NormalLocation(get(p)) }

func tags(m map[string]*string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	all := make(map[string]string, len(m))
	for k, v := range m {
		all[k] = get(v)
	}
	return all
}

func texts(list []*string) []string {
	var all []string
	for _, s := range list {
		if s != nil {
			all = append(all, *s)
		}
	}
	return all
}

// first returns the first element that is one.
func first[T any](list []*T) *T {
	for _, v := range list {
		if v != nil {
			return v
		}
	}
	return nil
}

// isoDuration is a duration as ARM writes it, of days and less: PT30M, P1DT2H.
var isoDuration = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})(?:\.\d+)?S)?)?$`)

// duration reads a duration. It is nil when there is none, or none that can be read.
func duration(p *string) *time.Duration {
	m := isoDuration.FindStringSubmatch(get(p))
	if m == nil || m[1]+m[2]+m[3]+m[4] == "" {
		return nil
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(m[i+1]) // "" is 0; the expression bounds the rest
		d += time.Duration(n) * unit
	}
	return &d
}
