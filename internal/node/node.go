// Package node answers: what does the agent of a node do, and say, when it is asked from
// afar?
//
// The agent is asked by Run Command, which runs a script on the node as root and returns
// the end of what it printed. Run Command tells no exit code, so the last line of each
// script prints it.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// Within bounds a Run Command whose script is done at once.
	Within = 90 * time.Second
	// DrainWithin is how long the script of a drain waits for its end. A drain that takes
	// longer goes on, and the next one joins it.
	DrainWithin = 2 * time.Minute
	// CommandTakes is what Run Command itself may take.
	CommandTakes = time.Minute
)

// The exit codes of the agent, and of a shell.
const (
	Serves      = 0
	Degraded    = 2 // and serves
	ServesNot   = 3
	Unreachable = 4
	Late        = 124 // of timeout(1): it was not over in its time

	notAllowed = 126
	notFound   = 127
)

// ErrNoAgent says that a node has no agent that could be asked.
var ErrNoAgent = errors.New("not possible: there is no fleet-agent on the node")

// A Said is what a node answered.
type Said struct {
	Code   int // see the constants
	Output string
}

// Words are the first of what a node said, in one line.
func (s Said) Words() string {
	first, _, _ := strings.Cut(s.Output, "\n")
	return safetext.Line(strings.TrimSpace(first), safetext.MaxText)
}

// Machine is the virtual machine of a member of a Flexible scale set.
func Machine(set fleet.ResourceID, member string) fleet.ResourceID {
	group, _, _ := strings.Cut(string(set), "/providers/")
	return fleet.ResourceID(group + "/providers/Microsoft.Compute/virtualMachines/" + member)
}

// Ask runs the lines of a script on a machine.
func Ask(ctx context.Context, client *azure.Client, machine fleet.ResourceID, lines []string) (Said, error) {
	stdout, stderr, err := client.RunCommand(ctx, machine, append(slices.Clip(lines), printExit))
	if err != nil {
		return Said{}, err
	}
	at := exitMark.FindStringSubmatchIndex(stdout)
	if at == nil {
		return Said{}, fmt.Errorf("the answer of Run Command does not say how the script ended: %s", safetext.Line(cmp.Or(stderr, stdout), safetext.MaxText))
	}
	code, _ := strconv.Atoi(stdout[at[2]:at[3]]) // digits
	if code == notFound || code == notAllowed {
		return Said{}, ErrNoAgent
	}
	return Said{code, strings.TrimSpace(strings.TrimSpace(stdout[:at[0]]) + "\n" + strings.TrimSpace(stderr))}, nil
}

// printExit prints how what was before it ended.
const printExit = `printf '\nfleetctl: exit %d\n' "$?"`

var exitMark = regexp.MustCompile(`(?:^|\n)fleetctl: exit (\d{1,3})\s*$`)

// Drain has a node drained by its agent, and waits for the end for DrainWithin. It ends by
// itself when nobody undrains. The reason is plain text without quotes.
func Drain(lasts time.Duration, reason string) []string {
	return []string{fmt.Sprintf(`timeout %d fleet-agent drain --for %dm --wait --reason '%s' </dev/null`, int(DrainWithin.Seconds()), int(lasts.Minutes()), reason)}
}

// Undrain returns a node to service. The reason is plain text without quotes.
func Undrain(reason string) []string {
	return []string{fmt.Sprintf(`timeout 30 fleet-agent undrain --reason '%s' </dev/null`, reason)}
}

// Status has the agent say how it is, and keeps as much as a filter lets through. An agent
// that does not know the short form is asked for the long one.
func Status(filter string) []string {
	return []string{
		`out=$(timeout 20 fleet-agent status -o brief 2>/dev/null </dev/null); code=$?`,
		`[ -n "$out" ] || { out=$(timeout 20 fleet-agent status 2>&1 </dev/null); code=$?; }`,
		`printf '%s\n' "$out" | ` + filter,
		`(exit "$code")`,
	}
}
