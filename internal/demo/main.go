// Command demo shows the agent's main job on any machine, as an ordinary user
// and without systemd: a node that is healthy meets a Preempt, drains, acks and
// returns to service. It speaks to the real commands over real sockets.
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
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// bound is the longest that the demonstration may take.
const bound = 55 * time.Second

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	flag.Parse()
	if err := tell(*bin); err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
		os.Exit(1)
	}
}

// tell tells the story and cleans up after it, also when it is interrupted.
func tell(bin string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %s", bound))
	defer cancel()
	d := &demo{Teller: stage.NewTeller(os.Stdout), bin: bin}
	defer d.cleanUp()
	return d.run(ctx)
}

type demo struct {
	*stage.Teller

	bin string

	stage    *stage.Stage
	sim      *imds.ControlClient
	socket   string
	probe    string
	workload *http.Server
}

// run is the story.
func (d *demo) run(ctx context.Context) error {
	var err error
	if d.stage, err = stage.New(d.bin); err != nil {
		return err
	}
	d.Say("a simulated metadata service and a node agent start on loopback")
	metadata, sim, err := d.stage.Simulator(ctx, "[{name: demo_0, scale_set: demo, priority: Spot}]")
	if err != nil {
		return err
	}
	d.sim = sim
	if err := d.startAgent(ctx, metadata); err != nil {
		return err
	}
	if err := d.await(ctx, "serving", func(s control.Status) bool { return s.State == control.StateServing && s.Node.Name != "" }); err != nil {
		return err
	}
	d.Say("the node is healthy, and both versions of the health extension agree:")
	if err := d.curl(ctx, "/healthz", "/readyz", "/healthz?verbose"); err != nil {
		return err
	}

	d.Say("Azure announces that this Spot VM goes away in 30 seconds")
	event, err := d.sim.Publish(ctx, imds.EventSpec{Type: imds.Preempt, Resources: []string{"demo_0"}, Notice: 30 * time.Second, Hold: true})
	if err != nil {
		return err
	}
	published := time.Now()
	if err := d.awaitCode(ctx, "/readyz", http.StatusServiceUnavailable); err != nil {
		return err
	}
	d.Note("/readyz went 503 after %.1f s; /healthz stays 200, so that nobody replaces a node that is leaving in order", time.Since(published).Seconds())
	if err := d.await(ctx, "the first step", stepRuns("")); err != nil {
		return err
	}
	if err := d.show(ctx, "status"); err != nil {
		return err
	}
	if err := d.await(ctx, "the end of the drain", func(s control.Status) bool { return s.State == control.StateDrained }); err != nil {
		return err
	}
	d.Say("the plan has ended, well inside the notice; the event is acked, so that Azure need not wait")
	if err := d.awaitAck(ctx, event); err != nil {
		return err
	}

	d.Say("the event vanishes while the node still runs: the drain is undone")
	if _, err := d.sim.Complete(ctx, event.ID); err != nil {
		return err
	}
	if err := d.awaitCode(ctx, "/readyz", http.StatusOK); err != nil {
		return err
	}
	if err := d.await(ctx, "serving", func(s control.Status) bool { return s.State == control.StateServing }); err != nil {
		return err
	}
	d.Say("back in service; what happened is in the journal:")
	if err := d.show(ctx, "events"); err != nil {
		return err
	}
	d.Say("done in %.0f s", d.Took().Seconds())
	return nil
}

func stepRuns(name string) func(control.Status) bool {
	return func(s control.Status) bool {
		if s.Drain == nil {
			return false
		}
		for _, step := range s.Drain.Steps {
			if step.Status == "running" && (name == "" || step.Name == name) {
				return true
			}
		}
		return false
	}
}

const agentConfig = `
imds: {endpoint: %q}
checks:
  - name: app
    http: {url: "http://%s/"}
    interval: 1s
    depends_on: [disk]
  - name: disk
    disk: {path: /, min_free: 1MiB}
drain:
  settle: 2s
  plan:
    - {name: deregister, exec: {command: [/bin/echo, bye]}, max: 5s}
    - {name: finish-work, sleep: 3s}
    - {name: connections, connections: {ports: [%s], at_most: 0}, max: 10s}
`

// startAgent starts a workload for the agent to watch, and the agent.
func (d *demo) startAgent(ctx context.Context, metadata string) error {
	workload, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.workload = &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }),
	}
	go func() { _ = d.workload.Serve(workload) }() // ends with cleanUp

	_, port, err := net.SplitHostPort(workload.Addr().String())
	if err != nil {
		return err
	}
	agent, err := d.stage.Agent(ctx, fmt.Sprintf(agentConfig, metadata, workload.Addr(), port))
	d.socket, d.probe = agent.Socket, agent.Probe
	return err
}

// cleanUp ends what the demonstration has started.
func (d *demo) cleanUp() {
	if d.stage != nil {
		d.stage.Close()
	}
	if d.workload != nil {
		_ = d.workload.Close()
	}
}

func (d *demo) await(ctx context.Context, what string, reached func(control.Status) bool) error {
	return d.stage.Await(ctx, what, func() (bool, error) {
		s, err := control.NewClient(d.socket).Status(ctx)
		return err == nil && reached(*s), err
	})
}

func (d *demo) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.probe+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, strings.TrimRight(string(body), "\n"), err
}

func (d *demo) awaitCode(ctx context.Context, path string, want int) error {
	return d.stage.Await(ctx, fmt.Sprintf("%s to answer %d", path, want), func() (bool, error) {
		code, _, err := d.get(ctx, path)
		return code == want, err
	})
}

func (d *demo) awaitAck(ctx context.Context, event imds.Event) error {
	return d.stage.Await(ctx, "the ack", func() (bool, error) {
		acks, err := d.sim.Acks(ctx)
		if err != nil {
			return false, err
		}
		for _, a := range acks {
			if a.EventID == event.ID && a.Accepted {
				d.Note("acked %.0f s before the VM would have been taken, once", event.NotBefore.Sub(a.Time).Seconds())
				return true, nil
			}
		}
		return false, nil
	})
}

// curl shows what a prober sees.
func (d *demo) curl(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		code, body, err := d.get(ctx, path)
		if err != nil {
			return err
		}
		d.Note("GET %-17s %d %s", path, code, strings.ReplaceAll(body, "\n", "\n"+strings.Repeat(" ", 22)))
	}
	return nil
}

// show runs a command of the agent as an operator would.
func (d *demo) show(ctx context.Context, command string) error {
	fmt.Printf("\n      $ fleet-agent %s\n", command)
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "fleet-agent"), command, "--socket", d.socket)
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited { // the exit code tells the state
		return err
	}
	for line := range strings.Lines(string(out)) {
		fmt.Print("      " + line)
	}
	fmt.Println()
	return nil
}
