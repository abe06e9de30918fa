package adopt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings is what a drop-in changes about how a service stops. What is left out
// stays as the unit has it.
type Settings struct {
	StopTimeout time.Duration // TimeoutStopSec=; 0: left out
	KillSignal  string        // KillSignal=, such as SIGQUIT; empty: left out
}

// signals are those that services take for "stop, when the work is done".
var signals = []string{"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"}

// ParseSignal returns the name of a signal that a service can be stopped with:
// "quit", "QUIT" and "SIGQUIT" are the same.
func ParseSignal(text string) (string, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	switch {
	case slices.Contains(signals, name):
		return name, nil
	case name == "SIGKILL":
		return "", errors.New("SIGKILL cannot be caught: the service would not finish its work")
	}
	return "", fmt.Errorf("signal %q is not one of %s", text, strings.Join(signals, ", "))
}

func (s Settings) validate(unit string) error {
	switch {
	case s == Settings{}:
		return nil
	case path.Ext(unit) != ".service":
		return fmt.Errorf("adopt %s: only services have a stop timeout and a signal", unit)
	case s.StopTimeout < 0, s.StopTimeout > 0 && s.StopTimeout < time.Millisecond:
		return fmt.Errorf("adopt %s: stop timeout %s is not at least 1ms", unit, s.StopTimeout)
	}
	return nil
}

// The first line of a drop-in ends in a checksum of the lines below it, which
// tells whether somebody has changed them, whatever version wrote them.
const headerLine = "# Written by fleet-agent adopt, checksum "

// render is the drop-in of a unit; flag is the file that keeps it down.
func (s Settings) render(flag string) string {
	var b strings.Builder
	b.WriteString("# To change it run fleet-agent adopt again; fleet-agent release removes it.\n" +
		"[Unit]\n" +
		"# Stops and starts with the target; the target's stop waits for this unit.\n" +
		"PartOf=" + Target + "\n" +
		"After=" + Target + "\n" +
		"# Stays down while the node drains, whoever starts it.\n" +
		conditionLine(flag))
	if s != (Settings{}) {
		b.WriteString("\n[Service]\n")
	}
	if s.StopTimeout > 0 {
		b.WriteString("TimeoutStopSec=" + spanText(s.StopTimeout) + "\n")
	}
	if s.KillSignal != "" {
		b.WriteString("KillSignal=" + s.KillSignal + "\n")
	}
	return headerLine + checksum(b.String()) + "\n" + b.String()
}

func conditionLine(flag string) string { return "ConditionPathExists=!" + flag + "\n" }

// genuine says whether a drop-in is as render made it.
func genuine(text string) bool {
	first, rest, _ := strings.Cut(text, "\n")
	sum, ok := strings.CutPrefix(first, headerLine)
	return ok && sum == checksum(rest)
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// spanText writes a time span as systemd reads it.
func spanText(d time.Duration) string {
	if d == Infinite {
		return "infinity"
	}
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// parseSpan reads a time span of systemd.time(7), in the units that unit files
// use: "90", "1min 30s", "infinity".
func parseSpan(text string) (time.Duration, bool) {
	if text == "infinity" {
		return Infinite, true
	}
	var total time.Duration
	rest := strings.ReplaceAll(text, " ", "")
	for rest != "" {
		i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		number, unit := rest, ""
		if i >= 0 {
			number, unit = rest[:i], rest[i:]
		}
		if j := strings.IndexAny(unit, "0123456789"); j >= 0 {
			unit = unit[:j]
		}
		rest = rest[len(number)+len(unit):]
		n, err := strconv.ParseFloat(number, 64)
		scale, known := spanUnits[unit]
		if err != nil || !known || n*float64(scale) >= float64(Infinite-total) {
			return 0, false
		}
		total += time.Duration(n * float64(scale))
	}
	return total, text != ""
}

var spanUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"us": time.Microsecond, "usec": time.Microsecond, "ms": time.Millisecond, "msec": time.Millisecond,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
}
