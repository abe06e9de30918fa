package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	scaleChecks   = 500 // half of them against a server that never answers
	scaleInterval = 5 * time.Second
	// scaleWarmUp is how long it takes until every check keeps to its grid.
	scaleWarmUp = 2 * scaleInterval
)

// measureScale runs an agent with 500 http checks of which half hang, and sees
// from the side of those who are asked whether the other half keep their interval.
func (b *bench) measureScale(ctx context.Context, watch time.Duration) (err error) {
	fmt.Fprintf(os.Stderr, "watching %d checks, half of them hung, for %s\n", scaleChecks, scaleWarmUp+watch)
	targets, err := serveTargets(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, targets.close()) }()
	var checks strings.Builder
	for i := range scaleChecks {
		address := targets.answers.Addr()
		if i%2 == 1 {
			address = targets.hangs.Addr()
		}
		fmt.Fprintf(&checks, "  - {name: check-%d, http: {url: \"http://%s/%d\"}}\n", i, address, i)
	}
	s, err := b.startAgent(ctx, checks.String())
	if err != nil {
		return err
	}
	defer s.stop()
	time.Sleep(scaleWarmUp)
	targets.forget()
	pid := s.cmd.Process.Pid
	before, err := cpuSeconds(pid)
	if err != nil {
		return err
	}
	time.Sleep(watch)
	after, err := cpuSeconds(pid)
	if err != nil {
		return err
	}
	peak, err := statusMB(pid, "VmHWM")
	if err != nil {
		return s.failed(err)
	}
	intervals, checksSeen := targets.intervals()
	if expect := scaleChecks / 2; checksSeen != expect {
		return fmt.Errorf("only %d of %d checks that do not hang have run twice in %s", checksSeen, expect, watch)
	}
	const name = "500 checks, half hung: "
	b.table.figure(name+"peak memory (MB resident)", peak)
	b.table.figure(name+"CPU (% of one core)", 100*(after-before)/watch.Seconds())
	b.table.figure(name+"runs of the healthy half that were timed", float64(len(intervals)))
	b.table.figure(name+"their interval, median (s)", at(intervals, 0.5))
	b.table.figure(name+"shortest (s)", intervals[0])
	b.table.figure(name+"99th percentile (s)", at(intervals, 0.99))
	longest := intervals[len(intervals)-1]
	b.table.figure(name+"longest (s)", longest)
	b.table.bound("the peak memory of 500 checks in MB", peak, maxScaleMB)
	want := scaleInterval.Seconds()
	off := max(longest-want, want-intervals[0]) / want
	b.table.bound("the part of its interval that a healthy check is off", off, maxLate)
	return nil
}

// targets are what the checks look at.
type targets struct {
	answers, hangs net.Listener
	server         *http.Server
	done           sync.WaitGroup
	served         error // of server

	mu   sync.Mutex             // guards seen
	seen map[string][]time.Time // by path
}

func serveTargets(ctx context.Context) (*targets, error) {
	t := &targets{seen: map[string][]time.Time{}}
	var err error
	if t.answers, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if t.hangs, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, t.answers.Close())
	}
	t.server = &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.seen[r.URL.Path] = append(t.seen[r.URL.Path], time.Now())
		}),
	}
	t.done.Go(func() { t.served = t.server.Serve(t.answers) })
	t.done.Go(t.holdAll)
	return t, nil
}

// holdAll takes connections and says nothing until the client goes.
func (t *targets) holdAll() {
	for {
		conn, err := t.hangs.Accept()
		if err != nil {
			return
		}
		t.done.Go(func() {
			buf := make([]byte, 512)
			for {
				if _, err := conn.Read(buf); err != nil {
					_ = conn.Close()
					return
				}
			}
		})
	}
}

// close ends the servers, once the agent that they serve is gone.
func (t *targets) close() error {
	err := errors.Join(t.server.Close(), t.hangs.Close())
	t.done.Wait()
	if !errors.Is(t.served, http.ErrServerClosed) {
		err = errors.Join(err, t.served)
	}
	return err
}

func (t *targets) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.seen)
}

// intervals gives the seconds between the requests of each check, shortest
// first, and how many checks they are from.
func (t *targets) intervals() (seconds []float64, checks int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, times := range t.seen {
		if len(times) > 1 {
			checks++
		}
		for i := 1; i < len(times); i++ {
			seconds = append(seconds, times[i].Sub(times[i-1]).Seconds())
		}
	}
	slices.Sort(seconds)
	return seconds, checks
}

// at gives the value below which the given part of sorted values lies.
func at(sorted []float64, part float64) float64 {
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}
