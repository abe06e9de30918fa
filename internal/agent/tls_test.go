package agent

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// A daemon is a whole agent on real sockets, without an Azure around it.
type daemon struct {
	*Agent
	t    *testing.T
	log  *testkit.Buffer
	stop func() // as SIGTERM does; the end of the test does so too
}

// startDaemon runs an agent until the test ends, and returns when it serves.
func startDaemon(t *testing.T, conf config.Config, plan func(*config.Config) (*drain.Plan, error)) *daemon {
	t.Helper()
	m, socket := newManager(t)
	dir := t.TempDir()
	conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	log := &testkit.Buffer{}
	a, err := New(Config{
		Config: &conf, Version: "1.2.3", BusAddress: "unix:path=" + filepath.Join(dir, "no-bus"),
		Load:     func() (*config.Config, error) { return &conf, nil },
		Notifier: systemd.NewNotifier(systemd.NotifierConfig{Socket: socket}),
		Plan:     plan,
		Logger:   slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	d := &daemon{Agent: a, t: t, log: log}
	d.run()
	m.await("READY=1")
	return d
}

// run runs an agent that was made until the test ends, or stop.
func (d *daemon) run() {
	ctx, stop := context.WithCancel(d.t.Context())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		stop()
		require.NoError(d.t, <-ran)
	})
	d.t.Cleanup(func() {
		d.stop()
		if d.t.Failed() {
			d.t.Log(d.log)
		}
	})
	d.await("it listens", func() bool { return d.probeAddr.Load() != nil })
}

// await asks again and again until it holds.
func (d *daemon) await(what string, holds func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(d.t, "never: "+what, "%s", d.log)
		}
	}
}

// replace puts content in place as a careful program does, at once and whole.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// probes are the clients of a TLS listener: the two versions of the extension.
type probes struct {
	url    string
	failed atomic.Pointer[string] // what the first failed probe said
	kept   atomic.Int64           // answers over the one connection that is kept
	opened atomic.Int64           // connections that the keeper opened
	newest atomic.Pointer[string] // name on the certificate that a new connection saw last
}

// run probes until ctx is done.
func (p *probes) run(ctx context.Context, keepAlive bool) {
	transport := &http.Transport{
		DisableKeepAlives: !keepAlive,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as the extension does
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if keepAlive {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{ConnectDone: func(string, string, error) { p.opened.Add(1) }})
	}
	for ctx.Err() == nil {
		if said := p.probe(ctx, client, keepAlive); said != "" && ctx.Err() == nil {
			p.failed.CompareAndSwap(nil, &said)
		}
	}
}

func (p *probes) probe(ctx context.Context, client *http.Client, keepAlive bool) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return err.Error()
	}
	resp, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK || string(body) != `{"ApplicationHealthState":"Healthy"}` {
		return resp.Status + " " + string(body)
	}
	if keepAlive {
		p.kept.Add(1)
	} else {
		p.newest.Store(&resp.TLS.PeerCertificates[0].Subject.CommonName)
	}
	return ""
}

// TestCertificateReload replaces the pair under a kept connection and a stream of
// new ones: no probe fails, whatever lies on the disk.
func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "probe.crt"), filepath.Join(dir, "probe.key")
	put := func(certPEM, keyPEM []byte) {
		replace(t, certFile, certPEM)
		replace(t, keyFile, keyPEM)
	}
	one, two, three := testkit.NewAuthority(t, "one"), testkit.NewAuthority(t, "two"), testkit.NewAuthority(t, "three")
	put(one.CertPEM, one.KeyPEM)

	conf := *config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0", TLS: config.ListenTLS{CertFile: certFile, KeyFile: keyFile}}
	conf.IMDS.Endpoint = "http://127.0.0.1:9"
	conf.Checks = []config.Check{fileCheck("root", "/")}
	d := startDaemon(t, conf, func(*config.Config) (*drain.Plan, error) { return drain.NewPlan(nil) })

	p := &probes{url: "https://" + *d.probeAddr.Load() + "/healthz"}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	clients.Go(func() { p.run(ctx, true) })
	clients.Go(func() { p.run(ctx, false) })
	defer clients.Wait()
	defer stop()
	sees := func(name string) func() bool {
		return func() bool { n := p.newest.Load(); return n != nil && *n == name }
	}
	warned := func() []string { return (&controlOps{d.Agent}).Status().Warnings }
	d.await("first certificate", sees("one"))
	require.Empty(t, warned())

	put(two.CertPEM, two.KeyPEM)
	d.await("second certificate", sees("two"))

	// Damage of every sort: the pair in force goes on, and status says so.
	for name, damage := range map[string]func(){
		"key of another": func() { replace(t, certFile, three.CertPEM) },
		"not pem":        func() { put([]byte("nothing"), []byte("nothing")) },
		"truncated":      func() { replace(t, keyFile, two.KeyPEM[:len(two.KeyPEM)/2]) },
		"missing":        func() { require.NoError(t, os.Remove(keyFile)) },
	} {
		damage()
		d.await("warning: "+name, func() bool { return len(warned()) == 1 })
		require.Contains(t, warned()[0], "the probe certificate on disk is broken, the old one goes on: ", name)
		require.True(t, sees("two")(), name)
		put(two.CertPEM, two.KeyPEM)
		d.await("no warning: "+name, func() bool { return len(warned()) == 0 })
	}
	logged := strings.Count(d.log.String(), "probe certificate not reloaded")
	require.GreaterOrEqual(t, logged, 4)
	require.Less(t, logged, 20, "logged on change, not for every handshake")

	put(three.CertPEM, three.KeyPEM)
	d.await("third certificate", sees("three"))
	before := p.kept.Load()
	d.await("an answer over the kept connection", func() bool { return p.kept.Load() > before })
	stop()
	clients.Wait()
	require.Nil(t, p.failed.Load())
	require.EqualValues(t, 1, p.opened.Load(), "the kept connection outlives the pair that it began with")
}

// TestCertificateAtStart: a pair that was never good is an error, not a listener
// that answers nobody.
func TestCertificateAtStart(t *testing.T) {
	dir := t.TempDir()
	certPEM, keyPEM := testkit.NewAuthority(t, "one").CertPEM, testkit.NewAuthority(t, "two").KeyPEM
	certFile, keyFile := filepath.Join(dir, "probe.crt"), filepath.Join(dir, "probe.key")
	require.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	_, err := loadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "load probe certificate "+certFile+" with key "+keyFile+": open "+keyFile)
	require.NoError(t, os.WriteFile(keyFile, keyPEM, 0o600))
	_, err = loadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "private key does not match public key")
}
