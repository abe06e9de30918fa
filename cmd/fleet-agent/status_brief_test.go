package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// briefGlobals has its configuration, and with it the image's stamp, in a directory of
// its own.
func briefGlobals(t testing.TB, imageRelease string) *globals {
	t.Helper()
	g := newGlobals(new(bytes.Buffer), new(bytes.Buffer), func(string) string { return "" })
	g.configPath = filepath.Join(t.TempDir(), "config.yaml")
	if imageRelease != "" {
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(g.configPath), "image-release"), []byte(imageRelease), 0o644))
	}
	return g
}

// requireBrief fails unless text is what a reader at the end of a narrow pipe can use.
func requireBrief(t *testing.T, text, state string) {
	t.Helper()
	require.LessOrEqual(t, len(text), maxBrief)
	require.True(t, utf8.ValidString(text), "a rune is cut")
	require.True(t, strings.HasSuffix(text, "\n"))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	require.True(t, strings.HasPrefix(lines[0], "state: "), lines[0])
	last := lines[len(lines)-1]
	require.True(t, strings.HasPrefix(last, "end: "), last)
	if state != "" {
		require.Contains(t, lines[0], state)
		require.Contains(t, last, state)
	}
	for _, line := range lines {
		require.False(t, strings.ContainsFunc(line, safetext.Hidden), "%q", line)
	}
}

func TestBrief(t *testing.T) {
	files, err := filepath.Glob("testdata/status/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			s := decode[control.Status](t, file)
			g := briefGlobals(t, "FLEET_AGENT_VERSION=1.0.0-1\nFLEET_AGENT_SHA256="+strings.Repeat("0", 64)+"\nBASE_OS=\"Debian GNU/Linux 12 (bookworm)\"\nIMAGE=web\n")
			text := g.briefStatus(s).text()
			requireBrief(t, text, string(s.State))
			golden(t, name+"-brief.txt", text)
		})
	}
}

// Five hundred checks that fail leave room for what else there is to say, and those
// that gate come first.
func TestBriefOfManyFailures(t *testing.T) {
	now := time.Date(2026, 3, 5, 14, 3, 16, 0, time.UTC)
	s := &control.Status{
		State: control.StateUnhealthy, Reason: strings.Repeat("雪", 500), Since: now.Add(-time.Hour), Now: now,
		Health:      control.Health{State: "unhealthy", Roots: []string{"root"}},
		Drain:       &control.Drain{Phase: phaseRunning, StartedAt: now, Error: strings.Repeat("é", 400), Steps: []control.Step{{Name: strings.Repeat("🧊", 90), Status: stepRunning, Kind: "stop"}}},
		Maintenance: &control.Maintenance{Until: now, Reason: strings.Repeat("ж", 300)},
		IMDS:        control.IMDS{State: imdsBlind, Error: strings.Repeat("é", 400)},
		Node:        control.Node{Name: strings.Repeat("n", 300)},
		Agent:       control.Agent{Version: strings.Repeat("1", 300)},
	}
	for i := range 500 {
		c := control.Check{
			Name: fmt.Sprintf("%03d-%s", i, strings.Repeat("検査", 40)), Kind: "http", Status: checkFailing, Since: now.Add(-time.Minute),
			Error: strings.Repeat("🧊", 300), Severity: "warning",
		}
		if i == 400 {
			c.Name, c.Severity, c.Gates = "root", "critical", []string{"health", "ready"}
		}
		s.Health.Checks = append(s.Health.Checks, c)
		s.Events = append(s.Events, control.Event{Mine: true, Type: "Reboot", Status: "Scheduled", Reason: strings.Repeat("é", 300)})
		s.Warnings = append(s.Warnings, strings.Repeat("é", 300))
	}
	g := briefGlobals(t, strings.Repeat("KEY=é\n", 2000))
	text := g.briefStatus(s).text()
	requireBrief(t, text, "unhealthy")
	require.Equal(t, text, g.briefStatus(s).text(), "the same each time")
	for _, want := range []string{
		"healthz: unhealthy: root fails\n", "failing: root (http, gates health and ready) since 2026-03-05T14:02:16Z (1m): ",
		"\ndrain: running since", "\nstep: 1 of 1, ", "\nmaintenance: until", "\nblind: ", "\nevent: Reboot", "and 499 more events for this VM\n",
		"\nwarning: ", "and 499 more warnings\n", "\nnode: n", "\nagent: fleet-agent 1", "\nimage-release: KEY=é",
	} {
		require.Contains(t, text, want)
	}
	require.Contains(t, text, fmt.Sprintf("and %d more checks that fail\n", 500-strings.Count(text, "failing: ")))

	// Without all the rest, the checks have its room.
	s.Drain, s.Maintenance, s.IMDS, s.Events, s.Warnings, s.Reason = nil, nil, control.IMDS{}, nil, nil, ""
	text = g.briefStatus(s).text()
	requireBrief(t, text, "unhealthy")
	require.Greater(t, strings.Count(text, "failing: "), 5)
	require.Greater(t, len(text), maxBrief-briefItem, "no room is left unused")
	require.Contains(t, text, fmt.Sprintf("and %d more checks that fail\n", 500-strings.Count(text, "failing: ")))
}

// Whatever an agent answers, it fits, and no rune is cut.
func FuzzBrief(f *testing.F) {
	f.Add("unhealthy", "hsm fails", "hsm", "dial tcp: connection refused", "warning", uint16(3))
	f.Add("", "\x1b[2J", "a\nend: serving", "\xff\u2028", "critical", uint16(500))
	f.Add("draining", strings.Repeat("雪", 200), strings.Repeat("🧊", 50), strings.Repeat("é", 2000), "", uint16(9))
	g := briefGlobals(f, "IMAGE=web\n")
	f.Fuzz(func(t *testing.T, state, reason, name, why, severity string, n uint16) {
		now := time.Date(2026, 3, 5, 14, 3, 16, 0, time.UTC)
		s := &control.Status{
			State: control.State(state), Reason: reason, Since: now, Now: now, Health: control.Health{State: state, Roots: []string{name}},
			Drain:       &control.Drain{Phase: state, Deadline: &now, Error: why, Cause: control.Cause{Kind: "operator", By: name, Reason: reason}, Steps: []control.Step{{Name: name, Kind: why, Status: stepFailed, Error: why}}},
			Maintenance: &control.Maintenance{Reason: why},
			IMDS:        control.IMDS{State: imdsBlind, Error: why},
			Node:        control.Node{Name: name, Image: why, ScaleSet: name, Zone: why},
			Agent:       control.Agent{Version: why},
		}
		for range n % 600 {
			s.Health.Checks = append(s.Health.Checks, control.Check{Name: name, Kind: why, Status: checkFailing, Error: why, Severity: severity, Gates: []string{"health", name}})
			s.Warnings = append(s.Warnings, why)
			s.Events = append(s.Events, control.Event{Mine: true, Type: name, Status: state, NotBefore: &now, Action: why, Reason: reason})
		}
		requireBrief(t, g.briefStatus(s).text(), "")
	})
}

// programs makes shell scripts that are found instead of the machine's programs.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// An agent that takes the connection and never answers, on a node whose systemd hangs
// too, costs less than the 10 s that the help promises: each of the three is waited for
// once, and no longer than its bound.
func TestBriefOfWhatHangs(t *testing.T) {
	require.Less(t, briefAgentTimeout+2*(briefSystemdTimeout+briefKillDelay), 10*time.Second)
	asked := filepath.Join(t.TempDir(), "asked")
	hangs := `echo "${0##*/}" >>` + asked + "; sleep 60 & exec sleep 60"
	programs(t, map[string]string{"systemctl": hangs, "journalctl": hangs})
	dir, err := os.MkdirTemp("", "fleet") //nolint:usetesting // the path of t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, control.SocketName)
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })

	var stdout, stderr bytes.Buffer
	began := time.Now()
	code := run([]string{"status", "-o", "brief", "--socket", socket, "--config", filepath.Join(dir, "config.yaml")}, &stdout, &stderr, func(string) string { return "" })
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, exitUnreachable, code)
	require.Empty(t, stderr.String())
	requireBrief(t, stdout.String(), "")
	require.Contains(t, stdout.String(), "no answer within 4s\n")
	require.Contains(t, stdout.String(), "unit: systemd does not say: systemctl: no answer within 1.5s\n")
	programs, err := os.ReadFile(asked)
	if !os.IsNotExist(err) { // none has come so far within its time
		require.NoError(t, err)
	}
	for _, program := range []string{"systemctl", "journalctl"} {
		require.LessOrEqual(t, strings.Count(string(programs), program), 1, program)
	}
}

// What systemd and the journal say is text from outside, too.
func TestBriefOfOddSystemd(t *testing.T) {
	for name, systemctl := range map[string]string{
		"nothing":  "exit 0",
		"garbage":  `printf 'LoadState=loaded\nActiveState=\033[2J\377\n=\n\nStatusText=%03000d\n' 7`,
		"refusal":  "echo 'Failed to connect to bus' >&2; exit 1",
		"a signal": "kill -9 $$",
	} {
		t.Run(name, func(t *testing.T) {
			programs(t, map[string]string{"systemctl": systemctl, "journalctl": `for i in 1 2 3 4 5 6 7 8 9 10; do printf 'line %s \033[31m%0900d\n' $i 0; done`})
			g := briefGlobals(t, "")
			text := g.briefAbsence(context.Background(), errors.New("boom\n"+strings.Repeat("雪", 2000))).text()
			requireBrief(t, text, "")
			require.Contains(t, text, "\nunit: ")
			require.Contains(t, text, "\nlog: line 10 ")
		})
	}
}
