package agent

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// The test binary is also the agent that is killed, and the command of its
// drain steps.
const (
	childEnv  = "FLEET_TEST_AGENT"  // a crashChild as JSON
	appendArg = "fleet-test-append" // FILE LINE
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == appendArg {
		os.Exit(appendLine(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 4 && os.Args[1] == askArg {
		os.Exit(askControl(os.Args[2]))
	}
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(runCrashChild(text))
	}
	_ = flag.Set("test.parallel", "8") // what runs in parallel waits most of the time
	os.Exit(m.Run())
}

func appendLine(file, line string) int {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, line); err != nil {
		return 1
	}
	return 0
}

// crashChild is what a child runs with. The socket of its probe endpoint is file
// descriptor 3, which outlives it, as that of fleet-agent.socket does.
type crashChild struct {
	Dir, Metadata string
	KillAfter     int // journal entries appended by this process; 0: never
}

// runCrashChild is a real agent, which SIGKILLs itself right after its n-th
// journal entry is durable.
func runCrashChild(text string) int {
	var c crashChild
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return 2
	}
	probe, err := net.FileListener(os.NewFile(3, "probe"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	conf := config.Default()
	conf.Listen = config.Listen{Probe: probe.Addr().String()}
	conf.IMDS.Endpoint = c.Metadata
	conf.StateDir, conf.RunDir = filepath.Join(c.Dir, "state"), filepath.Join(c.Dir, "run")
	conf.Drain.Settle = config.Duration(50 * time.Millisecond)
	conf.Drain.Plan = nil
	for _, name := range []string{"one", "two", "three"} {
		conf.Drain.Plan = append(conf.Drain.Plan, config.Step{
			Name: name, Max: config.Duration(10 * time.Second),
			Exec: &config.ExecStep{Command: []string{os.Args[0], appendArg, filepath.Join(c.Dir, "steps"), name}},
		})
	}
	var appended atomic.Int64
	a, err := New(Config{
		Config: conf, Version: "test", BootID: "boot", Uptime: func() time.Duration { return time.Hour },
		Load:       func() (*config.Config, error) { return conf, nil },
		Listeners:  map[string][]net.Listener{"probe": {probe}},
		BusAddress: "unix:path=" + filepath.Join(c.Dir, "no-bus"),
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
		AfterAppend: func(uint64) {
			if appended.Add(1) == int64(c.KillAfter) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // nothing happens after it
			}
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() { // ends with the process
		for range hangups {
			_ = a.Reload(ctx) // a refusal is in the log
		}
	}()
	if err := a.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A crash is one life of a node whose agent is killed once.
type crash struct {
	t     *testing.T
	sim   *simimds.Server
	child crashChild
	probe *os.File // the listening socket

	address, url string
	command      []string // of the agent
	cmd          *exec.Cmd
	ended        chan struct{}
}

func (c *crash) start(killAfter int) {
	c.t.Helper()
	c.child.KillAfter = killAfter
	text, err := json.Marshal(c.child)
	require.NoError(c.t, err)
	c.cmd = exec.Command(c.command[0], c.command[1:]...)
	c.cmd.ExtraFiles = []*os.File{c.probe}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	log, err := os.OpenFile(filepath.Join(c.child.Dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	defer log.Close()
	c.cmd.Stderr = log
	require.NoError(c.t, c.cmd.Start())
	c.ended = make(chan struct{})
	cmd, ended := c.cmd, c.ended
	go func() {
		_ = cmd.Wait() // killed, mostly
		close(ended)
	}()
}

func (c *crash) stop() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// journal is what stands on disk, read as the agent reads it.
func (c *crash) journal() []drain.Record {
	c.t.Helper()
	j, err := drain.OpenJournal(drain.JournalConfig{Dir: filepath.Join(c.child.Dir, "state"), BootID: "boot"})
	require.NoError(c.t, err)
	defer j.Close()
	return j.History()
}

// steps counts how often each step ran.
func (c *crash) steps() map[string]int {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.child.Dir, "steps"))
	if os.IsNotExist(err) {
		return map[string]int{}
	}
	require.NoError(c.t, err)
	counts := map[string]int{}
	for name := range strings.FieldsSeq(string(data)) {
		counts[name]++
	}
	return counts
}

// ready asks /readyz; 0 is no answer.
func (c *crash) ready() int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	resp, err := client.Get(c.url + "/readyz")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// until polls a condition that is bound to come, and calls each on the way.
func (c *crash) until(what string, each func(), reached func() bool) {
	c.t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		if each != nil {
			each()
		}
		select {
		case <-tick.C:
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(c.child.Dir, "log"))
			require.FailNow(c.t, "not reached: "+what, string(log))
		}
	}
}

func (c *crash) state() control.State {
	s, err := control.NewClient(filepath.Join(c.child.Dir, "run", control.SocketName)).Status(c.t.Context())
	if err != nil {
		return ""
	}
	return s.State
}

func (c *crash) accepted() int {
	n := 0
	for _, a := range c.sim.Acks() {
		if a.Accepted {
			n++
		}
	}
	return n
}

// TestKilledAfterEveryJournalEntry kills a real agent with SIGKILL after each
// journal entry of a whole life: drain, ack, undrain. After the restart the node
// is not ready before the drain has ended, no finished step runs again, the ack
// is sent once, and the node returns to service.
func TestKilledAfterEveryJournalEntry(t *testing.T) {
	t.Parallel()
	// vm-seen, name-seen, boot-seen, drain-started, three times two for the steps,
	// drain-finished, ack-intended, acked, undrain-started, undrain-finished.
	const entries = 15
	for k := 1; k <= entries; k++ {
		t.Run(strconv.Itoa(k), func(t *testing.T) {
			t.Parallel()
			require.True(t, killedAfter(t, k), "the life has fewer entries than the test thinks")
		})
	}
	t.Run("not at all", func(t *testing.T) {
		t.Parallel()
		require.False(t, killedAfter(t, entries+1), "the life has more entries than the test kills after")
	})
}

// killedAfter lives one life and reports whether the agent was killed in it.
func killedAfter(t *testing.T, k int) bool {
	t.Helper()
	sim := simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}, RateLimit: -1})
	metadata := httptest.NewServer(sim)
	defer metadata.Close()
	c := newCrash(t, sim, metadata.URL)

	id := sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
	completed := false
	react := func() { // Azure lets go of the VM once it was acked
		if !completed && c.accepted() > 0 && c.state() == control.StateDrained {
			require.NoError(t, sim.Complete(id))
			completed = true
		}
	}

	c.start(k)
	killed := false
	c.until("killed, or back in service", react, func() bool {
		select {
		case <-c.ended:
			killed = true
			return true
		default:
			return completed && c.state() == control.StateServing
		}
	})
	if killed {
		before := c.journal()
		ran := c.steps()
		c.start(0)
		draining := len(before) > 0 && before[0].UndrainedAt.IsZero()
		finished := draining && before[0].Finished()
		c.until("drained and acked", func() {
			code := c.ready()
			if draining && !completed {
				require.NotEqual(t, http.StatusOK, code, "ready in the middle of a drain")
			}
			react()
		}, func() bool { return completed })
		if len(before) > 0 {
			for _, s := range before[0].Steps {
				if s.Status == drain.StepDone {
					require.Equal(t, ran[s.Name], c.steps()[s.Name], "finished step %s ran again", s.Name)
				}
			}
		}
		if finished {
			require.Equal(t, ran, c.steps())
		}
		c.until("serving", nil, func() bool { return c.state() == control.StateServing })
	}
	c.stop()
	require.Equal(t, 1, c.accepted(), "acks")
	require.Len(t, sim.Acks(), 1, "acks that were tried")
	for name, n := range c.steps() {
		require.LessOrEqual(t, n, 2, "step %s", name)
	}
	require.Len(t, c.steps(), 3)
	history := c.journal()
	require.Len(t, history, 1)
	require.Equal(t, drain.ResultSucceeded, history[0].Result)
	require.False(t, history[0].UndrainedAt.IsZero())
	return killed
}
