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

// renderTrigger is the drop-in of a trigger that was adopted with a service, or
// alone when that is empty.
func renderTrigger(flag, service string) string {
	var b strings.Builder
	b.WriteString("# To change it run fleet-agent adopt again; fleet-agent release removes it.\n")
	if service != "" {
		b.WriteString(withLine + service + ".\n")
	}
	b.WriteString("[Unit]\n" +
		"# Stops and starts with the target. Never After= it: beside a service of the\n" +
		"# target that is not ordered after it, a boot would have a cycle, and systemd\n" +
		"# would not start this unit at all.\n" +
		"PartOf=" + Target + "\n" +
		"# Stays down while the node drains, whoever starts it.\n" +
		conditionLine(flag))
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
