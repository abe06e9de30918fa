package roll_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const (
	group      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	definition = group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
	sets       = group + "/providers/Microsoft.Compute/virtualMachineScaleSets"
	before     = "1.7.0"
	showing    = 5 * time.Minute // after which a write has ended
	version    = "1.7.1"
)

// ground is a fleet on 1.7.0 with 1.7.1 excluded from latest everywhere. Its holes are
// filled from a setup.
const ground = `
resource_group: rg-pay-prod
location: eastus
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        security_type: TrustedLaunchSupported
        versions:
          - {name: 1.7.0, published: 40d, regions: {eastus: {}, westus3: {}}}
          - {name: 1.7.1, published: 1d, excluded: true, regions: %s, health: %s}
scale_sets:
  - &set
    name: vmss-authz
    zones: ["1", "2", "3"]
    vm_size: Standard_D2as_v5
    image: galProd/ubuntu-app%s
    health: {version: "2.0", protocol: http, port: 8080, path: /healthz, interval: 5s, probes: 2, grace: 5m}
    repairs: {after: 30m, action: Replace}
    members: [{count: 3, age: 29d}]
%s  - {<<: *set, name: vmss-authz-west, location: westus3}
run_commands:
%s  - {contains: "fleet-agent drain", stdout: "drained\nfleetctl: exit 0\n"}
  - {contains: "fleet-agent undrain", stdout: "undrained\nfleetctl: exit 0\n"}
  - {contains: "head -n 1", stdout: "state: serving\nfleetctl: exit 0\n"}
  - {contains: "status -o brief", stdout: "state: unhealthy\nfailing: hsm: connection refused\nfleetctl: exit 3\n"}
%s`

// file is the fleet.yaml of the tests.
const file = `version: 1
name: pay
subscription: ` + arm.DefaultSubscription + `
resource_group: rg-pay-prod
location: eastus
gallery:
  name: galProd
  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}
%sdefaults:
  %s
  upgrade: {%s}
%sscale_sets:
  vmss-authz: {id: ` + sets + `/vmss-authz}
  vmss-authz-west: {location: westus3, id: ` + sets + `/vmss-authz-west}
rollout:
%s  journal: rollouts
`

// wholly is what a set under a driver of the platform needs: the way back changes its mode.
const wholly = `create: {capacity: 3, vm_size: Standard_D2as_v5, network: {subnet: /subscriptions/` + arm.DefaultSubscription + `/resourceGroups/rg-pay-prod/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app}, admin: azureuser, ssh_key: key.pub}`

// twoWaves is one member first, then all.
const twoWaves = `  waves:
    - {name: canary, scale_sets: [vmss-authz], instances: 1, soak: 10m}
    - {name: all, scale_sets: [vmss-authz, vmss-authz-west], soak: 20m}
`

// A setup is what is different from the usual.
type setup struct {
	health   string // of members that boot 1.7.1; Healthy
	commands string // more entries of run_commands
	scenario string // more sections
	rollout  string // the section of the file; twoWaves
	set      string // more keys of the scale sets
	upgrade  string // of the file's scale sets
	gallery  string // more keys of the file's gallery
	latest   bool   // sets follow the latest version
	regions  string // of 1.7.1
	unjudged bool   // what is sent is judged elsewhere
}

// A world is a simulated Azure whose time passes only while somebody waits, behind a
// judge of everything that is sent.
type world struct {
	t      *testing.T
	setup  setup
	server *arm.Server
	clock  *arm.Clock
	next   http.Handler
	blobs  http.Handler  // Azure Storage: the simulator's, or Azurite
	reader *azure.Client // beside all runners

	journal *memory
	// ticks are called after each wait.
	ticks []func()
	// before and after are called with each request; true: the runner dies there, before
	// the request is served or after.
	before, after func(r *http.Request) bool
	// faulty is called with each request; true: it is answered with an error.
	faulty func(r *http.Request) bool

	mu     sync.Mutex // guards what follows
	dead   bool
	graves map[string]bool // hosts of clients that are dead for good
	killed func()
	// refusals is how many more Run Commands are refused whose script has the text.
	refused  string
	refusals int
	served   []string // METHOD path status body
	from     []string // the client of each, as the host that it asked
}

// published are Azure's types, read once.
var published struct {
	sync.Once
	types *armtypes.Types
	err   error
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	dir := testkit.Published(t, "types")
	published.Do(func() { published.types, published.err = armtypes.Load(dir) })
	require.NoError(t, published.err)
	s.health, s.rollout = cmp.Or(s.health, "Healthy"), cmp.Or(s.rollout, twoWaves)
	s.upgrade = cmp.Or(s.upgrade, "driver: batches, batch: 50%, pause: 0s")
	pinned := "/" + before
	if s.latest {
		pinned = ""
	}
	w := &world{t: t, setup: s, clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0)}
	scenario, err := arm.ParseScenario("ground.yaml", fmt.Appendf(nil, ground, cmp.Or(s.regions, "{eastus: {}, westus3: {}}"), s.health, pinned, s.set, s.commands, s.scenario))
	require.NoError(t, err)
	w.server, err = arm.New(arm.Config{Clock: w.clock, Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	judge := judgeproxy.New(judgeproxy.Config{Next: w.server, Types: published.types})
	w.next = standstill.Handler(w.server, judge)
	if s.unjudged {
		w.next = standstill.Handler(w.server, w.server)
	}
	w.blobs = w.server
	w.reader = w.client()
	w.journal = &memory{world: w}
	t.Cleanup(func() {
		if events, err := roll.Decode(w.journal.entries); err == nil && len(events) > 0 && events[0].Kind == rollout.Planned {
			w.blast(events, "")
		}
		for _, f := range judge.Report().Findings {
			t.Errorf("%s", f)
		}
	})
	return w
}

// ServeHTTP stands between a client and the judge.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock() // what a dead client sent may still be under way when the world changes
	dead, faulty, before, after := w.dead || w.graves[r.Host], w.faulty, w.before, w.after
	w.mu.Unlock()
	if dead {
		bury(rw) // what a dead client sends on is not served
		return
	}
	if faulty != nil && faulty(r) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = rw.Write([]byte(`{"error":{"code":"Odd","message":"not now"}}`))
		return
	}
	if before != nil && before(r) {
		w.die()
		bury(rw)
		return
	}
	var body []byte
	if r.Method == http.MethodPost {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.mu.Lock()
	refused := w.refusals > 0 && strings.Contains(string(body), w.refused)
	if refused {
		w.refusals--
	}
	w.mu.Unlock()
	if refused {
		rw.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(rw, `{"error":{"code":"Conflict","message":"Run command extension execution is in progress."}}`)
		return
	}
	rec := httptest.NewRecorder()
	next := w.next
	if isBlob(r) {
		next = w.blobs
	}
	next.ServeHTTP(rec, r)
	w.mu.Lock()
	w.served = append(w.served, fmt.Sprintf("%s %s %d %s", r.Method, r.URL.Path, rec.Code, body))
	w.from = append(w.from, r.Host)
	w.mu.Unlock()
	if after != nil && after(r) {
		w.die()
		bury(rw)
		return
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(rec.Body.Bytes())
}

// isBlob says whether a request is for Azure Storage, which is judged elsewhere.
func isBlob(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/blob/") }

// bury answers one that is dead. Nothing that it does after that is seen by anybody, so
// what counts is that it ends at once: a connection that is cut, it would try again for
// as long as its lease lasts.
func bury(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(rw, `{"error":{"code":"AuthorizationFailed","message":"the dead are not served"}}`)
}

// die is the end of the runner: nothing that it sends or journals arrives any more.
func (w *world) die() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.killed()
}

func (w *world) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

func (w *world) revive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead, w.before, w.after, w.journal.atEntry, w.journal.dies = false, nil, nil, 0, ""
}

// count returns how many requests were served whose text has all the parts.
func (w *world) count(parts ...string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.served {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) }) {
			n++
		}
	}
	return n
}

// client makes a client with connections of its own.
func (w *world) client() *azure.Client {
	w.t.Helper()
	client, _ := w.clientAt()
	return client
}

// clientAt makes a client, and returns the host that it asks, too.
func (w *world) clientAt() (client *azure.Client, host string) {
	w.t.Helper()
	endpoint := armjudge.Serve(w.t, w)
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(w.t, err)
	return client, strings.TrimPrefix(endpoint.URL, "http://")
}

// A run is a runner with what it told.
type run struct {
	*roll.Runner

	told []string
}

// runner makes a runner of the world's journal.
func (w *world) runner() *run { return w.runnerOn(w.journal, w.client()) }

// runnerOn makes a runner of a journal.
func (w *world) runnerOn(journal roll.Journal, client *azure.Client) *run {
	w.t.Helper()
	c := &run{}
	c.Runner = &roll.Runner{
		Azure: client, Spec: w.spec(), Journal: journal, Now: w.clock.Now,
		Wait: func(ctx context.Context, d time.Duration) error {
			w.server.Advance(d)
			for _, tick := range w.ticks {
				tick()
			}
			return ctx.Err()
		},
		Tell: func(e roll.Event) {
			switch {
			case e.Entry != nil:
				c.told = append(c.told, entryLine(e.Entry))
			case e.Note != "":
				c.told = append(c.told, e.At.Format("15:04:05")+" note: "+e.Note)
			}
		},
	}
	return c
}

func entryLine(e *rollout.Event) string {
	parts := []string{e.At.Format("15:04:05"), string(e.Kind), string(e.Phase), string(e.Step), e.Set, e.Member, strings.Join(e.Members, ","), string(e.Class), e.Why}
	if e.Action != nil {
		parts = append(parts, strconv.Itoa(e.Action.Op), string(e.Action.Do), e.Action.Set, strings.Join(e.Action.Members, ","), e.Action.Version)
	}
	if e.Result != nil {
		parts = append(parts, string(e.Result.Outcome), e.Result.Text, e.Result.Answer)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

func (c *run) log() string { return strings.Join(c.told, "\n") }

func (w *world) spec() *fleet.Spec {
	w.t.Helper()
	tracks := ""
	if w.setup.latest {
		tracks = "  tracks: latest\n"
	}
	manage := "manage: image"
	if strings.Contains(w.setup.upgrade, "driver: platform") {
		manage = wholly
	}
	f, err := fleetfile.Read("fleet.yaml", fmt.Appendf(nil, file, w.setup.gallery, manage, w.setup.upgrade, tracks, w.setup.rollout), os.LookupEnv)
	require.NoError(w.t, err)
	return f.Spec
}

// start begins the rollout.
func (w *world) start() *run {
	w.t.Helper()
	c := w.runner()
	_, refusals, err := c.Start(w.t.Context(), version, rollout.Options{})
	require.NoError(w.t, err)
	require.Empty(w.t, refusals)
	return c
}

// members returns which version each member of a set runs.
func (w *world) members(set string) map[string]string {
	w.t.Helper()
	list, err := w.reader.Members(context.Background(), fleet.ResourceID(sets+"/"+set))
	require.NoError(w.t, err)
	found := make(map[string]string, len(list))
	for i := range list {
		found[list[i].Name] = list[i].Image.ExactVersion
	}
	return found
}

// on counts the members of a set on a version.
func (w *world) on(set, version string) int {
	n := 0
	for _, v := range w.members(set) {
		if v == version {
			n++
		}
	}
	return n
}

// model returns the version that a set's model asks for.
func (w *world) model(set string) string {
	w.t.Helper()
	read, err := w.reader.ScaleSet(context.Background(), fleet.ResourceID(sets+"/"+set))
	require.NoError(w.t, err)
	id, err := read.Image.Gallery()
	require.NoError(w.t, err)
	return id.Version
}

// image returns the version of the rollout.
func (w *world) image() fleet.Version {
	w.t.Helper()
	read, err := w.reader.Resource(context.Background(), fleet.ResourceID(definition+"/versions/"+version), "ReplicationStatus")
	require.NoError(w.t, err)
	return fleet.ReadVersion(read.Body)
}

// patch is a PATCH by another tool.
func (w *world) patch(id string, body map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{"id": id, "body": body})
	require.NoError(w.t, err)
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://127.0.0.1/v1/patch", strings.NewReader(string(text)))
	req.Header.Set("Content-Type", "application/json")
	w.server.Control().ServeHTTP(rec, req)
	require.Less(w.t, rec.Code, 300, rec.Body.String())
}

// A memory is a journal that is lost with its test.
type memory struct {
	world *world

	mu      sync.Mutex
	entries []json.RawMessage
	asked   []roll.Asked
	takes   int    // entries; 0: any number
	unread  int    // how often what operators ask cannot be read
	holder  string // another one that holds the lock
	loses   string // the lock is lost once an entry with this text is there
	atEntry int    // dies when this entry is to be written; 0: never
	dies    string // dies when an entry with this text is to be written; "": never
	torn    bool   // the entry is there when it dies
}

var errHeld = errors.New("the journal is held by runner-2 on host-b")

func (m *memory) Entries(context.Context) ([]json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries), nil
}

func (m *memory) Append(ctx context.Context, entry json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.world.isDead() {
		return errors.New("dead")
	}
	if m.holder != "" {
		return errHeld
	}
	if m.atEntry > 0 && len(m.entries)+1 >= m.atEntry || m.dies != "" && strings.Contains(string(entry), m.dies) {
		if m.torn {
			m.entries = append(m.entries, slices.Clone(entry))
		}
		m.world.die()
		return errors.New("killed")
	}
	m.entries = append(m.entries, slices.Clone(entry))
	if m.loses != "" && strings.Contains(string(entry), m.loses) {
		m.holder = "runner-2"
	}
	return ctx.Err()
}

func (m *memory) Guard() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder != "" {
		return errHeld
	}
	return nil
}

func (m *memory) Used() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(len(m.entries)) / float64(cmp.Or(m.takes, 1_000_000))
}

func (m *memory) Requests(context.Context) ([]roll.Asked, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unread > 0 {
		m.unread--
		return nil, errors.New("503 ServerBusy")
	}
	return slices.Clone(m.asked), nil
}

func (m *memory) Drop(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = slices.DeleteFunc(m.asked, func(a roll.Asked) bool { return a.Name == name })
	return nil
}

// ask puts a request into the journal.
func (m *memory) ask(name, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, roll.Asked{Name: name, Data: json.RawMessage(text)})
}

// mentions says whether some entry has a text.
func (m *memory) mentions(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.entries, func(e json.RawMessage) bool { return strings.Contains(string(e), text) })
}
