package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

func TestFiles(t *testing.T) {
	i := &incident{hsm: &hsm{port: 1792, files: t.TempDir()}}
	for n, a := range acts {
		name, s := fmt.Sprintf("act %d", n+1), a.setting
		i.complete(&s)
		text, err := fill("scenario.yaml", s)
		require.NoError(t, err, name)
		sc, err := arm.ParseScenario("scenario.yaml", text)
		require.NoError(t, err, name)
		agents, err := sc.Agents()
		require.NoError(t, err, name)
		require.Contains(t, string(agents.Config), "127.0.0.1:1792", name)
		require.Contains(t, string(agents.Versions["1.7.0"]), "127.0.0.2:1792", name)
		server, err := arm.New(arm.Config{Rules: sc.Rules()})
		require.NoError(t, err, name)
		require.NoError(t, server.Apply(sc), name)

		text, err = fill("fleet.yaml", s)
		require.NoError(t, err, name)
		_, err = fleetfile.Read("fleet.yaml", text, os.LookupEnv)
		require.NoError(t, err, name)
	}
	text, err := files.ReadFile("storage.yaml")
	require.NoError(t, err)
	_, err = arm.ParseScenario("storage.yaml", text)
	require.NoError(t, err)
}

func TestHSM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := newHSM(ctx, t.TempDir())
	require.NoError(t, err)
	defer h.close()
	require.NoError(t, h.refusesStrangers(ctx))
	require.Zero(t, h.served.Load())

	client, err := tls.LoadX509KeyPair(filepath.Join(h.files, "client.crt"), filepath.Join(h.files, "client.key"))
	require.NoError(t, err)
	connect := func(door string) error {
		config := &tls.Config{RootCAs: h.pool, ServerName: "hsm.internal", MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{client}}
		dialer := tls.Dialer{Config: config}
		conn, err := dialer.DialContext(ctx, "tcp", h.address(door))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	require.NoError(t, connect(usual))
	require.ErrorContains(t, connect(barred), "refused", "it is shut at first")
	require.NoError(t, h.open(ctx, barred))
	require.NoError(t, connect(barred))
	h.shut(barred)
	require.ErrorContains(t, connect(barred), "refused")
	require.NoError(t, connect(usual), "the other door is open")
}

// An HSM that lets strangers in is noticed.
func TestStrangers(t *testing.T) {
	h, err := newHSM(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer h.close()
	h.config.ClientAuth = tls.NoClientCert
	require.ErrorContains(t, h.refusesStrangers(t.Context()), "without a certificate")
}

func TestCurtains(t *testing.T) {
	var out bytes.Buffer
	c := newCurtains(&out, 3)
	say := func(n int, text string) {
		_, err := c.act(n).Write([]byte(text))
		require.NoError(t, err)
	}
	say(1, "b")
	say(0, "a")
	require.Equal(t, "a", out.String())
	say(2, "c")
	c.end(2)
	c.end(0)
	require.Equal(t, "ab", out.String(), "the second act has not ended")
	say(1, "B")
	c.end(1)
	require.Equal(t, "abBc", out.String())

	out.Reset()
	c = newCurtains(&out, 2)
	say(1, "b")
	c.all()
	require.Equal(t, "b", out.String(), "when something fails all is told")
}

func TestExceeded(t *testing.T) {
	at := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	disk := func(member string, from, until int) arm.Disk {
		d := arm.Disk{Set: sets + east, Member: member, Version: "1.7.0", From: at.Add(time.Duration(from) * time.Minute)}
		if until > 0 {
			d.Until = at.Add(time.Duration(until) * time.Minute)
		}
		return d
	}
	p := plan{Waves: []plannedWave{
		{Name: "canary", Sets: []plannedSet{{Name: east, Worst: 1}}},
		{Name: "east", Sets: []plannedSet{{Name: east, Worst: 2}}},
	}}
	v := view{Version: "1.7.0", Waves: []wave{{Name: "canary", Step: "soaking"}, {Name: "east"}}}
	require.NoError(t, v.exceeded([]arm.Disk{disk("a", 0, 5), disk("b", 5, 0)}, &p), "one after the other")
	require.ErrorContains(t, v.exceeded([]arm.Disk{disk("a", 0, 6), disk("b", 5, 0)}, &p), "2 members of vmss-authz")
	v.Waves[1].Step = "batches"
	require.NoError(t, v.exceeded([]arm.Disk{disk("a", 0, 6), disk("b", 5, 0)}, &p), "the wave that may has begun")
}

func TestDrains(t *testing.T) {
	i := &incident{hsm: &hsm{files: t.TempDir()}}
	all, err := i.drains()
	require.NoError(t, err)
	require.Empty(t, all)
	file := filepath.Join(i.hsm.files, "drains")
	require.NoError(t, os.WriteFile(file, []byte("1.5 operator  -\n2.25 scheduled-event Preempt 2026-03-05T14:00:00Z\n"), 0o600))
	all, err = i.drains()
	require.NoError(t, err)
	require.Equal(t, []drained{
		{at: time.UnixMicro(1_500_000), cause: "operator"},
		{at: time.UnixMicro(2_250_000), cause: "scheduled-event", event: "Preempt", deadline: time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)},
	}, all)
	require.NoError(t, os.WriteFile(file, []byte("odd\n"), 0o600))
	_, err = i.drains()
	require.Error(t, err)
}
