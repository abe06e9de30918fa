package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

const (
	group   = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	compute = group + "/providers/Microsoft.Compute/"
	sets    = compute + "virtualMachineScaleSets/"
	image   = compute + "galleries/galProd/images/ubuntu-app"
	east    = "vmss-authz"
	west    = "vmss-authz-west"
	// speed is how many times as fast as real time the simulated time passes.
	speed = 60
	// patience is how long a command that is told to end may take.
	patience = 5 * time.Second
)

//go:embed scenario.yaml fleet.yaml storage.yaml
var files embed.FS

// A setting is what is different from act to act.
type setting struct {
	AutoOS  bool   // both sets are under automatic OS upgrade; otherwise in mode Manual
	Repairs bool   // the caller may not suspend automatic repairs
	Spot    bool   // six of the ten in the west are Spot
	Soak    string // of the canary
	Journal string // without it, a directory

	// What the templates are filled with beside.
	Group, Pin, Baked, HSM, HSM1_7_0, Files string
}

// usualJournal is the directory of a journal that is not in blobs.
const usualJournal = "rollouts"

// A world is one simulated Azure with real agents, and a fleet.yaml for it.
type world struct {
	i        *incident
	dir      string // of fleet.yaml
	endpoint string
	control  string
}

// newWorld starts a simulated Azure.
func (i *incident) newWorld(ctx context.Context) (*world, error) {
	w := &world{i: i, dir: filepath.Join(i.stage.Dir, "fleet")}
	s := i.setting
	i.complete(&s)
	if err := os.MkdirAll(filepath.Join(w.dir, usualJournal), 0o700); err != nil { // a rollout is asked for before it has begun
		return nil, err
	}
	for _, file := range []string{"scenario.yaml", "fleet.yaml"} {
		text, err := fill(file, s)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(w.dir, file), text, 0o600); err != nil {
			return nil, err
		}
	}
	ready := filepath.Join(w.dir, "ready.json")
	_, err := i.stage.Start("fleetsim", "fleetsim", "arm", "--scenario", filepath.Join(w.dir, "scenario.yaml"), "--agent", i.stage.Command("fleet-agent"),
		"--clock", strconv.Itoa(speed), "--control", "127.0.0.1:0", "--ready-file", ready)
	if err != nil {
		return nil, err
	}
	w.endpoint, w.control, err = i.addresses(ctx, ready)
	return w, err
}

// complete fills in what is the same in all acts.
func (i *incident) complete(s *setting) {
	s.Group, s.Files = group, i.hsm.files
	s.HSM, s.HSM1_7_0 = i.hsm.address(usual), i.hsm.address(barred)
	s.Pin, s.Baked = "/1.6.0", "{eastus: {replicas: 3}, westus3: {replicas: 3}}"
	if s.AutoOS {
		s.Pin, s.Baked = "", "{eastus: {replicas: 3}}"
	}
	if s.Soak == "" {
		s.Soak = "1m"
	}
	if s.Journal == "" {
		s.Journal = usualJournal
	}
}

// addresses waits for the addresses of a simulator.
func (i *incident) addresses(ctx context.Context, file string) (endpoint, control string, err error) {
	var ready struct {
		Endpoint string `json:"endpoint"`
		Control  string `json:"control"`
	}
	err = i.stage.Ready(ctx, file, &ready)
	return ready.Endpoint, ready.Control, err
}

// fill fills a file in.
func fill(file string, s setting) ([]byte, error) {
	t, err := template.ParseFS(files, file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, s)
	return b.Bytes(), err
}

// A command is one of fleetctl that runs.
type command struct {
	cmd  *exec.Cmd
	args string
	out  bytes.Buffer
	errs bytes.Buffer
	done chan struct{} // closed when it has ended
}

// start starts a command of fleetctl as an operator would.
func (w *world) start(ctx context.Context, args ...string) (*command, error) {
	c := &command{args: strings.Join(args, " "), done: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, w.i.stage.Command("fleetctl"), args...)
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = w.dir, &c.out, &c.errs
	c.cmd.Env = append(os.Environ(), "FLEETCTL_ARM_ENDPOINT="+w.endpoint, "TZ=UTC", "LANG=C.UTF-8", "COLUMNS=74", "NO_COLOR=1")
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = patience
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start fleetctl %s: %w", c.args, err)
	}
	go func() {
		_ = c.cmd.Wait() // its exit code tells
		close(c.done)
	}()
	return c, nil
}

// wait waits for the end of a command, which is to have an exit code.
func (c *command) wait(code int) error {
	<-c.done
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		return fmt.Errorf("fleetctl %s: exit code %d (%s), and not %d:\n%s%s", c.args, got, c.cmd.ProcessState, code, tail(c.out.String()), tail(c.errs.String()))
	}
	return nil
}

// ended says whether a command has ended.
func (c *command) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// tail is the end of what a command said.
func tail(text string) string {
	const most = 3000
	return text[max(0, len(text)-most):]
}

// run runs a command to its end, and returns its output.
func (w *world) run(ctx context.Context, code int, args ...string) (string, error) {
	c, err := w.start(ctx, args...)
	if err != nil {
		return "", err
	}
	err = c.wait(code)
	return c.out.String(), err
}

// get reads a resource of Azure.
func (w *world) get(ctx context.Context, id string, answer any) error {
	sep := "?"
	if strings.Contains(id, "?") {
		sep = "&"
	}
	return stage.Ask(ctx, http.MethodGet, w.endpoint+id+sep+"api-version=2025-04-01", nil, answer)
}

// tell steers the simulation.
func (w *world) tell(ctx context.Context, path string, body any) error {
	return stage.Ask(ctx, http.MethodPost, w.control+path, body, nil)
}

// members returns the members of a scale set.
func (w *world) members(ctx context.Context, set string) ([]stage.Member, error) {
	var list struct {
		Value []stage.Member `json:"value"`
	}
	err := w.get(ctx, compute+"virtualMachines?$expand=instanceView&$filter='virtualMachineScaleSet/id'%20eq%20'"+sets+set+"'", &list)
	return list.Value, err
}

// all says of which versions there are how many members in both sets, all of them
// Healthy; text says what is not.
func (w *world) all(ctx context.Context, want map[string]int) (ok bool, text string, err error) {
	got := make(map[string]int)
	ok = true
	for _, set := range []string{east, west} {
		list, err := w.members(ctx, set)
		if err != nil {
			return false, "", err
		}
		for i := range list {
			got[set+" "+list[i].Version()]++
			if list[i].Health() != "healthy" {
				ok, text = false, text+fmt.Sprintf("%s is %s; ", list[i].Name, list[i].Health())
			}
		}
	}
	return ok && maps.Equal(got, want), text + fmt.Sprint(got), nil
}

// awaitAll waits until all members are Healthy, and of the versions that they are to be.
func (w *world) awaitAll(ctx context.Context, want map[string]int) error {
	var last string
	err := w.i.await(ctx, "all members to be Healthy", func() (ok bool, err error) {
		ok, last, err = w.all(ctx, want)
		return ok, err
	})
	if err != nil && last != "" {
		return fmt.Errorf("%w\nthe members are: %s, and not %v", err, last, want)
	}
	return err
}

// A galleryVersion is an image version as Azure shows it.
type galleryVersion struct {
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Publishing struct {
			Excluded bool `json:"excludeFromLatest"`
			Regions  []struct {
				Name     string `json:"name"`
				Excluded bool   `json:"excludeFromLatest"`
			} `json:"targetRegions"`
		} `json:"publishingProfile"`
	} `json:"properties"`
}

// regions are those that a version is in, sorted, each with "-" when it is excluded from
// latest there.
func (v *galleryVersion) regions() string {
	var list []string
	for _, r := range v.Properties.Publishing.Regions {
		name := strings.ToLower(strings.ReplaceAll(r.Name, " ", ""))
		if r.Excluded || v.Properties.Publishing.Excluded {
			name += "-"
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (w *world) version(ctx context.Context, name string) (galleryVersion, error) {
	var v galleryVersion
	err := w.get(ctx, image+"/versions/"+name, &v)
	return v, err
}

// A model is that of a scale set.
type model struct {
	Properties struct {
		Upgrade struct {
			AutoOS struct {
				Enabled bool `json:"enableAutomaticOSUpgrade"`
			} `json:"automaticOSUpgradePolicy"`
		} `json:"upgradePolicy"`
		Profile struct {
			Storage struct {
				Image struct {
					ID string `json:"id"`
				} `json:"imageReference"`
			} `json:"storageProfile"`
		} `json:"virtualMachineProfile"`
	} `json:"properties"`
}

// version is what a model asks for; "" is the latest.
func (m *model) version() string {
	_, version, _ := strings.Cut(m.Properties.Profile.Storage.Image.ID, "/versions/")
	return version
}

func (w *world) model(ctx context.Context, set string) (model, error) {
	var m model
	err := w.get(ctx, sets+set, &m)
	return m, err
}

// shown shows a command as the reader would write it.
func (w *world) shown(args ...string) { w.i.Note("$ fleetctl %s", strings.Join(args, " ")) }
