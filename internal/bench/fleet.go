package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The bounds of fleetctl in docs/performance.md.
const (
	maxFleetctlMB = 14
	// maxHelpRatio is of the time that --help takes: 30 ms where the control answers
	// after 4.
	maxHelpRatio  = 7.5
	maxFleetMB    = 100 // resident, at the peak
	helps         = 20
	simulatorWait = 5 * time.Second
)

// A thousand is the scenario of the simulator that fleetctl is measured with.
const (
	thousandSets     = 10
	thousandMembers  = 1000
	thousandVersions = 2
	// thousandLists are the lists besides those of members, a page each: scale sets,
	// galleries, definitions, versions, autoscale settings.
	thousandLists = 5
)

// maxRequests is the most that a look at a thousand members may ask: the pages of the
// lists, five a scale set and three a version.
func maxRequests(pageSize int) int {
	members := thousandMembers / thousandSets
	pages := (members + pageSize - 1) / pageSize
	return thousandLists + thousandSets*pages + 5*thousandSets + 3*thousandVersions
}

// measureFleetctl measures the command that looks at fleets: its size, how soon it
// helps, and what a look at a thousand members asks for and takes.
func (b *bench) measureFleetctl(ctx context.Context, bin string) error {
	fleetctl := filepath.Join(bin, "fleetctl")
	mb, err := size(fleetctl)
	if err != nil {
		return err
	}
	b.table.figure("fleetctl: stripped size (MB)", mb)
	b.table.bound("the stripped size of fleetctl in MB", mb, maxFleetctlMB)
	if err := b.measureHelp(ctx, fleetctl); err != nil {
		return err
	}
	for _, pageSize := range []int{50, 100, 200} {
		if err := b.measureThousand(ctx, bin, pageSize); err != nil {
			return fmt.Errorf("look at a thousand members, %d a page: %w", pageSize, err)
		}
	}
	return nil
}

func (b *bench) measureHelp(ctx context.Context, fleetctl string) error {
	var help, control []float64
	for range helps { // in turn, so that both see the same machine
		begin := time.Now()
		if err := exec.CommandContext(ctx, fleetctl, "--help").Run(); err != nil {
			return fmt.Errorf("run fleetctl --help: %w", err)
		}
		help = append(help, float64(time.Since(begin))/float64(time.Millisecond))
		begin = time.Now()
		s, err := b.startStatic(ctx)
		if err != nil {
			return err
		}
		control = append(control, float64(time.Since(begin))/float64(time.Millisecond))
		s.stop()
	}
	b.table.row(fmt.Sprintf("fleetctl: --help (ms, median of %d)", helps), median(help), median(control))
	b.table.bound("the ratio of fleetctl --help", median(help)/median(control), maxHelpRatio)
	return nil
}

// measureThousand runs status, verify, and a tick of a rollout with nothing to do, in
// front of a simulator of its own.
func (b *bench) measureThousand(ctx context.Context, bin string, pageSize int) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sim := exec.CommandContext(ctx, filepath.Join(bin, "fleetsim"), "arm", "--scenario", "thousand", "--control", "127.0.0.1:0", "--page-size", strconv.Itoa(pageSize))
	sim.Stderr = os.Stderr
	sim.Cancel = func() error { return sim.Process.Signal(syscall.SIGTERM) }
	sim.WaitDelay = simulatorWait
	out, err := sim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := sim.Start(); err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = sim.Wait() // it was told to end
	}()
	lines := bufio.NewReader(out)
	endpoint, err := lines.ReadString('\n')
	if err != nil {
		return err
	}
	control, err := lines.ReadString('\n')
	if err != nil {
		return err
	}
	endpoint = strings.TrimSpace(endpoint)
	control = strings.TrimSpace(strings.TrimPrefix(control, "control "))
	file, err := b.writeFleet(pageSize)
	if err != nil {
		return err
	}
	live := []string{"-g", "rg-pay-prod", "--subscription", thousandSubscription}
	fleetctl := filepath.Join(bin, "fleetctl")
	before := 0
	for _, command := range []string{"status", "verify", "rollout advance"} {
		of := live
		if command == "rollout advance" { // of a rollout that waits for an approval
			of = []string{"-f", file}
			if _, err := look(ctx, fleetctl, endpoint, append([]string{"rollout", "run", "1.7.0", "--yes", "--no-wait"}, of...)...); err != nil {
				return err
			}
			if before, err = countRequests(ctx, control); err != nil {
				return err
			}
		}
		peak, err := look(ctx, fleetctl, endpoint, append(strings.Fields(command), of...)...)
		if err != nil {
			return err
		}
		requests, err := countRequests(ctx, control)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("fleetctl %s, 1,000 members, pages of %d", command, pageSize)
		b.table.figure(name+" (requests)", float64(requests-before))
		b.table.bound("the requests of "+name, float64(requests-before), float64(maxRequests(pageSize)))
		b.table.figure(name+" (MB resident at the peak)", peak)
		b.table.bound("the memory of "+name, peak, maxFleetMB)
		before = requests
	}
	return nil
}

// thousandSubscription is that of the scenario.
const thousandSubscription = "11111111-1111-1111-1111-111111111111"

// writeFleet writes a file with the scale sets of the scenario, whose one wave waits for
// an approval, and with a journal of its own.
func (b *bench) writeFleet(pageSize int) (file string, err error) {
	home := filepath.Join(b.dir, fmt.Sprint("fleet-", pageSize))
	if err := os.Mkdir(home, 0o700); err != nil {
		return "", err
	}
	regions := []string{"eastus", "eastus2", "westus2", "westus3", "centralus", "northeurope", "westeurope", "uksouth", "swedencentral", "southeastasia"}
	var text strings.Builder
	fmt.Fprintf(&text, "version: 1\nname: pay\nsubscription: %s\nresource_group: rg-pay-prod\nlocation: eastus\n", thousandSubscription)
	text.WriteString("gallery:\n  name: galProd\n  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}\nscale_sets:\n")
	var names []string
	for i, region := range regions[:thousandSets] {
		names = append(names, fmt.Sprintf("vmss-authz-%02d", i+1))
		fmt.Fprintf(&text, "  %s: {manage: image, location: %s, id: /subscriptions/%s/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/%s}\n",
			names[i], region, thousandSubscription, names[i])
	}
	fmt.Fprintf(&text, "rollout:\n  waves: [{name: all, scale_sets: [%s], approve: true}]\n  journal: %s\n", strings.Join(names, ", "), filepath.Join(home, "rollouts"))
	file = filepath.Join(home, "fleet.yaml")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
}

// look runs a command of fleetctl and returns the most memory that it had, in MB.
func look(ctx context.Context, fleetctl, endpoint string, args ...string) (peak float64, err error) {
	cmd := exec.CommandContext(ctx, fleetctl, args...)
	cmd.Env = append(os.Environ(), "FLEETCTL_ARM_ENDPOINT="+endpoint)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run fleetctl %s: %w", strings.Join(args, " "), err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, fmt.Errorf("no usage of fleetctl %s", strings.Join(args, " "))
	}
	return float64(usage.Maxrss) / 1024, nil
}

// countRequests asks the simulator how many requests it has had.
func countRequests(ctx context.Context, control string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, control+"/v1/requests", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Counts []struct {
			Count int `json:"count"`
		} `json:"counts"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&answer); err != nil {
		return 0, fmt.Errorf("read the simulator's counts: %w", err)
	}
	sum := 0
	for _, c := range answer.Counts {
		sum += c.Count
	}
	return sum, nil
}
