package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
)

// TestNotifications: webhooks are told on receipt, at the end and of a failure,
// over real sockets; a server that is down for a moment is tried again, and no
// secret is in the log.
func TestNotifications(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails bool
		want  []string
	}{
		"a drain that succeeds": {false, []string{"drain-started", "drain-finished"}},
		"a drain that fails":    {true, []string{"drain-started", "drain-failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan notification, 10)
			var refused atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if refused.CompareAndSwap(false, true) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				var n notification
				body, err := io.ReadAll(r.Body)
				if err != nil || json.Unmarshal(body, &n) != nil || r.Header.Get("Authorization") != "Bearer s3cret" {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				got <- n
			}))
			defer server.Close()

			dir := t.TempDir()
			conf := *config.Default()
			conf.Listen = config.Listen{Probe: "127.0.0.1:0"}
			conf.IMDS.Endpoint = "http://127.0.0.1:9"
			conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
			conf.Drain.Settle = 0
			conf.Notify = []config.Webhook{
				{URL: server.URL + "/token-in-the-path", On: []string{drainStarted, drainFinished, drainFailed}, Headers: map[string]string{"Authorization": "Bearer s3cret"}},
				{URL: "http://127.0.0.1:9/token-in-the-path", On: []string{drainStarted}}, // nobody is there: it delays nothing
			}
			log := &testkit.Buffer{}
			step := &testStep{name: "work", fails: c.fails}
			a, err := New(Config{
				Config: &conf, Version: "test", BusAddress: "unix:path=" + filepath.Join(dir, "no-bus"),
				Plan: func(*config.Config) (*drain.Plan, error) {
					return drain.NewPlan([]drain.StepConfig{{Name: "work", Kind: "exec", Step: step}})
				},
				Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			require.NoError(t, err)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			_, err = a.coordinator.Drain(t.Context(), root, control.DrainRequest{Reason: "test"})
			require.NoError(t, err)
			seen := map[string]control.Drain{}
			for range c.want {
				var n notification
				select {
				case n = <-got:
				case <-time.After(20 * time.Second):
					require.FailNow(t, "not told", log.String())
				}
				require.Equal(t, 1, n.Version)
				seen[n.Kind] = n.Drain
			}
			for _, kind := range c.want {
				require.Contains(t, seen, kind)
				require.Equal(t, root, seen[kind].Cause.By)
			}
			if c.fails {
				require.Contains(t, seen[drainFailed].Error, "it did not work")
			}
			stop()
			require.NoError(t, <-done)
			require.Empty(t, got, "each is told once")
			for _, secret := range []string{"s3cret", "token-in-the-path"} {
				require.NotContains(t, log.String(), secret)
			}
			require.Contains(t, log.String(), "notification not sent")
		})
	}
}

func TestMoments(t *testing.T) {
	d := func(id string, phase drain.Phase, resumed bool, text string) *control.Drain {
		return &control.Drain{ID: id, Phase: string(phase), Resumed: resumed, Error: text}
	}
	for name, c := range map[string]struct {
		last, now *control.Drain
		want      []string
	}{
		"nothing":                           {nil, nil, nil},
		"begins":                            {nil, d("1", drain.PhaseSettling, false, ""), []string{drainStarted}},
		"goes on":                           {d("1", drain.PhaseSettling, false, ""), d("1", drain.PhaseRunning, false, ""), nil},
		"ends":                              {d("1", drain.PhaseRunning, false, ""), d("1", drain.PhaseFinished, false, ""), []string{drainFinished}},
		"fails":                             {d("1", drain.PhaseRunning, false, ""), d("1", drain.PhaseFailed, false, "x"), []string{drainFailed}},
		"begins and ends unseen":            {nil, d("1", drain.PhaseFinished, false, ""), []string{drainStarted, drainFinished}},
		"is told once":                      {d("1", drain.PhaseFinished, false, ""), d("1", drain.PhaseFinished, false, ""), nil},
		"was begun before a restart":        {nil, d("1", drain.PhaseRunning, true, ""), nil},
		"is cancelled":                      {d("1", drain.PhaseRunning, false, ""), d("1", drain.PhaseUndraining, false, ""), nil},
		"another one, after one that ended": {d("1", drain.PhaseFailed, false, "x"), d("2", drain.PhaseRunning, false, ""), []string{drainStarted}},
	} {
		require.Equal(t, c.want, moments(c.last, c.now), name)
	}
}
