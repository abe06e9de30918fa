package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const agentScenario = `
machines: {agent: {config: {checks: [{name: endless, exec: {command: [/bin/sleep, "1000"]}, timeout: 30s}], drain: {plan: [{name: nothing, sleep: 1s}]}}}}
galleries:
  - {name: galProd, definitions: [{name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy, versions: [{name: 1.7.1, regions: {eastus: {}}}]}]}
scale_sets:
  - {name: vmss-authz, image: galProd/ubuntu-app, health: {port: 8080, path: /healthz}, members: [{name: vmss-authz_1}, {name: vmss-authz_2}]}
`

// TestNothingIsLeft: however fleetsim ends, its agents, their scripts and what they have
// started end with it.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, ".", "../fleet-agent").CombinedOutput()
	require.NoError(t, err, "%s", out)
	scenario := filepath.Join(dir, "fleet.yaml")
	require.NoError(t, os.WriteFile(scenario, []byte(agentScenario), 0o600))
	for name, signal := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			cmd := exec.Command(filepath.Join(dir, "fleetsim"), "arm", "--scenario", scenario, "--agent", filepath.Join(dir, "fleet-agent"))
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			var log bytes.Buffer
			cmd.Stderr = &log
			require.NoError(t, cmd.Start())
			endpoint, err := bufio.NewReader(stdout).ReadString('\n')
			require.NoError(t, err, "%s", &log)
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			run := strings.TrimSpace(endpoint) + "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod" +
				"/providers/Microsoft.Compute/virtualMachines/vmss-authz_1/runCommand?api-version=2026-04-01"
			require.Equal(t, http.StatusForbidden, post(t, run, "https://portal.example"), "a page of a browser runs nothing here")
			require.Equal(t, http.StatusAccepted, post(t, run, ""))
			var family []int // its agents, and their checks; the script, what it has started, and what ends it
			require.Eventually(t, func() bool {
				family = descendants(t, cmd.Process.Pid)
				return len(family) == 4+3
			}, time.Minute, 20*time.Millisecond)
			require.NoError(t, cmd.Process.Signal(signal))
			_ = cmd.Wait()
			for _, pid := range family {
				require.Eventually(t, func() bool { return parent(pid) == 0 }, 10*time.Second, 10*time.Millisecond, "process %d is left", pid)
			}
			if signal == syscall.SIGTERM {
				require.Zero(t, cmd.ProcessState.ExitCode(), "%s", &log)
				left, err := os.ReadDir(tmp)
				require.NoError(t, err)
				require.Empty(t, left)
			}
		})
	}
}

// post has a script run that does not end, and returns the status.
func post(t *testing.T, url, origin string) int {
	t.Helper()
	const script = `{"commandId": "RunShellScript", "script": ["trap '' TERM HUP", "sleep 1000", "true"]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(script))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// descendants are the living processes below another one.
func descendants(t *testing.T, of int) (all []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(file))
		require.NoError(t, err)
		for up := parent(pid); up > 1; up = parent(up) {
			if up == of {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}

// parent is the parent of a process; 0 when the process has ended.
func parent(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	up, err := strconv.Atoi(fields[1])
	if err != nil || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	return up
}
