package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
)

// TestExitCodes: what sort of failure it was decides how the command ends, also where
// the error was wrapped, and the hint goes along.
func TestExitCodes(t *testing.T) {
	for kind, want := range map[azure.Kind]int{
		azure.Failed: 1, azure.Usage: 2, azure.SignIn: 4, azure.Denied: 4, azure.NotFound: 1,
		azure.Conflict: 1, azure.Throttled: 1, azure.Unreachable: 1, azure.Garbled: 1,
	} {
		failure := &azure.Error{Kind: kind, Op: "list the scale sets", Text: "no", Hint: "try"}
		for _, err := range []error{failure, fmt.Errorf("read the fleet: %w", failure)} {
			var coded *cli.Error
			require.ErrorAs(t, explained(err), &coded)
			require.Equal(t, want, coded.Code, "kind %d", kind)
			require.Equal(t, "try", coded.Hint)
			require.ErrorIs(t, coded, failure)
		}
	}
	require.ErrorContains(t, explained(context.DeadlineExceeded), "the time of --timeout is over")
	require.NoError(t, explained(nil))
}
