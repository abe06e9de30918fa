package examples

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// patience is far more than anything here takes, however busy the machine is.
const patience = time.Minute

// A node is a fleet-agent of its own process with a directory of its own. There
// is no Azure around it.
type node struct {
	t      *testing.T
	binary string
	dir    string // config.yaml, conf.d and all that the agent writes
	client *control.Client
	http   *http.Client
	log    *testkit.Buffer
}

// shortDir is a directory whose path leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") //nolint:usetesting // the path of t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// adapt makes an example fit for a test: it replaces texts, all of which have to
// be there, and lets edit change the checks.
func adapt(t *testing.T, file string, replace map[string]string, edit func(check map[string]any)) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../examples", file))
	require.NoError(t, err)
	text := string(data)
	for old, with := range replace {
		require.Contains(t, text, old, file)
		text = strings.ReplaceAll(text, old, with)
	}
	var root map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &root))
	checks, ok := root["checks"].([]any)
	require.True(t, ok)
	for _, c := range checks {
		check, ok := c.(map[string]any)
		require.True(t, ok)
		edit(check)
	}
	out, err := yaml.Marshal(root)
	require.NoError(t, err)
	return string(out)
}

// startNode builds fleet-agent and runs it in dir, where the configuration is,
// until the test ends. conf.d/00-here.yaml adds to it what a test must not share.
func startNode(t *testing.T, dir string) *node {
	t.Helper()
	n := &node{
		t: t, dir: dir, binary: filepath.Join(dir, "fleet-agent"), log: &testkit.Buffer{},
		client: control.NewClient(filepath.Join(dir, "run", control.SocketName)),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as the extension does
		}},
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", n.binary, "../../cmd/fleet-agent")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	metadata := httptest.NewServer(imds.New(imds.Config{VMs: []imds.Instance{{Name: "web_0"}}, RateLimit: -1}))
	t.Cleanup(metadata.Close)
	writeFile(t, filepath.Join(dir, "conf.d/00-here.yaml"), "imds: {endpoint: '"+metadata.URL+"'}\n"+
		"listen: {metrics: ''}\nrun_dir: "+filepath.Join(dir, "run")+"\nstate_dir: "+filepath.Join(dir, "state")+"\n")

	agent := exec.Command(n.binary, "--config", filepath.Join(dir, "config.yaml"), "run", "--debug")
	agent.Stderr = n.log
	agent.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	require.NoError(t, agent.Start())
	exited := make(chan error, 1)
	go func() { exited <- agent.Wait() }()
	t.Cleanup(func() {
		_ = agent.Process.Signal(syscall.SIGTERM) // fails only when it has ended, which the next line tells
		require.NoError(t, <-exited, n.log)
		n.http.CloseIdleConnections()
		if t.Failed() {
			t.Log(n.log)
		}
	})
	n.await("an answer on the control socket", func() bool {
		_, err := n.client.Status(t.Context())
		return err == nil
	})
	return n
}

// await asks again and again until it holds.
func (n *node) await(what string, holds func() bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(n.t, "never: "+what, "%s", n.log)
		}
	}
}

func (n *node) status() *control.Status {
	n.t.Helper()
	s, err := n.client.Status(n.t.Context())
	require.NoError(n.t, err)
	return s
}

// code asks a probe endpoint over the network.
func (n *node) code(scheme, path string) int {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, scheme+"://"+n.status().Agent.ProbeAddress+path, http.NoBody)
	require.NoError(n.t, err)
	resp, err := n.http.Do(request)
	require.NoError(n.t, err)
	require.NoError(n.t, resp.Body.Close())
	return resp.StatusCode
}

// check runs one check now, and returns why it failed.
func (n *node) check(name string) string {
	n.t.Helper()
	r, err := n.client.RunCheck(n.t.Context(), name)
	require.NoError(n.t, err)
	require.Equal(n.t, r.Passed, r.Error == "")
	require.NotContains(n.t, r.Error, "\n")
	return r.Error
}

// run runs a command of the binary, whose exit code has to be as given.
func (n *node) run(code int, args ...string) string {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), n.binary, append([]string{"--config", filepath.Join(n.dir, "config.yaml")}, args...)...)
	out, err := cmd.CombinedOutput()
	if code == 0 {
		require.NoError(n.t, err, "%s", out)
	}
	require.Equal(n.t, code, cmd.ProcessState.ExitCode(), "%s", out)
	return string(out)
}
