package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

const (
	subscription = "/subscriptions/" + arm.DefaultSubscription
	compute      = subscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/"
	sets         = compute + "virtualMachineScaleSets/"
	image        = compute + "galleries/galProd/images/ubuntu-app"

	// patience is how long a command that is told to end may take.
	patience = 5 * time.Second
)

// scenario is an empty subscription; its machines are real agents.
//
//go:embed scenario.yaml
var scenario string

// key is the public key of an administrator, whose private key nobody has.
const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZnnBNYW3RkiwVUAdNa7o68B4Ivs3wH2hCMwMHoSBeI pay\n"

// A story is one simulated Azure, and a directory with a fleet.yaml.
type story struct {
	*stage.Teller

	stage    *stage.Stage
	dir      string // of fleet.yaml, and the home of who works in it
	azure    string // where the simulated Azure is
	control  string
	recorder *recorder // between fleetctl and it
	since    int       // the writes before the last command
}

// begin starts the simulation, and puts into it what fleetctl makes nothing of.
func (s *story) begin(ctx context.Context, scripts string) error {
	s.dir = filepath.Join(s.stage.Dir, "fleet")
	file, ready := filepath.Join(s.stage.Dir, "scenario.yaml"), filepath.Join(s.stage.Dir, "ready.json")
	err := errors.Join(
		os.MkdirAll(filepath.Join(s.dir, ".ssh"), 0o700),
		os.MkdirAll(filepath.Join(s.dir, "dist"), 0o700),
		os.CopyFS(filepath.Join(s.dir, "aib"), os.DirFS(scripts)),
		os.WriteFile(filepath.Join(s.dir, ".ssh", "pay.pub"), []byte(key), 0o600),
		os.WriteFile(filepath.Join(s.dir, "dist", "fleet-agent_amd64.deb"), []byte("stands for the package: a simulated build runs nothing\n"), 0o600),
		os.WriteFile(file, []byte(scenario), 0o600),
	)
	if err != nil {
		return err
	}
	if _, err := s.stage.Start("fleetsim", "fleetsim", "arm", "--scenario", file, "--agent", s.stage.Command("fleet-agent"),
		"--clock", "60", "--control", "127.0.0.1:0", "--ready-file", ready); err != nil {
		return err
	}
	var addresses struct {
		Endpoint string `json:"endpoint"`
		Control  string `json:"control"`
	}
	if err := s.stage.Ready(ctx, ready, &addresses); err != nil {
		return err
	}
	s.azure, s.control = addresses.Endpoint, addresses.Control
	if s.recorder, err = newRecorder(ctx, s.azure); err != nil {
		return err
	}
	s.recorder.look = s.members
	s.Say("An empty subscription, simulated on loopback. Its machines will be real fleet-agents.")
	s.Note("Others have put two networks, a load balancer and a storage account into it: fleetctl makes none of these.")
	return s.others(ctx)
}

// others puts what belongs to other teams into the subscription.
func (s *story) others(ctx context.Context) error {
	const network = "/resourceGroups/rg-network/providers/Microsoft.Network/"
	const storage = "/resourceGroups/rg-build/providers/Microsoft.Storage/storageAccounts/stbuild"
	in := func(region string, properties map[string]any) map[string]any {
		return map[string]any{"location": region, "properties": properties}
	}
	for _, r := range []struct {
		path string
		body any
	}{
		{"/resourceGroups/rg-network", in("eastus", nil)},
		{network + "virtualNetworks/vnet-pay", in("eastus", map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{"10.10.0.0/16"}}})},
		{network + "virtualNetworks/vnet-pay/subnets/app", in("eastus", map[string]any{"addressPrefix": "10.10.0.0/22"})},
		{network + "virtualNetworks/vnet-pay/subnets/batch", in("eastus", map[string]any{"addressPrefix": "10.10.4.0/22"})},
		{network + "virtualNetworks/vnet-pay-west", in("westus3", map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{"10.20.0.0/16"}}})},
		{network + "virtualNetworks/vnet-pay-west/subnets/app", in("westus3", map[string]any{"addressPrefix": "10.20.0.0/22"})},
		{network + "loadBalancers/lb-pay", in("eastus", nil)},
		{"/resourceGroups/rg-build", in("eastus", nil)},
		{storage, map[string]any{"location": "eastus", "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}}},
		{storage + "/blobServices/default/containers/artifacts", map[string]any{}},
	} {
		if err := stage.Ask(ctx, http.MethodPut, s.azure+subscription+r.path+"?api-version=2025-04-01", r.body, nil); err != nil {
			return err
		}
	}
	return nil
}

// step runs a command as an operator would, shows what it prints, and holds it to what it
// has to say and to do.
func (s *story) step(ctx context.Context, st *step) error {
	fmt.Println()
	s.Say("%s", st.tells)
	if st.speed > 0 {
		if err := stage.Ask(ctx, http.MethodPost, s.control+"/v1/clock", map[string]any{"factor": st.speed}, nil); err != nil {
			return err
		}
	}
	s.since = len(s.recorder.all())
	text, err := s.fleetctl(ctx, st.code, strings.Fields(st.args)...)
	s.Show("$ fleetctl " + st.args + "\n" + short(text))
	if err != nil {
		return err
	}
	words := strings.ToLower(strings.Join(strings.Fields(text), " ")) // lines are broken where the page ends
	for _, want := range st.says {
		if !strings.Contains(words, strings.ToLower(want)) {
			return fmt.Errorf("fleetctl %s does not say %q:\n%s", st.args, want, text)
		}
	}
	if st.facts == nil {
		return nil
	}
	return st.facts(s, ctx)
}

// fleetctl runs a command to its end, and returns all that it printed.
func (s *story) fleetctl(ctx context.Context, code int, args ...string) (string, error) {
	var screen bytes.Buffer
	cmd := exec.CommandContext(ctx, s.stage.Command("fleetctl"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &screen, &screen
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "FLEETCTL_ARM_ENDPOINT="+s.recorder.address,
		"AZURE_SUBSCRIPTION_ID="+arm.DefaultSubscription, "TZ=UTC", "LANG=C.UTF-8", "COLUMNS=74", "NO_COLOR=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return screen.String(), fmt.Errorf("run fleetctl %s: %w", strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		return screen.String(), fmt.Errorf("fleetctl %s: exit code %d, and not %d", strings.Join(args, " "), got, code)
	}
	return screen.String(), nil
}

// short is a text without the middle of it, if it is long.
func short(text string) string {
	const first, last = 12, 26
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) <= first+last+1 {
		return text
	}
	left := fmt.Sprintf("… %d lines …", len(lines)-first-last)
	return strings.Join(append(append(lines[:first:first], left), lines[len(lines)-last:]...), "\n") + "\n"
}
