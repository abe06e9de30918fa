// Command fleetdemo shows what fleetctl tells of a fleet, on any machine and without
// Azure: of one that is well, and of one in which three things are wrong. It runs the
// real commands against a simulated control plane, and fails when something that is
// wrong is not told.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

const (
	// bound is the longest that the demonstration may take.
	bound = 55 * time.Second
	// grace is how long a command that is told to end may take.
	grace = 5 * time.Second

	subscription = "11111111-1111-1111-1111-111111111111"
	group        = "rg-pay-prod"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	flag.Parse()
	if err := tell(*bin); err != nil {
		fmt.Fprintln(os.Stderr, "fleet-demo: error:", err)
		os.Exit(1)
	}
}

// tell tells the story and cleans up after it, also when it is interrupted.
func tell(bin string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %s", bound))
	defer cancel()
	dir, err := os.MkdirTemp("", "fleet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{Teller: stage.NewTeller(os.Stdout), bin: bin, dir: dir}
	return errors.Join(d.run(ctx), context.Cause(ctx))
}

type demo struct {
	*stage.Teller

	bin, dir string
}

// A look is a command, and what it has to say.
type look struct {
	command string
	code    int
	says    []string
}

// run is the story.
func (d *demo) run(ctx context.Context) error {
	d.Say("a simulated Azure starts on loopback, with a payments fleet in which all is well")
	err := d.with(ctx, "article", []look{
		{"status", 0, []string{"scale sets as they should be", "vmss-authz-west"}},
		{"images", 0, []string{"latest 1.7.1 in eastus, westus3"}},
		{"verify", 0, []string{"checks ok"}},
		{"preflight", 0, []string{"0 errors, 0 warnings"}},
	})
	if err != nil {
		return err
	}
	fmt.Println()
	d.Say("now three things are wrong in it:")
	d.Note("1.8.0 does not reach westus3, where vmss-authz-west asks for it;")
	d.Note("a member of vmss-authz still runs 1.7.0, and latestModelApplied says that all is well;")
	d.Note("vmss-batch answers probes with 200 and no JSON, which version 2.0 of the health")
	d.Note("extension takes for Unknown.")
	file, err := d.broken(ctx)
	if err != nil {
		return err
	}
	err = d.with(ctx, file, []look{
		{"status", 0, []string{
			"3 of 4 scale sets failing",
			"ubuntu-app 1.8.0 did not replicate to westus3",
			"1 of 3 members runs 1.7.0, and the model asks for 1.7.1",
			"10 of 10 members are of Unknown health",
		}},
		{"images", 0, []string{"1.8.0 did not replicate to westus3", "1.7.0 is marked failed and in use by vmss-authz"}},
		{"verify", 3, []string{"westus3 Failed", "runs 1.7.0", "takes an answer without JSON for Unknown"}},
		{"preflight", 3, []string{
			"a version that is not in the region", "a demoted version that still runs", "an endpoint that does not answer with JSON",
		}},
	})
	if err != nil {
		return err
	}
	fmt.Println()
	d.Say("all three are told, with the members and the version behind them: done in %.0f s", d.Took().Seconds())
	return nil
}

// with runs a simulator with a scenario while it looks.
func (d *demo) with(ctx context.Context, scenario string, looks []look) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	sim := d.command(ctx, "fleetsim", "arm", "--scenario", scenario)
	out, err := sim.StdoutPipe()
	if err != nil {
		cancel()
		return err
	}
	if err := sim.Start(); err != nil {
		cancel()
		return fmt.Errorf("start the simulator: %w", err)
	}
	defer func() {
		cancel()
		_ = sim.Wait() // it was told to end
	}()
	endpoint, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the simulator's address: %w", err)
	}
	for _, l := range looks {
		if err := d.look(ctx, strings.TrimSpace(endpoint), l); err != nil {
			return err
		}
	}
	return nil
}

// look runs a command of fleetctl as an operator would, and holds it to what it has
// to say.
func (d *demo) look(ctx context.Context, endpoint string, l look) error {
	args := []string{l.command, "-g", group, "--subscription", subscription}
	fmt.Printf("\n      $ fleetctl %s -g %s\n", l.command, group)
	cmd := d.command(ctx, "fleetctl", args...)
	cmd.Env = append(cmd.Env, "FLEETCTL_ARM_ENDPOINT="+endpoint, "COLUMNS=92")
	cmd.Stderr = nil // CombinedOutput takes it
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return fmt.Errorf("run fleetctl %s: %w", l.command, err)
	}
	for line := range strings.Lines(string(out)) {
		fmt.Print("      " + line)
	}
	if code := cmd.ProcessState.ExitCode(); code != l.code {
		return fmt.Errorf("fleetctl %s: exit code %d, not %d", l.command, code, l.code)
	}
	// Lines are broken where the page ends.
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range l.says {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			return fmt.Errorf("fleetctl %s does not say %q", l.command, want)
		}
	}
	return nil
}

// command is one of the built commands, which ends in order when ctx does.
func (d *demo) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, name), args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LANG=C.UTF-8")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

// broken writes the article's fleet with three things wrong in it, and returns the
// name of the file.
func (d *demo) broken(ctx context.Context) (string, error) {
	text, err := d.output(ctx, "fleetsim", "arm", "--show", "article")
	if err != nil {
		return "", err
	}
	var scenario map[string]any
	if err := yaml.Unmarshal(text, &scenario); err != nil {
		return "", fmt.Errorf("read the scenario: %w", err)
	}
	if err := breakFleet(scenario); err != nil {
		return "", err
	}
	if text, err = yaml.Marshal(scenario); err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, "broken.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

func (d *demo) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := d.command(ctx, name, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}

// breakFleet breaks three things in the article's fleet.
func breakFleet(scenario map[string]any) error {
	definition, err := named(scenario["galleries"], "galProd")
	if err == nil {
		definition, err = named(definition["definitions"], "ubuntu-app")
	}
	if err != nil {
		return err
	}
	versions, _ := definition["versions"].([]any)
	definition["versions"] = append(versions, map[string]any{
		"name": "1.8.0", "published": "2h", "excluded": true, "end_of_life": "180d", "storage": "Standard_ZRS",
		"regions": map[string]any{
			"eastus": map[string]any{"replicas": 3},
			"westus3": map[string]any{
				"replicas": 2, "state": "Failed",
				"details": "Replication to the region failed. Remove the region and add it again.",
			},
		},
	})
	for set, change := range map[string]func(map[string]any){
		"vmss-authz-west": func(set map[string]any) {
			set["image"] = "galProd/ubuntu-app/1.8.0"
			// Its members are from before: no new one can be made.
			set["members"] = []any{map[string]any{"count": 3, "age": "28d", "image": "galProd/ubuntu-app/1.7.1", "stale": true}}
		},
		"vmss-authz": func(set map[string]any) {
			set["members"] = []any{
				map[string]any{"count": 2, "age": "29d"},
				map[string]any{"age": "39d", "version": "1.7.0", "health": "Unhealthy", "latest_model": true},
			}
		},
		"vmss-batch": func(set map[string]any) {
			set["members"] = []any{map[string]any{"count": 10, "age": "29d", "health": "Unknown"}}
		},
	} {
		found, err := named(scenario["scale_sets"], set)
		if err != nil {
			return err
		}
		change(found)
	}
	return nil
}

// named is the entry of a list of the scenario that has a name.
func named(list any, name string) (map[string]any, error) {
	entries, _ := list.([]any)
	for _, entry := range entries {
		if m, ok := entry.(map[string]any); ok && m["name"] == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("the scenario has no %s", name)
}
