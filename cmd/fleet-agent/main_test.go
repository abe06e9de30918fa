package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fleet-agent": main})
}

// TestScripts runs the command as its users do. The scripts have one command
// besides those of testscript:
//
//	agent METHOD PATH FILE...
//	agent got BODY
//	agent stop
//
// It stands in for the daemon, at the socket $SOCKET: it answers the request
// with the files one after the other, and then with the last one again and
// again. A file that begins with a number and a space is answered with that
// status. The second form fails unless a request had that body; the third closes
// the socket.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			// The work directory's path is too long for a socket.
			dir, err := os.MkdirTemp("", "fleet") //nolint:usetesting // so is that of t.TempDir
			if err != nil {
				return err
			}
			fixtures, err := filepath.Abs("testdata")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			env.Setenv("SOCKET", filepath.Join(dir, control.SocketName))
			env.Setenv("FIXTURES", fixtures)
			env.Setenv("TZ", "UTC")
			env.Setenv("LANG", "C.UTF-8")
			env.Setenv("FLEET_AGENT_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			agent := &fakeAgent{answers: make(map[string][][]byte)}
			env.Values[agentKey{}] = agent
			env.Defer(agent.stop)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"agent": agentCommand},
	})
}

// Ctrl-C ends a watch with the code that a shell expects.
func TestInterrupt(t *testing.T) {
	status, err := os.ReadFile("testdata/status/serving.json")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "fleet") //nolint:usetesting // the path of t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, control.SocketName)
	agent := &fakeAgent{answers: map[string][][]byte{"GET /v1/status": {status}}, asked: make(chan struct{}, 1)}
	require.NoError(t, agent.start(socket))
	t.Cleanup(agent.stop)

	var stdout, stderr bytes.Buffer
	var code int
	var command sync.WaitGroup
	command.Go(func() {
		code = run([]string{"status", "--watch", "--socket", socket}, &stdout, &stderr, func(string) string { return "" })
	})
	<-agent.asked // so the command listens for signals
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	command.Wait()
	require.Equal(t, 130, code)
	require.Empty(t, stderr.String())
}

// Every command's help says what it is, shows how it is used, and fits.
func TestHelp(t *testing.T) {
	testkit.RequireHelp(t, newRootCommand(testGlobals(t, cli.Style{}, "80")))
}

type agentKey struct{}

// fakeAgent answers requests with what a script told it to.
type fakeAgent struct {
	mu      sync.Mutex
	answers map[string][][]byte // by "METHOD PATH"
	bodies  []string            // of the requests with one
	asked   chan struct{}       // nil or of capacity 1: holds something once a request came
	server  *http.Server
	served  sync.WaitGroup
}

func agentCommand(ts *testscript.TestScript, neg bool, args []string) {
	agent, _ := ts.Value(agentKey{}).(*fakeAgent)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: agent METHOD PATH FILE... | agent got TEXT | agent stop")
	case args[0] == "stop":
		agent.stop()
	case args[0] == "got" && len(args) == 2:
		agent.mu.Lock()
		defer agent.mu.Unlock()
		if !slices.Contains(agent.bodies, args[1]) {
			ts.Fatalf("the agent was not asked %q, only %q", args[1], agent.bodies)
		}
	case len(args) >= 3:
		var answers [][]byte
		for _, file := range args[2:] {
			answers = append(answers, []byte(ts.ReadFile(file)))
		}
		agent.mu.Lock()
		agent.answers[args[0]+" "+args[1]] = answers
		agent.mu.Unlock()
		ts.Check(agent.start(ts.Getenv("SOCKET")))
	default:
		ts.Fatalf("usage: agent METHOD PATH FILE... | agent got TEXT | agent stop")
	}
}

// start listens, unless it does already.
func (a *fakeAgent) start(socket string) error {
	if a.server != nil {
		return nil
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	a.server = &http.Server{Handler: a}
	a.served.Go(func() {
		if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	})
	return nil
}

func (a *fakeAgent) stop() {
	if a.server == nil {
		return
	}
	_ = a.server.Close()
	a.served.Wait()
	a.server = nil
}

func (a *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.asked <- struct{}{}:
	default:
	}
	if r.Method == http.MethodPost {
		var body json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.bodies = append(a.bodies, string(body))
	}
	key := r.Method + " " + r.URL.Path
	answers := a.answers[key]
	if len(answers) == 0 {
		http.NotFound(w, r)
		return
	}
	if len(answers) > 1 {
		a.answers[key] = answers[1:]
	}
	code, body := http.StatusOK, string(answers[0])
	if first, rest, ok := strings.Cut(body, " "); ok {
		if n, err := strconv.Atoi(first); err == nil {
			code, body = n, rest
		}
	}
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body))
}
