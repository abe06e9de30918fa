package nodes

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/child"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// Agents makes machines that are processes of fleet-agent.
type Agents struct {
	Binary  string       // of fleet-agent
	Configs *arm.Agents  // what they are configured with
	Dir     string       // for their files
	Logger  *slog.Logger // what they say goes there when they end by themselves
}

// Make makes the agent of a member.
func (a Agents) Make(m arm.Machine) Machine {
	config, other := a.Configs.Versions[m.Version]
	if !other {
		config = a.Configs.Config
	}
	return &agent{
		factory: a, config: config, vm: m.Name, said: &tail{most: 4 << 10},
		metadata: imds.New(imds.Config{RateLimit: -1, VMs: []imds.Instance{{
			Name: m.Name, ComputerName: m.ComputerName, VMID: m.VMID, ScaleSet: m.ScaleSet, Location: m.Location, Zone: m.Zone,
			Priority: m.Priority, ResourceGroup: m.ResourceGroup, SubscriptionID: m.Subscription, Size: m.Size, Image: m.Image, Tags: m.Tags,
		}}}),
	}
}

// An agent is a process of fleet-agent with a metadata service of its own, on loopback.
type agent struct {
	factory  Agents
	config   []byte
	vm       string
	metadata *imds.Server
	said     *tail

	dir    string
	file   string // the configuration
	socket string
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// drainTime is how long an agent has to end.
const drainTime = 5 * time.Second

// Start writes the agent's files and starts it.
func (a *agent) Start(ctx context.Context) (err error) {
	// A socket's path is short: the member's name is not in it.
	if a.dir, err = os.MkdirTemp(a.factory.Dir, "vm-"); err != nil {
		return fmt.Errorf("make a directory for the agent: %w", err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen as the metadata service: %w", err)
	}
	run := filepath.Join(a.dir, "run")
	a.file, a.socket = filepath.Join(a.dir, "config.yaml"), filepath.Join(run, control.SocketName)
	own, err := yaml.Marshal(map[string]any{
		"imds":   map[string]any{"endpoint": "http://" + listener.Addr().String()},
		"listen": map[string]any{"probe": "127.0.0.1:0", "metrics": ""}, "run_dir": run, "state_dir": filepath.Join(a.dir, "state"),
	})
	if err == nil {
		err = errors.Join(
			os.Mkdir(filepath.Join(a.dir, "conf.d"), 0o700),
			os.WriteFile(a.file, a.config, 0o600),
			os.WriteFile(filepath.Join(a.dir, "conf.d", "99-fleetsim.yaml"), own, 0o600),
			a.writeShims(),
		)
	}
	if err != nil {
		_ = listener.Close()
		return fmt.Errorf("write the agent's configuration: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	served := &http.Server{Handler: a.metadata, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	a.ended.Go(func() { _ = served.Serve(listener) }) // until it is closed
	a.ended.Go(func() {
		<-life.Done()
		_ = served.Close()
	})
	a.ended.Go(func() { a.live(life) })
	return nil
}

// live runs the agent until ctx is done. One that ends before is not started again: it
// is a machine on which the agent does not run.
func (a *agent) live(ctx context.Context) {
	state, err := child.Command{
		Args: []string{a.factory.Binary, "--config", a.file, "run"}, Env: a.env(child.DefaultPath), Dir: a.dir, Output: a.said, Grace: drainTime,
	}.Run(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = fmt.Errorf("%s: %s", state, strings.TrimSpace(a.said.String()))
	}
	a.factory.Logger.Error("agent has ended", "vm", a.vm, "err", err)
}

// env is the environment on this machine.
func (a *agent) env(path string) []string {
	return []string{"PATH=" + path, "HOME=" + a.dir, "LANG=C.UTF-8", "NO_COLOR=1"}
}

// Stop ends the agent and its metadata service, and removes its files.
func (a *agent) Stop(context.Context) error {
	if a.cancel != nil {
		a.cancel()
		a.ended.Wait() // bounded by drainTime
	}
	if a.dir == "" {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// Tell publishes an event in the metadata service.
func (a *agent) Tell(event arm.MachineEvent, notice time.Duration) {
	if _, told := a.metadata.Event(event.ID); !told {
		a.metadata.Publish(imds.EventSpec{ID: event.ID, Type: event.Type, Resources: []string{a.vm}, Notice: max(notice, 1)})
	}
}

// Acked says whether the agent has acknowledged an event.
func (a *agent) Acked(id string) bool {
	event, _ := a.metadata.Event(id)
	return event.Acks > 0
}

// defaultProbe is where an agent listens that is not told otherwise.
const defaultProbe = "127.0.0.1:8080"

// Probe asks the agent, at the port that it was configured with: it listens on another
// one here.
func (a *agent) Probe(ctx context.Context, settings arm.HealthExtension) (Answer, error) {
	var configured struct {
		Listen struct {
			Probe string `yaml:"probe"`
		} `yaml:"listen"`
	}
	_ = yaml.Unmarshal(a.config, &configured) // then the agent does not start either
	_, port, err := net.SplitHostPort(cmp.Or(configured.Listen.Probe, defaultProbe))
	if err != nil {
		return Answer{}, fmt.Errorf("probe the agent: %w", err)
	}
	if asked := strconv.Itoa(portOf(settings)); asked != port {
		return Answer{}, fmt.Errorf("probe the agent: connection refused on port %s: it listens on %s", asked, port)
	}
	status, err := control.NewClient(a.socket).Status(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("probe the agent: %w", err)
	}
	return probe(ctx, settings, status.Agent.ProbeAddress)
}

// portOf is the port that an extension asks.
func portOf(settings arm.HealthExtension) int {
	otherwise := 80
	if settings.Protocol == "https" {
		otherwise = 443
	}
	return cmp.Or(settings.Port, otherwise)
}

// maxAnswer bounds what is read of an answer to a probe.
const maxAnswer = 1 << 20

// probe asks an address as the health extension does.
func probe(ctx context.Context, settings arm.HealthExtension, address string) (Answer, error) {
	if settings.Protocol == "tcp" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return Answer{}, err
		}
		return Answer{}, conn.Close()
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the extension does
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	url := settings.Protocol + "://" + address + "/" + strings.TrimLeft(settings.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	req.Host = net.JoinHostPort("localhost", strconv.Itoa(portOf(settings)))
	req.Header.Set("User-Agent", "ApplicationHealthExtension/1.0")
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return Answer{Status: resp.StatusCode, Body: body}, err
}
