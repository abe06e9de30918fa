package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/server"
)

func TestAccess(t *testing.T) {
	groups := func(name string) (uint32, bool) {
		gid, ok := map[string]uint32{readGroup: 500, adminGroup: 501}[name]
		return gid, ok
	}
	without := func(string) (uint32, bool) { return 0, false }
	for name, c := range map[string]struct {
		peer  peer
		group func(string) (uint32, bool)
		want  access
	}{
		"root":                            {peer{uid: 0}, groups, change},
		"the agent's own user":            {peer{uid: 900, gid: 900}, groups, change},
		"an administrator":                {peer{uid: 1000, gid: 1000, groups: []uint32{27, 501}}, groups, change},
		"a reader":                        {peer{uid: 1000, gid: 1000, groups: []uint32{500}}, groups, read},
		"a reader by primary group":       {peer{uid: 1000, gid: 500}, groups, read},
		"both":                            {peer{uid: 1000, groups: []uint32{500, 501}}, groups, change},
		"anybody else":                    {peer{uid: 1000, gid: 1000, groups: []uint32{27}}, groups, none},
		"root's group is not root":        {peer{uid: 1000, gid: 0}, without, none},
		"without the groups, nobody else": {peer{uid: 1000, gid: 500}, without, none},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, accessOf(c.peer, 900, c.group))
		})
	}
}

// fixedOps answers everything and remembers who asked.
type fixedOps struct{ by string }

func (o *fixedOps) Status() control.Status { return control.Status{Version: 1, State: "serving"} }
func (o *fixedOps) Events() control.Events { return control.Events{Version: 1} }

func (o *fixedOps) Explain(name string) (control.Explanation, error) {
	return control.Explanation{}, notFound("there is no check %q", name)
}

func (o *fixedOps) RunCheck(context.Context, string) (control.CheckResult, error) {
	return control.CheckResult{Passed: true}, nil
}

func (o *fixedOps) ReportHeartbeat(string, control.HeartbeatRequest) (control.Accepted, error) {
	return control.Accepted{Version: 1}, nil
}

func (o *fixedOps) Drain(_ context.Context, by string, _ control.DrainRequest) (control.Accepted, error) {
	o.by = by
	return control.Accepted{Version: 1, Message: "drain begun"}, nil
}

func (o *fixedOps) Undrain(context.Context, string, control.UndrainRequest) (control.Accepted, error) {
	return control.Accepted{}, conflict("wait", "not now")
}

func (o *fixedOps) Maintenance(context.Context, string, control.MaintenanceRequest) (control.Accepted, error) {
	return control.Accepted{Version: 1}, nil
}

// serveControl serves the control socket in a directory that everyone can reach.
func serveControl(t *testing.T) (socket string, ops *fixedOps, log *testkit.Buffer) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet-control-") //nolint:usetesting // the parent of t.TempDir has mode 0700
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	l, err := listenControl(t.Context(), dir)
	require.NoError(t, err)
	ops, log = &fixedOps{}, &testkit.Buffer{}
	runControl(t, newControlServer(ops, newAccounts(), connLimits(1<<20).control, slog.New(slog.NewTextHandler(log, nil))), l)
	return filepath.Join(dir, control.SocketName), ops, log
}

// runControl runs a server until the test ends.
func runControl(t *testing.T, s *server.Server, l net.Listener) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
	})
}

func TestControlSocket(t *testing.T) {
	socket, ops, log := serveControl(t)
	c := control.NewClient(socket)
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, "serving", s.State)

	_, err = c.Drain(t.Context(), control.DrainRequest{Reason: "test"})
	require.NoError(t, err)
	require.Contains(t, ops.by, "uid "+strconv.Itoa(os.Geteuid()))
	require.Contains(t, log.String(), "uid=", "changes are logged with who asked")
	require.Contains(t, log.String(), "pid=")

	_, err = c.Explain(t.Context(), "none")
	require.ErrorContains(t, err, `there is no check "none"`)
	_, err = c.Undrain(t.Context(), control.UndrainRequest{})
	require.ErrorContains(t, err, "not now")
}

func TestControlSocketRefusesOversizeAndUnknownKeys(t *testing.T) {
	socket, _, _ := serveControl(t)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for name, body := range map[string]string{
		"unknown key": `{"reasons":"x"}`,
		"not json":    `drain please`,
		"too large":   `{"reason":"` + strings.Repeat("x", maxControlBody) + `"}`,
		"a tail":      `{"reason":"x"} trailing`,
		"two objects": `{"reason":"x"}{}`,
	} {
		resp, err := client.Post("http://agent/v1/drain", "application/json", strings.NewReader(body))
		require.NoError(t, err, name)
		resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, name)
	}
}

// TestControlSocketRefusesStrangers asks as a user who is in neither group. Only
// root can become one.
func TestControlSocketRefusesStrangers(t *testing.T) {
	testkit.Root(t)
	socket, _, log := serveControl(t)
	binary := filepath.Join(filepath.Dir(socket), "asker") // where the stranger can execute it
	data, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, data, 0o755))
	cmd := exec.Command(binary, askArg, socket, "-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "may not read this node's status")
	require.Contains(t, string(out), "may not change this node")
	require.Equal(t, 1, countLines(log.String(), "control request refused"), "one line a minute, however many there are")
	require.Equal(t, 1, countLines(log.String(), "uid=65534"))
}

// askArg makes the test binary ask the control socket: SOCKET -.
const askArg = "fleet-test-ask"

func askControl(socket string) int {
	c := control.NewClient(socket)
	_, err := c.Status(context.Background())
	fmt.Print(errorText(err))
	_, err = c.Drain(context.Background(), control.DrainRequest{})
	fmt.Print(errorText(err))
	return 0
}

func errorText(err error) string {
	if err == nil {
		return "allowed\n"
	}
	return err.Error() + "\n"
}

func TestControlSocketIsNotTakenFromALivingAgent(t *testing.T) {
	socket, _, _ := serveControl(t)
	_, err := listenControl(t.Context(), filepath.Dir(socket))
	require.ErrorContains(t, err, "another agent answers there")
}

func TestControlSocketReplacesADeadOne(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, control.SocketName), Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	again, err := listenControl(t.Context(), dir)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// TestControlSocketOfAHungProcess: the kernel connects, and nobody answers.
func TestControlSocketOfAHungProcess(t *testing.T) {
	tests := map[string]func(net.Listener){
		"never accepts": func(net.Listener) {},
		"never answers": func(l net.Listener) {
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
			}
		},
		"hangs up": func(l net.Listener) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		},
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each may take a second
			dir := t.TempDir()
			hung, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, control.SocketName), Net: "unix"})
			require.NoError(t, err)
			hung.SetUnlinkOnClose(false)
			var done sync.WaitGroup
			done.Go(func() { serve(hung) })
			defer done.Wait()
			defer hung.Close()

			l, err := listenControl(t.Context(), dir)
			require.NoError(t, err)
			require.NoError(t, l.Close())
		})
	}
}
