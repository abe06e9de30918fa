package bake

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/nodes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// The instance of a boot test is a real agent: the image passes on its answers to the
// probe of the health extension, and fails when a check of it does.
func TestBootRealAgent(t *testing.T) {
	t.Parallel() // it waits, for retries or an agent
	dir := t.TempDir()
	binary := filepath.Join(dir, "fleet-agent")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/fleet-agent").CombinedOutput()
	require.NoError(t, err, "%s", out)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())

	const drain = "drain: {settle: 0s, plan: [{name: nothing, sleep: 10ms}]}\n"
	for config, want := range map[string]fleet.BootOutcome{
		drain: fleet.BootPassed,
		drain + "checks: [{name: database, tcp: {address: '" + closed + "'}, interval: 1s}]\n": fleet.BootFailed,
	} {
		w := newBootWorld(t, "", "machines: {sets: ['boot-*']}\n")
		clock := w.server.Clock()
		clock.SetFactor(20)
		const within = 10 * time.Hour // however slow the machine is
		w.test.Tell = func(text string) {
			if strings.HasSuffix(text, "Unhealthy") {
				w.server.Advance(2 * within) // there is nothing to come but the end of its time
			}
		}
		w.test.Spec.Bake.BootTest.BootWithin = within
		w.test.Wait = func(ctx context.Context, _ time.Duration) error {
			timer := time.NewTimer(100 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		log := &testkit.Buffer{}
		logger := slog.New(slog.NewTextHandler(log, nil))
		agents := nodes.Agents{Binary: binary, Configs: &arm.Agents{Config: []byte(config)}, Dir: t.TempDir(), Logger: logger}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- nodes.Run(ctx, nodes.Config{Control: w.server, Make: agents.Make, Logger: logger}) }()

		v, err := w.test.Run(t.Context(), "1.8.3")
		require.NoError(t, err)
		require.Equal(t, want, v.Outcome, "%s\n%s", v.Reason, log)
		t.Logf("%s: %s (%s)\n%s", v.Outcome, v.Reason, v.BootTime, v.Words)
		if want == fleet.BootFailed {
			require.Contains(t, v.Reason, "its health is Unhealthy")
			require.Contains(t, v.Words, "database", "the agent says which check it is")
		}
		w.clean(t)
		cancel()
		require.NoError(t, <-ended)
	}
}
