//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// probeEvery is the pace of the prober, 20 Hz.
const probeEvery = 50 * time.Millisecond

// checkProbe probes the node all the time, each time on a new connection.
func checkProbe(g *group) {
	g.must("the old package is installed and serves", func(c *check) {
		g.install(c, "/root/old.deb")
		g.reaches(c, control.StateServing, 20*time.Second)
	})
	for _, way := range []struct {
		name string
		do   func(c *check)
		cut  int // how many probes may be cut off by it
	}{
		{name: "a restart", do: func(c *check) { g.run(c, "systemctl", "restart", agentUnit) }},
		{name: "a reload", do: func(c *check) { g.run(c, "systemctl", "reload", agentUnit) }},
		{name: "SIGKILL", cut: 1, do: func(c *check) {
			restarts := g.number(c, agentUnit, "NRestarts")
			g.run(c, "systemctl", "kill", "-s", "KILL", agentUnit)
			c.eventually(10*time.Second, func() error {
				if n := g.number(c, agentUnit, "NRestarts"); n == restarts {
					return fmt.Errorf("NRestarts is %d", n)
				}
				return g.active(agentUnit)
			})
		}},
		{name: "the upgrade from the old package to the new one", do: func(c *check) {
			old := g.run(c, "fleet-agent", "version")
			g.sh(c, "echo '# changed here' >>/etc/fleet-agent/config.yaml")
			g.install(c, "/root/new.deb")
			require.NotEqual(c, old, g.run(c, "fleet-agent", "version"))
			g.run(c, "grep", "changed here", "/etc/fleet-agent/config.yaml")
		}},
		{name: "stop and start", do: func(c *check) {
			g.run(c, "systemctl", "stop", agentUnit)
			c.eventually(10*time.Second, func() error { return g.active(agentUnit) }) // the next probe starts it
		}},
	} {
		g.check("no probe is refused over "+way.name, func(c *check) {
			p := g.probe()
			way.do(c)
			g.reaches(c, control.StateServing, 10*time.Second)
			p.answered(c)
			result := p.stop()
			require.Zero(c, result.errors, "%v", result)
			require.LessOrEqual(c, result.cut, way.cut, "%v", result)
			require.Zero(c, result.status[http.StatusAccepted], "never unhealthy: %v", result)
		})
	}
	g.check("the prober sees a refusal (the control)", func(c *check) {
		p := g.probe()
		g.run(c, "systemctl", "stop", "fleet-agent.socket", agentUnit)
		c.eventually(5*time.Second, func() error {
			if p.result().errors == 0 {
				return errors.New("no refusal yet")
			}
			return nil
		})
		p.stop()
		g.run(c, "systemctl", "start", "fleet-agent.socket", agentUnit)
	})
}

// A prober asks for /healthz until it is stopped.
type prober struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu  sync.Mutex
	all probes
}

// probes counts what came of them.
type probes struct {
	status map[int]int
	errors int // not taken, or not answered in time
	cut    int // taken, and then reset: its process was killed
	last   error
}

func (p probes) String() string {
	return fmt.Sprintf("answers by status %v, %d without an answer, %d cut off, the last: %v", p.status, p.errors, p.cut, p.last)
}

// probe begins to probe the node. A probe has the five seconds that the health
// extension gives it; while the agent starts, it waits in the socket's queue.
func (n *node) probe() *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{cancel: cancel, all: probes{status: map[int]int{}}}
	client := clientIn(n.name, 5*time.Second)
	p.done.Go(func() {
		tick := time.NewTicker(probeEvery)
		defer tick.Stop()
		for {
			p.done.Go(func() { p.one(ctx, client) })
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return p
}

func (p *prober) one(ctx context.Context, client *http.Client) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://127.0.0.1:8080/healthz", http.NoBody)
	if err != nil {
		panic(err) // the URL is a constant
	}
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		resp.Body.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		p.all.cut++
		p.all.last = err
		return
	case err != nil:
		p.all.errors++
		p.all.last = err
		return
	}
	p.all.status[resp.StatusCode]++
}

func (p *prober) result() probes {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	all.status = maps.Clone(all.status)
	return all
}

// answered waits for 20 more answers, a second's.
func (p *prober) answered(c *check) {
	before := p.result().status[http.StatusOK]
	c.eventually(10*time.Second, func() error {
		if n := p.result().status[http.StatusOK]; n < before+20 {
			return fmt.Errorf("%d probes were answered with 200, then %d", before, n)
		}
		return nil
	})
}

// stop ends the probing, and waits for the probes under way.
func (p *prober) stop() probes {
	p.cancel()
	p.done.Wait()
	return p.result()
}
