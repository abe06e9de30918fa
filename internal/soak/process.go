package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// size is what the agent's process takes.
type size struct {
	memory     float64 // anonymous and resident, in MB
	files      int     // open descriptors
	goroutines int
}

// measure looks at a running agent.
func measure(ctx context.Context, a stage.Agent) (size, error) {
	var s size
	var err error
	if s.memory, err = anonymousMB(a.PID); err != nil {
		return s, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID))
	if err != nil {
		return s, err
	}
	s.files = len(open)
	s.goroutines, err = goroutines(ctx, a.Metrics)
	return s, err
}

// anonymousMB reads the resident memory that is no page of a file (proc(5)).
func anonymousMB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has ended", pid)
}

// goroutines reads the agent's own metric.
func goroutines(ctx context.Context, address string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, fmt.Errorf("no go_goroutines at %s: %w", address, lines.Err())
}
