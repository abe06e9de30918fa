package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// The paths that are asked for.
const (
	healthz = "/healthz"
	readyz  = "/readyz"
	livez   = "/livez"
	verbose = "/healthz?verbose"
)

const (
	probers = 16
	// probeTimeout is what a load balancer's patience is at most.
	probeTimeout = 5 * time.Second
)

// askAway asks the agent at an address so many times a second, until ctx ends, and
// returns all answers. Every second probe keeps its connection, as version 2 of the
// health extension does, and the others have one of their own.
func askAway(ctx context.Context, address string, rate int) []probe {
	kept := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: probers}}
	fresh := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	defer kept.CloseIdleConnections()
	paths := []string{readyz, healthz, readyz, livez, readyz, verbose, readyz}

	var mu sync.Mutex
	var answers []probe
	numbers := make(chan int)
	var asking sync.WaitGroup
	for range probers {
		asking.Go(func() {
			for n := range numbers {
				client := kept
				if n%2 == 0 {
					client = fresh
				}
				p := ask(context.WithoutCancel(ctx), client, address, paths[n%len(paths)])
				mu.Lock()
				answers = append(answers, p)
				mu.Unlock()
			}
		})
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-tick.C:
			numbers <- n
		case <-ctx.Done():
		}
	}
	close(numbers)
	asking.Wait()
	return answers
}

// ask makes one probe.
func ask(ctx context.Context, client *http.Client, address, path string) probe {
	p := probe{path: path, begun: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err == nil {
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			p.code = resp.StatusCode
		}
	}
	if err != nil {
		p.err = err.Error()
	}
	p.ended = time.Now()
	return p
}
