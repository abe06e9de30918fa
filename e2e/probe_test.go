//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	// probeEvery is the pace of the prober, 20 Hz.
	probeEvery = 50 * time.Millisecond
	// stormEvery is a pace at which a restart that drops what it has accepted drops
	// some, 600 Hz, and stormRestarts how many restarts show it.
	stormEvery    = time.Second / 600
	stormRestarts = 40
	probePort     = "127.0.0.1:8080"
)

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
			require.LessOrEqual(c, result.cut(), way.cut, "%v", result)
			require.Zero(c, result.status[http.StatusAccepted], "never unhealthy: %v", result)
		})
	}
	g.checkStorm()
	g.checkPort()
	g.checkRunDir()
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

// checkStorm restarts, reloads and upgrades under 600 new connections a second. With
// the socket unit no probe is lost. Without it probes are refused while nobody listens,
// and the kernel resets what waits in the queue of a socket that is closed; what the
// agent has accepted it answers all the same.
func (g *group) checkStorm() {
	restart := func(c *check) {
		for range stormRestarts {
			g.run(c, "systemctl", "restart", agentUnit)
		}
	}
	reload := func(c *check) {
		for range stormRestarts {
			g.run(c, "systemctl", "reload", agentUnit)
		}
	}
	reinstall := func(c *check) {
		for _, deb := range []string{"/root/old.deb", "/root/new.deb"} {
			g.run(c, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "-i", deb)
		}
	}
	ways := []struct {
		name string
		do   func(c *check)
	}{
		{fmt.Sprintf("%d restarts", stormRestarts), restart},
		{fmt.Sprintf("%d reloads", stormRestarts), reload},
		{"a downgrade and an upgrade", reinstall},
	}
	for _, way := range ways {
		g.check("none of 600 probes a second is lost over "+way.name, func(c *check) {
			p := g.probeAt(stormEvery, probePort)
			way.do(c)
			g.reaches(c, control.StateServing, 10*time.Second)
			p.answered(c)
			result := p.stop()
			require.Zero(c, result.errors+result.cut(), "%v", result)
			g.fact("%s with the socket unit: %v", way.name, result)
		})
	}
	g.check("without the socket unit, the agent listens itself", func(c *check) {
		g.run(c, "systemctl", "mask", "--now", systemd.AgentSocket)
		g.run(c, "systemctl", "start", agentUnit)
		require.Empty(c, portWarnings(g.reaches(c, control.StateServing, 10*time.Second)), "as it was told to")
	})
	for _, way := range ways {
		g.check("without the socket unit, none of 600 that were accepted is lost over "+way.name, func(c *check) {
			p := g.probeAt(stormEvery, probePort)
			way.do(c)
			g.reaches(c, control.StateServing, 10*time.Second)
			p.answered(c)
			result := p.stop()
			require.Zero(c, result.dropped, "%v", result)
			g.fact("%s without the socket unit: %v", way.name, result)
		})
	}
	g.check("the socket unit is back", func(c *check) {
		g.run(c, "systemctl", "unmask", systemd.AgentSocket)
		g.sh(c, systemd.ApplySocket)
		g.run(c, "systemctl", "restart", agentUnit)
		g.reaches(c, control.StateServing, 10*time.Second)
		require.NoError(c, g.active(systemd.AgentSocket))
	})
}

// portWarnings are the words of a status about who holds the probe port.
func portWarnings(s control.Status) []string {
	return slices.DeleteFunc(slices.Clone(s.Warnings), func(w string) bool { return !strings.Contains(w, systemd.AgentSocket) })
}

// checkPort changes the socket unit as the documents say.
func (g *group) checkPort() {
	const dropIn = "/etc/systemd/system/fleet-agent.socket.d/50-address.conf"
	listenOn := func(c *check, address string) {
		g.write(c, dropIn, "[Socket]\nListenStream=\nListenStream="+address+"\n")
		g.run(c, "systemctl", "daemon-reload") // systemctl edit does that
	}
	g.check("one command puts another probe address into force, however often", func(c *check) {
		p := g.probeAt(stormEvery, probePort) // a probe must not come in between
		for i := range 15 {
			address := fmt.Sprintf("127.0.0.1:%d", 8080+10*(i%2))
			listenOn(c, address)
			g.sh(c, systemd.ApplySocket)
			s := g.reaches(c, control.StateServing, 10*time.Second)
			require.Equal(c, address, s.Agent.ProbeAddress)
			require.Empty(c, portWarnings(s))
			require.NoError(c, g.active(systemd.AgentSocket))
		}
		p.stop() // the address was not there all the time
		listenOn(c, "127.0.0.1:8090")
		g.sh(c, systemd.ApplySocket)
		g.reaches(c, control.StateServing, 10*time.Second)
		resp, err := clientIn(g.name, time.Minute).Get("http://127.0.0.1:8090/healthz")
		require.NoError(c, err)
		require.NoError(c, resp.Body.Close())
	})
	g.check("a port that systemd was to hold and does not is said, and the command mends it", func(c *check) {
		g.run(c, "systemctl", "stop", systemd.AgentSocket)
		c.eventually(5*time.Second, func() error { return g.inactive(agentUnit) }) // the agent is a part of it
		listenOn(c, "192.0.2.1:8080")                                              // nobody's here
		g.run(c, "systemctl", "start", agentUnit)
		g.reaches(c, control.StateServing, 10*time.Second)
		c.eventually(10*time.Second, func() error {
			s, err := g.status()
			if err == nil && len(portWarnings(s)) == 0 {
				err = errors.New("no word of it")
			}
			return err
		})
		out, _ := g.try("fleet-agent", "doctor", "-o", "json") // it finds more than this
		require.Contains(c, out, "the agent holds the probe port itself")
		g.run(c, "rm", dropIn)
		g.run(c, "systemctl", "daemon-reload")
		g.sh(c, systemd.ApplySocket)
		require.Empty(c, portWarnings(g.reaches(c, control.StateServing, 10*time.Second)))
		require.NoError(c, g.active(systemd.AgentSocket))
	})
}

// checkRunDir takes away what the agent keeps in its run directory.
func (g *group) checkRunDir() {
	g.check("the control socket and the flags come back when they are removed", func(c *check) {
		g.run(c, "fleet-agent", "drain", "--wait")
		p := g.probe()
		pid := g.show(c, agentUnit, "MainPID")
		g.sh(c, "rm /run/fleet-agent/*")
		c.eventually(5*time.Second, func() error {
			_, err := g.try("test", "-e", "/run/fleet-agent/draining", "-a", "-S", "/run/fleet-agent/control.sock")
			return err
		})
		g.reaches(c, control.StateDrained, 5*time.Second)
		require.Equal(c, pid, g.show(c, agentUnit, "MainPID"), "it was not restarted")
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
	})
	g.check("the run directory is removed in a drain: it goes on, and a restart brings directory and flag back", func(c *check) {
		p := g.probe()
		pid := g.show(c, agentUnit, "MainPID")
		g.run(c, "rm", "-r", "/run/fleet-agent")
		c.eventually(5*time.Second, func() error {
			return g.logged(agentUnit, "run directory was taken away and cannot be made again")
		})
		require.Equal(c, pid, g.show(c, agentUnit, "MainPID"), "it was not restarted")
		g.run(c, "systemctl", "restart", agentUnit)
		g.reaches(c, control.StateDrained, 10*time.Second)
		g.run(c, "test", "-e", "/run/fleet-agent/draining")
		g.run(c, "fleet-agent", "undrain")
		g.reaches(c, control.StateServing, 20*time.Second)
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
	})
	g.check("the run directory is removed in service: the agent is started anew, and comes back with it", func(c *check) {
		p := g.probe()
		g.run(c, "rm", "-r", "/run/fleet-agent")
		c.eventually(15*time.Second, func() error {
			_, err := g.try("test", "-S", "/run/fleet-agent/control.sock")
			return err
		})
		g.reaches(c, control.StateServing, 10*time.Second)
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
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
	// Taken, and not answered: reset, by the kernel when a socket is closed with
	// connections in its queue or a process is killed; and dropped by an agent that
	// had accepted it.
	reset, dropped int
	last           error
}

func (p probes) cut() int { return p.reset + p.dropped }

func (p probes) String() string {
	return fmt.Sprintf("answers by status %v, %d without an answer, %d reset, %d dropped, the last: %v", p.status, p.errors, p.reset, p.dropped, p.last)
}

// probe begins to probe the node. A probe has the five seconds that the health
// extension gives it; while the agent starts, it waits in the socket's queue.
func (n *node) probe() *prober { return n.probeAt(probeEvery, probePort) }

// probeAt is probe at another pace.
func (n *node) probeAt(every time.Duration, address string) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{cancel: cancel, all: probes{status: map[int]int{}}}
	client := clientIn(n.name, 5*time.Second)
	p.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			p.done.Go(func() { p.one(ctx, client, "http://"+address+"/healthz") })
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return p
}

func (p *prober) one(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, http.NoBody)
	if err != nil {
		panic(err) // the URL is one of ours
	}
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		resp.Body.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		p.all.reset++
		p.all.last = err
		return
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.all.dropped++
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
