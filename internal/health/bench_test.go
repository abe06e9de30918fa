package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/server"
)

// benchServer names the environment variable that makes this test binary the
// server of BenchmarkHealthz: "static", or the number of checks.
const benchServer = "FLEET_AGENT_BENCH_SERVER"

func TestMain(m *testing.M) {
	if what := os.Getenv(benchServer); what != "" {
		if err := runBenchServer(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runBenchServer serves until stdin ends. It prints its address, and for every
// line that it reads the CPU time that the process has used, in nanoseconds.
func runBenchServer(what string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var run func() error
	if what == "static" {
		body := []byte(bodyHealthy)
		srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		})}
		run = func() error { return srv.Serve(listener) }
	} else {
		n, err := strconv.Atoi(what)
		if err != nil {
			return err
		}
		answers := NewAnswers(AnswersConfig{})
		m, err := New(Config{Checks: benchChecks(n), Answers: answers})
		if err != nil {
			return err
		}
		go func() { _ = m.Run(context.Background()) }() // ends with the process
		for m.Report().State == Starting {
			<-m.Changed()
		}
		srv := server.New(server.Config{Handler: answers.Handler()})
		run = func() error { return srv.Run(context.Background(), listener) }
	}
	go func() { _ = run() }() // ends with the process
	fmt.Println(listener.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			return err
		}
		fmt.Println(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return nil
}

// benchChecks returns n checks of which every other one hangs to its timeout.
func benchChecks(n int) []Check {
	checks := make([]Check, n)
	for i := range checks {
		g := &target{}
		if i%2 == 1 {
			g.takes = forever
		}
		checks[i] = check(fmt.Sprint("c", i), g)
		checks[i].Probe = func(ctx context.Context) error { // unlike target's, remembers nothing
			if g.takes > 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	}
	return checks
}

// benchProcess is a server in a process of its own, so that its CPU time is
// that of the server alone.
type benchProcess struct {
	in    io.Writer
	out   *bufio.Scanner
	conns []net.Conn
	resps []*bufio.Reader
}

// benchConns is how many connections ask at once. With one alone, the cost of
// putting the server to sleep and waking it drowns all else.
const benchConns = 16

func startBenchServer(b *testing.B, what string) *benchProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	p := &benchProcess{in: in, out: bufio.NewScanner(out)}
	b.Cleanup(func() {
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		_ = in.Close()
		require.NoError(b, cmd.Wait())
	})
	addr := p.line(b)
	for range benchConns {
		conn, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		p.conns = append(p.conns, conn)
		p.resps = append(p.resps, bufio.NewReader(conn))
	}
	return p
}

func (p *benchProcess) line(b *testing.B) string {
	b.Helper()
	require.True(b, p.out.Scan())
	return p.out.Text()
}

// cpu returns the CPU time that the server has used.
func (p *benchProcess) cpu(b *testing.B) time.Duration {
	b.Helper()
	_, err := io.WriteString(p.in, "\n")
	require.NoError(b, err)
	ns, err := strconv.ParseInt(p.line(b), 10, 64)
	require.NoError(b, err)
	return time.Duration(ns)
}

// ask sends n requests on every connection and returns the server's CPU time
// for one.
func (p *benchProcess) ask(b *testing.B, n int) time.Duration {
	b.Helper()
	before := p.cpu(b)
	for range n {
		for _, conn := range p.conns {
			_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(b, err)
		}
		for _, r := range p.resps {
			resp, err := http.ReadResponse(r, nil)
			require.NoError(b, err)
			_, err = copyBounded(io.Discard, resp.Body)
			require.NoError(b, err)
			require.NoError(b, resp.Body.Close())
		}
	}
	return (p.cpu(b) - before) / time.Duration(n*len(p.conns))
}

const (
	// maxRatio is the bound of docs/performance.md on BenchmarkHealthz.
	maxRatio = 1.15
	// enoughRounds is how many a median is from that means something.
	enoughRounds = 100
)

// BenchmarkHealthz reports the CPU time of the server for one request, and its
// ratio to that of a static net/http handler that is measured by turns with it:
// the medians over all turns. What the checks cost in the background is part of
// it. It fails above maxRatio.
func BenchmarkHealthz(b *testing.B) {
	for _, checks := range []int{0, 10, 100, 500} {
		b.Run(fmt.Sprintf("checks=%d", checks), func(b *testing.B) {
			static, ours := startBenchServer(b, "static"), startBenchServer(b, strconv.Itoa(checks))
			const batch = 50
			static.ask(b, batch)
			ours.ask(b, batch)
			var base, cost, ratio []float64
			for b.Loop() {
				s, o := static.ask(b, batch), ours.ask(b, batch)
				base = append(base, float64(s))
				cost = append(cost, float64(o))
				ratio = append(ratio, float64(o)/float64(s))
			}
			b.ReportMetric(median(base), "static-cpu-ns/req")
			b.ReportMetric(median(cost), "cpu-ns/req")
			b.ReportMetric(median(ratio), "ratio")
			if len(ratio) >= enoughRounds && median(ratio) > maxRatio {
				b.Errorf("the ratio is %.3f, the bound is %.2f", median(ratio), maxRatio)
			}
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkResult is the cost of one result that changes nothing, with 500
// checks: what the monitor does all day.
func BenchmarkResult(b *testing.B) {
	checks := benchChecks(500)
	for i := range checks {
		checks[i].Interval = time.Hour
	}
	m, err := New(Config{Checks: checks})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	for b.Loop() {
		m.mu.Lock()
		t := m.tasks[0]
		m.record(&run{task: t, epoch: t.epoch}, Result{At: time.Now()}, time.Now())
		m.unlock()
	}
	cancel()
	require.NoError(b, <-ended)
}

// BenchmarkChange is the cost of a change of the verdict with 500 checks: the
// derivation of every status, and the rendering of every answer.
func BenchmarkChange(b *testing.B) {
	checks := benchChecks(500)
	for i := range checks {
		checks[i].DependsOn = strings.Fields(map[bool]string{true: "c0"}[i > 0])
	}
	m, err := New(Config{Checks: checks, Answers: NewAnswers(AnswersConfig{})})
	require.NoError(b, err)
	result := Result{}
	for b.Loop() {
		result.Error = map[string]string{"": "down"}[result.Error]
		m.mu.Lock()
		t := m.tasks[0]
		t.check.FailAfter = 1
		m.record(&run{task: t, epoch: t.epoch}, result, time.Now())
		m.notes = nil
		m.unlock()
	}
}
