// Command soak lets an agent with 200 checks live through an event every two seconds
// while it is asked for its health 200 times a second, and judges every answer once
// all that happened is known. It fails at a wrong answer, an ack that is missing or
// not ours to send, and at memory, descriptors or goroutines that grow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// What may grow between the warm-up and the quiet after the end.
const (
	maxMemoryMB   = 8
	maxFiles      = 16
	maxGoroutines = 50
)

const (
	checks = 200
	rate   = 200 // probes a second
	// warmUp is when the agent is measured first, unless the soak is short.
	warmUp = time.Minute
	// startWithin bounds the start, until the node is ready.
	startWithin = 30 * time.Second
	// shown bounds the wrong answers that are printed.
	shown = 20
)

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	length := flag.Duration("for", 15*time.Minute, "how long events come")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *length); err != nil {
		fmt.Fprintln(os.Stderr, "soak: error:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// run soaks and reports.
func run(ctx context.Context, bin string, length time.Duration) error {
	s, err := stage.New(bin)
	if err != nil {
		return err
	}
	defer s.Close()
	workload, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(workload) }() // ends with Close
	defer server.Close()
	endpoint, sim, err := s.Simulator(ctx, fmt.Sprintf("[{name: %s, priority: Spot}]", self))
	if err != nil {
		return err
	}
	agent, err := s.Agent(ctx, configuration(endpoint, workload.Addr().String()))
	if err != nil {
		return err
	}
	if err := ready(ctx, s, agent.Probe); err != nil {
		return err
	}
	fmt.Printf("%d checks, an event every %s, %d probes a second, for %s\n", checks, eventEvery, rate, length)

	soaking, end := context.WithTimeout(ctx, length)
	defer end()
	c := &conductor{sim: sim}
	probing, silence := context.WithCancel(ctx)
	var conducted error
	var before, after size
	var answers []probe
	var work sync.WaitGroup
	work.Go(func() { answers = askAway(probing, agent.Probe, rate) })
	work.Go(func() {
		conducted = c.run(soaking)
		pause(ctx, 2*backWithin) // in which the node comes back, and has to serve
		silence()
	})
	pause(soaking, min(warmUp, length/3))
	before, err = measure(ctx, agent)
	work.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err := errors.Join(err, conducted); err != nil {
		return fmt.Errorf("%w\n%s", err, s.Logs())
	}
	pause(ctx, backWithin) // in which connections end that nobody uses
	if after, err = measure(ctx, agent); err != nil {
		return fmt.Errorf("%w\n%s", err, s.Logs())
	}
	return report(c, answers, before, after)
}

// configuration has checks of four kinds, all of which pass, and a plan of a moment.
func configuration(endpoint, workload string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "imds: {endpoint: %q}\nchecks:\n", endpoint)
	kinds := []string{
		"http: {url: \"http://" + workload + "/%d\", expect_status: 404}",
		"tcp: {address: \"" + workload + "\"}", "file: {path: /proc/self/stat}", "disk: {path: /, min_free: 1MiB}",
	}
	for i := range checks {
		kind := strings.ReplaceAll(kinds[i%len(kinds)], "%d", strconv.Itoa(i))
		fmt.Fprintf(&b, "  - {name: check-%d, %s}\n", i, kind)
	}
	b.WriteString("drain:\n  settle: 200ms\n  plan:\n    - {name: stop, exec: {command: [/bin/true]}, max: 10s}\n    - {name: wait, sleep: 300ms}\n")
	return b.String()
}

// ready waits until the node serves.
func ready(ctx context.Context, s *stage.Stage, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not ready after %s", startWithin))
	defer cancel()
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	return s.Await(ctx, "the agent to be ready", func() (bool, error) {
		return ask(ctx, client, address, readyz).code == http.StatusOK, nil
	})
}

// pause waits for d, or less when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// report judges, prints the figures, and returns what is wrong.
func report(c *conductor, answers []probe, before, after size) error {
	var happened []happening
	for _, h := range c.happened {
		happened = append(happened, *h)
	}
	wrong := c.wrong
	var took []time.Duration
	unready, start := 0, answers[0].begun
	for _, p := range answers {
		took = append(took, p.ended.Sub(p.begun))
		if why := judge(p, happened); why != "" {
			wrong = append(wrong, fmt.Sprintf("%8.3fs  %s: %s", p.begun.Sub(start).Seconds(), p.path, why))
		}
		if p.path == readyz && p.code == http.StatusServiceUnavailable {
			unready++
		}
	}
	slices.Sort(took)
	length := answers[len(answers)-1].ended.Sub(start)
	fmt.Printf("%-36s %d in %.0f s, %.0f a second\n", "probes", len(answers), length.Seconds(), float64(len(answers))/length.Seconds())
	fmt.Printf("%-36s %d, in %d drains\n", "answers of a node out of service", unready, len(happened))
	fmt.Printf("%-36s %s, %s, %s\n", "latency: median, 99th pct, longest",
		took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
	fmt.Printf("%-36s %.1f MB, %.1f MB\n", "anonymous memory, warm and after", before.memory, after.memory)
	fmt.Printf("%-36s %d, %d\n", "descriptors", before.files, after.files)
	fmt.Printf("%-36s %d, %d\n", "goroutines", before.goroutines, after.goroutines)
	fmt.Printf("%-36s %d\n", "wrong answers", len(wrong))
	for _, w := range wrong[:min(len(wrong), shown)] {
		fmt.Println("  " + w)
	}

	var errs []error
	if len(wrong) > 0 {
		errs = append(errs, fmt.Errorf("%d wrong answers", len(wrong)))
	}
	for _, g := range []struct {
		what      string
		grew, max float64
	}{
		{"MB of memory", after.memory - before.memory, maxMemoryMB},
		{"descriptors", float64(after.files - before.files), maxFiles},
		{"goroutines", float64(after.goroutines - before.goroutines), maxGoroutines},
	} {
		if g.grew > g.max {
			errs = append(errs, fmt.Errorf("%.1f %s more than at first, at most %.0f", g.grew, g.what, g.max))
		}
	}
	return errors.Join(errs...)
}
