// Command bench measures the agent's binary from outside, each figure beside a
// control in the same run: size, time from start to the first answer, memory and
// CPU when idle with ten checks. docs/performance.md has results and commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	idle := flag.Duration("idle", 30*time.Second, "how long to watch an idle server")
	flag.Parse()
	if err := run(context.Background(), *bin, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

const starts = 10

func run(ctx context.Context, bin string, idle time.Duration) error {
	dir, err := os.MkdirTemp("", "fleet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	control := filepath.Join(dir, "static")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", control, "./internal/bench/static")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the control: %w", err)
	}
	agent := filepath.Join(bin, "fleet-agent")

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "figure\tfleet-agent\tstatic net/http\tratio")
	defer func() { _ = w.Flush() }()

	agentSize, err := size(agent)
	if err != nil {
		return err
	}
	controlSize, err := size(control)
	if err != nil {
		return err
	}
	row(w, "stripped size (MB)", agentSize, controlSize)

	var a, c server
	a.start = func(n int) (*exec.Cmd, string, error) { return startAgent(ctx, agent, dir, n) }
	c.start = func(int) (*exec.Cmd, string, error) { return startStatic(ctx, control) }

	for n := range starts { // in turn, so that both see the same machine
		for _, s := range []*server{&a, &c} {
			if err := s.measureStart(ctx, n); err != nil {
				return err
			}
		}
	}
	row(w, fmt.Sprintf("start to first answer (ms, median of %d)", starts), median(a.starts), median(c.starts))

	fmt.Fprintf(os.Stderr, "serving both the same requests, then watching them idle for %s\n", idle)
	for _, s := range []*server{&a, &c} {
		if err := s.begin(ctx, starts); err != nil {
			return err
		}
		defer s.stop()
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	settle := time.NewTimer(75 * time.Second) // not a wait for a state: what is measured is a server that has been idle
	<-settle.C
	for _, s := range []*server{&a, &c} {
		if s.cpu, err = cpuSeconds(s.cmd.Process.Pid); err != nil {
			return err
		}
	}
	watch := time.NewTimer(idle)
	<-watch.C
	for _, s := range []*server{&a, &c} {
		cpu, err := cpuSeconds(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		s.cpu = (cpu - s.cpu) * float64(time.Hour) / float64(idle)
		if s.memory, err = residentMB(s.cmd.Process.Pid); err != nil {
			return err
		}
	}
	row(w, "idle memory, 10 checks, after 20,000 requests (MB resident)", a.memory, c.memory)
	row(w, "CPU idle, 10 checks (s per hour)", a.cpu, c.cpu)
	return nil
}

func row(w *tabwriter.Writer, name string, agent, control float64) {
	ratio := "-"
	if control > 0.005 {
		ratio = fmt.Sprintf("%.2f", agent/control)
	}
	_, _ = fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\n", name, agent, control, ratio)
}

type server struct {
	start       func(n int) (cmd *exec.Cmd, url string, err error)
	cmd         *exec.Cmd
	url         string
	starts      []float64 // milliseconds
	memory, cpu float64
}

func (s *server) begin(ctx context.Context, n int) error {
	cmd, url, err := s.start(n)
	if err != nil {
		return err
	}
	s.cmd, s.url = cmd, url
	return answered(ctx, url)
}

// load sends requests over a few connections, so that what is measured is a
// server that has been probed, as every one is.
func (s *server) load(ctx context.Context) error {
	const connections, requests = 8, 2500
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	errs := make(chan error, connections)
	for range connections {
		go func() {
			for range requests {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
				if err == nil {
					var resp *http.Response
					if resp, err = client.Do(req); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var first error
	for range connections {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
}

func (s *server) measureStart(ctx context.Context, n int) error {
	begin := time.Now()
	if err := s.begin(ctx, n); err != nil {
		return err
	}
	s.starts = append(s.starts, float64(time.Since(begin))/float64(time.Millisecond))
	s.stop()
	return nil
}

// answered waits until the server at url answers 200.
func answered(ctx context.Context, url string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from %s", url)
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func startStatic(ctx context.Context, binary string) (*exec.Cmd, string, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, binary, address)
	cmd.Stderr = os.Stderr
	return cmd, "http://" + address + "/healthz", cmd.Start()
}

// startAgent runs the agent with ten checks, each against something real that
// is there, and a metadata service that is not.
func startAgent(ctx context.Context, binary, dir string, n int) (*exec.Cmd, string, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	home := filepath.Join(dir, strconv.Itoa(n))
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, "", err
	}
	var checks strings.Builder
	for i := range 5 {
		fmt.Fprintf(&checks, "  - {name: file-%d, file: {path: /proc/self/stat}}\n", i)
		fmt.Fprintf(&checks, "  - {name: disk-%d, disk: {path: /, min_free: 1MiB}}\n", i)
	}
	config := fmt.Sprintf("listen: {probe: %q, metrics: %q}\nimds: {endpoint: %q}\nstate_dir: %s\nrun_dir: %s\nchecks:\n%s",
		address, "127.0.0.1:0", "http://127.0.0.1:9", filepath.Join(home, "state"), filepath.Join(home, "run"), checks.String())
	file := filepath.Join(home, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, binary, "run", "--config", file)
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	cmd.Stderr = log
	return cmd, "http://" + address + "/healthz", cmd.Start()
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func size(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}

// residentMB reads VmRSS (proc(5)).
func residentMB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}

// cpuSeconds sums the time on CPU of all threads, in nanoseconds of precision
// (/proc/PID/task/TID/schedstat).
func cpuSeconds(pid int) (float64, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	if len(stats) == 0 {
		return 0, fmt.Errorf("no scheduler statistics of process %d", pid)
	}
	var sum float64
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		ns, _, _ := strings.Cut(string(data), " ")
		v, err := strconv.ParseFloat(ns, 64)
		if err != nil {
			return 0, err
		}
		sum += v / 1e9
	}
	return sum, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
