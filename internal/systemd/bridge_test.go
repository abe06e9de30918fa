package systemd

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

// serveBridge answers one request after the other, as scripted; a missing answer
// leaves the client waiting.
func serveBridge(t *testing.T, answers map[string]string) (path string, requests <-chan string) {
	t.Helper()
	path = socketPath(t)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	seen := make(chan string, 10)
	run(t, func(context.Context) error {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) { // with the test
				return nil
			}
			if err != nil {
				return err
			}
			request, _ := bufio.NewReader(conn).ReadString('\n')
			seen <- request
			if answer, ok := answers[strings.TrimSpace(request)]; ok {
				_, _ = conn.Write([]byte(answer))
				_ = conn.Close()
			} else {
				t.Cleanup(func() { _ = conn.Close() })
			}
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return path, seen
}

func TestBridge(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: target, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{Name: "fleet-hook@a.service"})
	bus.Systemd.Deny("StopUnit")
	path, requests := serveBridge(t, map[string]string{
		"stop " + target:            "done\n",
		"stop fleet-hook@a.service": "failed: Job for fleet-hook@a.service canceled.\n",
		"stop other.service":        "refused: only hooks\n",
		"stop broken.service":       "what?\n",
		"stop silent.service":       "",
	})
	m := NewManager(ManagerConfig{Address: bus.Address(), Bridge: path})
	run(t, m.Run)

	require.NoError(t, m.StartUnit(soon(t), "fleet-hook@a.service"), "what polkit allows needs no bridge")
	require.Empty(t, requests)
	require.NoError(t, m.StopUnit(soon(t), target))
	require.Equal(t, "stop "+target+"\n", receive(t, requests))
	require.EqualError(t, m.StopUnit(soon(t), "fleet-hook@a.service"),
		"stop fleet-hook@a.service: job failed: Job for fleet-hook@a.service canceled.")
	err := m.StopUnit(soon(t), "other.service")
	require.ErrorIs(t, err, ErrDenied)
	require.EqualError(t, err, "stop other.service: not authorised: only hooks")
	require.EqualError(t, m.StopUnit(soon(t), "broken.service"), `stop broken.service: ask the bridge: unexpected answer "what?\n"`)
	require.EqualError(t, m.StopUnit(soon(t), "silent.service"), "stop silent.service: ask the bridge: EOF")

	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := async(func() error { return m.StopUnit(ctx, "hangs.service") })
	for receive(t, requests) != "stop hangs.service\n" {
		continue
	}
	reason := errors.New("the deadline has come")
	cancel(reason)
	require.ErrorIs(t, receive(t, stopped), reason)
}

func TestBridgeThatIsNotThere(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: target, ActiveState: "active"})
	bus.Systemd.Deny("StopUnit")
	m := NewManager(ManagerConfig{Address: bus.Address(), Bridge: filepath.Join(t.TempDir(), "none")})
	run(t, m.Run)
	require.EqualError(t, m.StopUnit(soon(t), target), "stop fleet-serving.target: not authorised: Interactive authentication required.")
}

// The script that the package installs at the other end.
func TestBridgeScript(t *testing.T) {
	script, err := filepath.Abs("../../packaging/deb/bridge")
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "systemctl"),
		[]byte("#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$CALLS\"\ncase $4 in *fails*) echo 'Job for it'; echo 'failed.'; exit 1;; esac >&2\n"), 0o755))
	for request, want := range map[string]struct{ answer, call string }{
		"start fleet-serving.target":         {"done", "start -- fleet-serving.target"},
		"stop fleet-serving.target":          {"done", "stop -- fleet-serving.target"},
		"start fleet-hook@a.b_c-1.service":   {"done", "start -- fleet-hook@a.b_c-1.service"},
		`stop fleet-hook@a\x2db.service`:     {"done", `stop -- fleet-hook@a\x2db.service`},
		"start fleet-hook@fails.service":     {"failed: Job for it failed.", "start -- fleet-hook@fails.service"},
		"restart fleet-serving.target":       {answer: "refused: the verb is not start or stop"},
		"":                                   {answer: "refused: the verb is not start or stop"},
		"stop":                               {answer: "refused: only fleet-serving.target and hooks can be controlled"},
		"stop nginx.service":                 {answer: "refused: only fleet-serving.target and hooks can be controlled"},
		"stop fleet-serving.target nginx":    {answer: "refused: more than a verb and a unit"},
		"stop fleet-hook@.service":           {answer: "refused: not the name of a hook"},
		"stop fleet-hook@*.service":          {answer: "refused: not the name of a hook"},
		"stop fleet-hook@a/../b.service":     {answer: "refused: not the name of a hook"},
		"stop fleet-hook@$(id).service":      {answer: "refused: not the name of a hook"},
		"stop --force":                       {answer: "refused: only fleet-serving.target and hooks can be controlled"},
		"stop fleet-hook@a.service.mount":    {answer: "refused: only fleet-serving.target and hooks can be controlled"},
		"stop fleet-hook@a.service;b.target": {answer: "refused: only fleet-serving.target and hooks can be controlled"},
	} {
		t.Run(request, func(t *testing.T) {
			calls := filepath.Join(t.TempDir(), "calls")
			cmd := exec.CommandContext(soon(t), "/bin/sh", script)
			cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "CALLS=" + calls}
			cmd.Stdin = strings.NewReader(request + "\n")
			answer, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, want.answer+"\n", string(answer))
			call, err := os.ReadFile(calls)
			if want.call == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "--no-ask-password "+want.call+"\n", string(call))
		})
	}
}
