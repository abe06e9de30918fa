package apply_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const setID = group + "/providers/Microsoft.Compute/virtualMachineScaleSets/"

// begun is a world in which the file was applied.
func begun(t *testing.T, text string, setup setSetup) *setWorld {
	t.Helper()
	w := newSetWorld(t, setup)
	spec := setSpec(t, text)
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	return w
}

// other writes as another tool does, past the judge, and is over when it returns.
func (w *setWorld) other(method, id string, body fleet.Document) {
	w.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(w.t, err)
	r := httptest.NewRequestWithContext(w.t.Context(), method, id+"?api-version="+fleet.APIVersion(fleet.ResourceID(id)), bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	require.Less(w.t, answer.Code, 300, "%s: %s", id, answer.Body)
	w.Advance(time.Minute)
}

func (w *setWorld) read(id string) fleet.Document {
	w.t.Helper()
	read, err := w.reader.Resource(w.t.Context(), fleet.ResourceID(id), "")
	require.NoError(w.t, err)
	return read.Body
}

func edited(from string, edits ...string) string {
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(from, edits[i]) {
			panic(edits[i] + " is not in the file")
		}
		from = strings.ReplaceAll(from, edits[i], edits[i+1])
	}
	return from
}

// has says whether a document has a key, at any depth.
func has(v any, key string) bool {
	switch v := v.(type) {
	case fleet.Document:
		for name, below := range v {
			if name == key || has(below, key) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return has(one, key) })
	}
	return false
}

// requireSmall: no PATCH has an image or a capacity, none of a set is made without the ETag
// of what was read, no set is put a second time, and members are brought by their names.
func (w *setWorld) requireSmall() {
	w.t.Helper()
	puts := make(map[string]int)
	for _, s := range w.took(0) {
		set := strings.Contains(s.path, "virtualMachineScaleSets/")
		switch {
		case s.method == http.MethodPatch:
			require.False(w.t, has(s.body, "imageReference") || has(s.body, "sku") || has(s.body, "capacity"), "%s %v", s, s.body)
			require.Equal(w.t, strings.Contains(s.path, "/extensions/"), s.ifMatch == "", "%s", s) // they have no ETag
		case s.method == http.MethodPut && set && !strings.Contains(s.path, "/extensions/"):
			puts[s.path]++
			require.Equal(w.t, "*", s.ifNone)
			require.Equal(w.t, 1, puts[s.path], s.path)
		case strings.HasSuffix(s.path, "/manualupgrade"):
			ids, _ := s.body["instanceIds"].([]any)
			require.NotEmpty(w.t, ids)
			require.NotContains(w.t, ids, "*")
		}
	}
}

// A changed notice and another probe: the extension by its own resource, one PATCH, and the
// members in batches, drained first, one after the other.
func TestSetsBring(t *testing.T) {
	w := begun(t, setFile, setSetup{})
	spec := setSpec(t, edited(setFile, "terminate_notice: 5m", "terminate_notice: 6m", "interval: 5s", "interval: 6s"))
	before := len(w.took(0))
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	var writes []string
	for _, s := range w.took(before) {
		if strings.Contains(s.path, "/vmss-authz") && !strings.HasSuffix(s.path, "/runCommand") {
			writes = append(writes, s.String())
		}
	}
	require.Equal(t, []string{
		"PATCH ApplicationHealthLinux 200", "PATCH vmss-authz 200",
		"POST manualupgrade 202", "POST manualupgrade 202", "POST manualupgrade 202",
	}, writes)
	require.Len(t, w.ran("drain --for"), 6, "members of two sets in Manual mode")
	require.Len(t, w.ran("undrain"), 6)
	w.requireSmall()
	w.requireSetsDone(spec)
}

// ran are the Run Commands that were taken whose script has a text.
func (w *setWorld) ran(text string) []sentWrite {
	return slices.DeleteFunc(w.took(0), func(s sentWrite) bool {
		script, _ := s.body["script"].([]any)
		return !strings.HasSuffix(s.path, "/runCommand") || !strings.Contains(fmt.Sprint(script...), text)
	})
}

// one is a file with the one set vmss-authz.
var one = func() string {
	head, rest, _ := strings.Cut(setFile, "  vmss-batch:")
	_, tail, _ := strings.Cut(rest, "rollout:")
	return head + "rollout:" + tail
}()

// What stops a batch stops the set: nothing else of it is upgraded, whoever was drained and
// keeps what it is is undrained, and other sets go on.
func TestSetsBringStops(t *testing.T) {
	for name, tt := range map[string]struct {
		commands string
		meet     func(w *setWorld, r *http.Request)
		fault    *arm.Fault
		want     string
		upgrades int
		undrains int
	}{
		"a drain fails": {
			commands: "  - {set: vmss-authz, contains: \"fleet-agent drain\", stdout: \"no: busy\\nfleetctl: exit 1\\n\"}\n",
			want:     "vmss-authz: vmss-authz_", undrains: 1,
		},
		"no agent": {
			commands: "  - {set: vmss-authz, contains: \"fleet-agent\", stdout: \"fleetctl: exit 127\\n\"}\n",
			want:     "there is no fleet-agent on the node",
		},
		"the upgrade fails": {
			fault: &arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPost, Path: "vmss-authz/manualupgrade", Code: "InternalExecutionError", Message: "Azure failed."},
			want:  "InternalExecutionError", upgrades: 1, undrains: 1,
		},
		"the upgrade is refused": {
			fault: &arm.Fault{Kind: arm.FaultError, Method: http.MethodPost, Path: "vmss-authz/manualupgrade", Status: 400, Code: "Odd", Message: "not now"},
			want:  "Odd", undrains: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begun(t, setFile, setSetup{commands: tt.commands})
			if tt.fault != nil {
				require.NoError(t, w.SetFault(*tt.fault))
			}
			spec := setSpec(t, edited(setFile, "terminate_notice: 5m", "terminate_notice: 6m", "    spot:", "    tags: {a: b}\n    spot:"))
			before := len(w.took(0))
			out, err := w.applySets(t.Context(), w.client(nil), spec)
			require.ErrorContains(t, err, tt.want, out.log())
			require.Len(t, out.Failed, 1)
			require.Equal(t, "vmss-authz", out.Failed[0].Set)
			var upgrades int
			for _, s := range w.took(before) {
				if strings.HasSuffix(s.path, "vmss-authz/manualupgrade") {
					upgrades++
				}
			}
			require.Equal(t, tt.upgrades, upgrades)
			var undrains int
			for _, s := range w.ran("undrain") {
				if strings.Contains(s.path, "vmss-authz") {
					undrains++
				}
			}
			if tt.undrains > 0 {
				require.GreaterOrEqual(t, undrains, tt.undrains, out.log())
			}
			require.Equal(t, "b", w.read(setID + "vmss-batch")["tags"].(fleet.Document)["a"], "the others go on")
			require.NotEmpty(t, out.Left[0].Steps)
			w.requireSmall()
		})
	}
}

// A lost answer of an upgrade is no failure: the members say what became of it.
func TestSetsUpgradeLost(t *testing.T) {
	w := begun(t, one, setSetup{})
	require.NoError(t, w.SetFault(arm.Fault{Kind: arm.FaultLost, Method: http.MethodPost, Path: "vmss-authz/manualupgrade", Count: 1}))
	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	w.requireSetsDone(spec)
}

// An operator who ends it gets what was drained back into service.
func TestSetsInterrupted(t *testing.T) {
	w := begun(t, one, setSetup{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client := w.client(func(r *http.Request, serve func()) {
		serve()
		if strings.HasSuffix(r.URL.Path, "/runCommand") {
			stop()
		}
	})
	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
	out, err := w.applySets(ctx, client, spec)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, w.ran("drain --for"), 1, out.log())
	require.Len(t, w.ran("undrain"), 1, out.log())
	_, err = w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err)
	w.requireSetsDone(spec)
}

// An end by an operator is none of a write that Azure has taken.
func TestSetsInterruptedWrite(t *testing.T) {
	w := begun(t, one, setSetup{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client := w.client(func(r *http.Request, serve func()) {
		if strings.Contains(r.URL.Path, "/operations/") {
			stop()
		}
		serve()
	})
	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
	out, err := w.applySets(ctx, client, spec)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, out.Failed, 1)
	require.ErrorIs(t, out.Failed[0].Err, apply.ErrGoesOn, out.log())
	_, err = w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err)
	w.requireSetsDone(spec)
}

// Nor is it one of an upgrade of members, whether they are drained or not; so is the end of
// --timeout.
func TestSetsInterruptedUpgrade(t *testing.T) {
	for _, text := range []string{one, edited(one, "  drain: run-command", "  drain: none")} {
		for name, ends := range map[string]func(context.Context) (context.Context, func()){
			"interrupted": func(ctx context.Context) (context.Context, func()) { return context.WithCancel(ctx) },
			"over":        timeout,
		} {
			t.Run(name, func(t *testing.T) {
				w := begun(t, text, setSetup{})
				ctx, end := ends(t.Context())
				defer end()
				var asked atomic.Bool
				client := w.client(func(r *http.Request, serve func()) {
					if asked.Load() && strings.Contains(r.URL.Path, "/operations/") {
						end()
					}
					serve()
					if strings.HasSuffix(r.URL.Path, "/manualupgrade") {
						asked.Store(true)
					}
				})
				spec := setSpec(t, edited(text, "terminate_notice: 5m", "terminate_notice: 6m"))
				out, err := w.applySets(ctx, client, spec)
				require.ErrorIs(t, err, ctx.Err())
				require.Len(t, out.Failed, 1)
				require.ErrorIs(t, out.Failed[0].Err, apply.ErrGoesOn, out.log())
				_, err = w.applySets(t.Context(), w.client(nil), spec)
				require.NoError(t, err)
				w.requireSetsDone(spec)
			})
		}
	}
}

// timeout is a context whose time is over when its function is called.
func timeout(parent context.Context) (context.Context, func()) {
	c := &timed{Context: parent, done: make(chan struct{})}
	return c, sync.OnceFunc(func() { close(c.done) })
}

type timed struct {
	context.Context //nolint:containedctx // it is one itself

	done chan struct{}
}

func (c *timed) Done() <-chan struct{} { return c.done }

func (c *timed) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// Without evidence no set is switched to Rolling, and none repairs.
func TestSetsGate(t *testing.T) {
	for name, tt := range map[string]struct {
		setup setSetup
		text  string
		why   string
	}{
		"unhealthy": {setSetup{health: "Unhealthy"}, setFile, "3 of 3 running members are not Healthy"},
		"no member": {setSetup{}, edited(setFile, "capacity: 3", "capacity: 0"), "no member runs, which is no evidence"},
		"it hangs":  {setSetup{health: "missing"}, setFile, "3 of 3 running members are not Healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, tt.setup)
			spec := setSpec(t, tt.text)
			out, _ := w.applySets(t.Context(), w.client(nil), spec)
			for _, s := range w.took(0) {
				require.NotEqual(t, http.MethodPatch, s.method, "%s", s)
				require.NotContains(t, fmt.Sprint(s.body), "Rolling")
				require.False(t, has(s.body, "automaticRepairsPolicy"))
			}
			for _, plan := range out.Left {
				i := slices.IndexFunc(plan.Steps, func(s fleet.SetStep) bool { return s.Kind == fleet.StepPolicy })
				require.GreaterOrEqual(t, i, 0)
				require.Contains(t, plan.Steps[i].Why, tt.why)
			}
			if name != "no member" {
				require.Len(t, out.Failed, 3, "it was waited for, and not for ever")
			}

			out, err := w.applySets(t.Context(), w.client(nil), spec, func(_ *apply.SetApplier, o *fleet.OwnOptions) { o.WithoutEvidence = true })
			require.NoError(t, err, out.log())
			overridden := 0
			for _, made := range out.Written {
				if made.Step.Override != "" {
					overridden++
				}
			}
			require.Equal(t, 3, overridden)
			w.requireSmall()
		})
	}
}

// What a newer client has made survives: fields that nobody here knows, and protected
// settings.
func TestSetsUnknownSurvives(t *testing.T) {
	w := begun(t, one, setSetup{state: t.TempDir()})
	id := setID + "vmss-authz"
	body := w.read(id)
	p := body["properties"].(fleet.Document)
	profile := p["virtualMachineProfile"].(fleet.Document)
	body["futureTop"] = fleet.Document{"a": []any{1.0, fleet.Document{"b": "c"}}}
	p["futureProperty"] = "kept"
	p["automaticRepairsPolicy"].(fleet.Document)["futureRepairs"] = "kept"
	p["upgradePolicy"].(fleet.Document)["futurePolicy"] = fleet.Document{"x": true}
	profile["futureProfile"] = []any{fleet.Document{"deep": []any{"kept"}}}
	profile["scheduledEventsProfile"].(fleet.Document)["terminateNotificationProfile"].(fleet.Document)["futureNotice"] = "kept"
	card := profile["networkProfile"].(fleet.Document)["networkInterfaceConfigurations"].([]any)[0].(fleet.Document)
	card["properties"].(fleet.Document)["futureCard"] = "kept"
	extensions := profile["extensionProfile"].(fleet.Document)["extensions"].([]any)
	health := extensions[0].(fleet.Document)["properties"].(fleet.Document)
	health["futureExtension"], health["protectedSettings"] = "kept", fleet.Document{"hush": "hush"}
	health["settings"].(fleet.Document)["futureSetting"] = "kept"
	profile["extensionProfile"].(fleet.Document)["extensions"] = append(extensions, fleet.Document{"name": "script", "properties": fleet.Document{
		"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1", "settings": fleet.Document{"s": "t"},
		"protectedSettings": fleet.Document{"commandToExecute": "hush"}, "futureScript": "kept",
	}})
	w.other(http.MethodPut, id, body)
	setting := string(fleet.AutoscaleID(fleet.ResourceID(id)))
	auto := w.read(setting)
	ap := auto["properties"].(fleet.Document)
	auto["futureTop"], ap["futureProperty"] = "kept", fleet.Document{"a": "b"}
	usual := ap["profiles"].([]any)[0].(fleet.Document)
	usual["futureProfile"] = "kept"
	usual["rules"].([]any)[0].(fleet.Document)["metricTrigger"].(fleet.Document)["futureTrigger"] = "kept"
	w.other(http.MethodPut, setting, auto)
	before, beforeAuto := w.read(id), w.read(setting)
	require.Equal(t, "kept", before["properties"].(fleet.Document)["futureProperty"])

	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m", "after: 30m", "after: 40m", "interval: 5s", "interval: 6s",
		"max: 30", "max: 40", "above: 70", "above: 75", "owner: payments", "owner: cards"))
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	w.requireSmall()
	after, afterAuto := w.read(id), w.read(setting)

	// Undo what the file changed, and all is as before.
	was := func(path string) { copyAt(before, after, path) }
	for _, path := range []string{
		"etag", "tags", "properties.automaticRepairsPolicy.gracePeriod", "properties.virtualMachineProfile.timeCreated",
		"properties.virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile.notBeforeTimeout",
	} {
		was(path)
	}
	ext := func(d fleet.Document) fleet.Document {
		return d["properties"].(fleet.Document)["virtualMachineProfile"].(fleet.Document)["extensionProfile"].(fleet.Document)["extensions"].([]any)[0].(fleet.Document)
	}
	require.EqualValues(t, 6, ext(after)["properties"].(fleet.Document)["settings"].(fleet.Document)["intervalInSeconds"])
	copyAt(ext(before), ext(after), "properties.settings.intervalInSeconds")
	require.Equal(t, before, after)
	profileOf := func(d fleet.Document) fleet.Document {
		return d["properties"].(fleet.Document)["profiles"].([]any)[0].(fleet.Document)
	}
	require.Equal(t, "40", profileOf(afterAuto)["capacity"].(fleet.Document)["maximum"])
	copyAt(profileOf(beforeAuto), profileOf(afterAuto), "capacity.maximum")
	copyAt(profileOf(beforeAuto)["rules"].([]any)[0].(fleet.Document), profileOf(afterAuto)["rules"].([]any)[0].(fleet.Document), "metricTrigger.threshold")
	copyAt(beforeAuto, afterAuto, "tags")
	require.Equal(t, beforeAuto, afterAuto)

	w.requireSetsDone(spec)

	// Azure shows no protected settings; the simulator's store has them.
	require.NoError(t, w.Close())
	text, err := os.ReadFile(filepath.Join(w.state, "state.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"commandToExecute":"hush"`)
	require.Contains(t, string(text), `"hush":"hush"`)
}

func copyAt(from, to fleet.Document, path string) {
	first, rest, deep := strings.Cut(path, ".")
	if !deep {
		to[first] = from[first]
		return
	}
	copyAt(from[first].(fleet.Document), to[first].(fleet.Document), rest)
}

// Two applies at once: what one writes the other finds, and says so; nothing is made twice.
func TestSetsTwice(t *testing.T) {
	for name, change := range map[string][]string{
		"from nothing": nil,
		"a change":     {"terminate_notice: 5m", "terminate_notice: 6m", "max: 30", "max: 40"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, setSetup{})
			spec := setSpec(t, setFile)
			if change != nil {
				_, err := w.applySets(t.Context(), w.client(nil), spec)
				require.NoError(t, err)
				spec = setSpec(t, edited(setFile, change...))
			}
			outs := make([]setOutcome, 2)
			errs := make([]error, 2)
			var both sync.WaitGroup
			for i := range outs {
				both.Go(func() { outs[i], errs[i] = w.applySets(t.Context(), w.client(nil), spec) })
			}
			both.Wait()
			for i := range errs {
				if errs[i] != nil { // said, and not half-written
					t.Logf("%v\n%s", errs[i], outs[i].log())
					require.NotEmpty(t, outs[i].Failed)
				}
			}
			require.False(t, errs[0] != nil && errs[1] != nil, "%v\n%v", errs[0], errs[1])
			told := outs[0].log() + outs[1].log()
			require.Regexp(t, `again|waiting`, told)
			w.requireSmall()
			out, err := w.applySets(t.Context(), w.client(nil), spec)
			require.NoError(t, err, out.log())
			w.requireSetsDone(spec)
		})
	}
}

// A set that another tool changed since its plan was confirmed is planned again, and asked
// about; nothing of another plan is made without a yes.
func TestSetsChangedSince(t *testing.T) {
	for name, tt := range map[string]struct {
		body  fleet.Document
		yes   *bool
		wrote bool
		why   string
	}{
		"what the file says": {body: fleet.Document{"properties": fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": false}}}, why: "properties.automaticRepairsPolicy.enabled"},
		"no":                 {body: fleet.Document{"properties": fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": false}}}, yes: new(false), why: "properties.automaticRepairsPolicy.enabled"},
		"yes":                {body: fleet.Document{"properties": fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": false}}}, yes: new(true), wrote: true},
		"what it does not":   {body: fleet.Document{"tags": fleet.Document{"owner": "payments", "cost": "7"}}, wrote: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := begun(t, one, setSetup{})
			spec := setSpec(t, edited(one, "owner: payments", "owner: payments, team: a"))
			client := w.client(nil)
			read, err := apply.ReadSets(t.Context(), client, spec, setOptions(spec), nil)
			require.NoError(t, err)
			require.Len(t, read.Plans(spec)[0].Steps, 1)
			w.other(http.MethodPatch, setID+"vmss-authz", tt.body)
			before := len(w.took(0))
			asked := 0
			a := w.applier(client, spec)
			if tt.yes != nil {
				a.Confirm = func(_ context.Context, plan *fleet.SetPlan, why string) (bool, error) {
					asked++
					require.NotEmpty(t, plan.Steps)
					require.Contains(t, why, "automaticRepairsPolicy")
					return *tt.yes, nil
				}
			}
			_, err = a.Apply(t.Context(), read)
			if tt.wrote {
				require.NoError(t, err)
				w.requireSetsDone(spec)
				return
			}
			require.ErrorIs(t, err, apply.ErrChanged)
			require.ErrorContains(t, err, tt.why)
			require.Empty(t, w.took(before))
		})
	}
}

// A setting of autoscale is written whole, and has no ETag: what another tool wrote while
// somebody thought about the new plan stays.
func TestSetsChangedWhileAsked(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "max: 30", "max: 40"))
	setting := string(fleet.AutoscaleID(fleet.ResourceID(setID + "vmss-authz")))
	write := func(change func(fleet.Document)) {
		body := w.read(setting)
		change(body["properties"].(fleet.Document))
		w.other(http.MethodPut, setting, body)
	}
	client := w.client(nil)
	read, err := apply.ReadSets(t.Context(), client, spec, setOptions(spec), nil)
	require.NoError(t, err)
	write(func(p fleet.Document) { p["enabled"] = false })
	asked := 0
	a := w.applier(client, spec)
	a.Confirm = func(context.Context, *fleet.SetPlan, string) (bool, error) {
		asked++
		write(func(p fleet.Document) { p["notifications"] = []any{fleet.Document{"operation": "Scale"}} })
		return true, nil
	}
	_, err = a.Apply(t.Context(), read)
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.NotEmpty(t, w.read(setting)["properties"].(fleet.Document)["notifications"])
	w.requireSetsDone(spec)
}

// An autoscale setting of something else that has the name of ours is not written over.
func TestSetsAutoscaleNameTaken(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, one)
	setting := string(fleet.AutoscaleID(fleet.ResourceID(setID + "vmss-authz")))
	body := w.read(setting)
	body["properties"].(fleet.Document)["targetResourceUri"] = setID + "vmss-theirs"
	w.other(http.MethodPut, setting, body)
	before, is := len(w.took(0)), w.read(setting)
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err)
	require.Empty(t, w.took(before))
	require.Equal(t, is, w.read(setting))
	require.Contains(t, out.Left[0].Stopped()[0].Why, "the autoscale setting vmss-authz-autoscale scales vmss-theirs, and this set has none")

	// The same, while the rest of the set is written.
	spec = setSpec(t, edited(one, "owner: payments", "owner: cards"))
	out, err = w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err)
	require.Len(t, w.took(before), 1, out.log())
	require.Len(t, out.Left[0].Stopped(), 1)
}

// The hold of a rollout that began after the plan is seen before the first write.
func TestSetsHeld(t *testing.T) {
	w := newSetWorld(t, setSetup{})
	spec := setSpec(t, one)
	out, err := w.applySets(t.Context(), w.client(nil), spec, func(a *apply.SetApplier, _ *fleet.OwnOptions) {
		a.Held = func(context.Context, string) (string, error) { return "rollout 7 holds it", nil }
	})
	require.NoError(t, err)
	require.Empty(t, out.Written)
	require.Equal(t, fleet.StopRollout, out.Left[0].Steps[0].Cause)
	require.Empty(t, w.took(0))
	_, err = w.applySets(t.Context(), w.client(nil), spec, func(a *apply.SetApplier, _ *fleet.OwnOptions) {
		a.Held = func(context.Context, string) (string, error) { return "", errors.New("no journal") }
	})
	require.ErrorContains(t, err, "no journal")
	require.Empty(t, w.took(0))
}

// A rollout that begins while members are brought has the rest of them: nobody is drained
// any more.
func TestSetsHeldWhileBringing(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
	out, err := w.applySets(t.Context(), w.client(nil), spec, func(a *apply.SetApplier, _ *fleet.OwnOptions) {
		a.Held = func(context.Context, string) (string, error) {
			if len(w.ran("undrain")) > 0 {
				return "rollout 7 holds it", nil
			}
			return "", nil
		}
	})
	require.ErrorContains(t, err, "rollout 7 holds it", out.log())
	require.Len(t, w.ran("drain --for"), 1, out.log())
	require.Len(t, out.Written[1].Members, 1)
}

// A set that somebody deletes meanwhile is nobody's to wait for.
func TestSetsDeletedWhileBringing(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
	var once sync.Once
	client := w.client(func(r *http.Request, serve func()) {
		serve()
		if strings.HasSuffix(r.URL.Path, "/runCommand") {
			once.Do(func() { w.other(http.MethodDelete, setID+"vmss-authz", nil) })
		}
	})
	began := w.clock.Now()
	out, err := w.applySets(t.Context(), client, spec)
	require.ErrorContains(t, err, "it is not there any more", out.log())
	require.Less(t, w.clock.Now().Sub(began), 10*time.Minute, out.log())
	require.Empty(t, w.ran("undrain"))
}

// What another one does while a member is drained: a model that is not ours any more is
// brought to nobody, and a Run Command that is in the way is waited for.
func TestSetsMeanwhile(t *testing.T) {
	notice := fleet.Document{"terminateNotificationProfile": fleet.Document{"enable": true, "notBeforeTimeout": "PT9M"}}
	for name, tt := range map[string]struct {
		others func(w *setWorld)
		fault  arm.Fault
		err    string
		drains int
	}{
		"the model": {others: func(w *setWorld) {
			w.other(http.MethodPatch, setID+"vmss-authz", fleet.Document{"properties": fleet.Document{"virtualMachineProfile": fleet.Document{"scheduledEventsProfile": notice}}})
		}, err: "the model of its members is another one", drains: 1},
		"a Run Command": {fault: arm.Fault{Kind: arm.FaultError, Method: http.MethodPost, Path: "runCommand", Status: 409, Code: "Conflict", Message: "in progress", Count: 2}, drains: 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := begun(t, one, setSetup{})
			if tt.fault.Kind != "" {
				require.NoError(t, w.SetFault(tt.fault))
			}
			var once sync.Once
			client := w.client(func(r *http.Request, serve func()) {
				serve()
				if strings.HasSuffix(r.URL.Path, "/runCommand") && tt.others != nil {
					once.Do(func() { tt.others(w) })
				}
			})
			spec := setSpec(t, edited(one, "terminate_notice: 5m", "terminate_notice: 6m"))
			out, err := w.applySets(t.Context(), client, spec)
			require.Len(t, w.ran("drain --for"), tt.drains, out.log())
			require.Len(t, w.ran("undrain"), tt.drains, out.log())
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				require.ErrorIs(t, err, apply.ErrChanged)
				return
			}
			require.NoError(t, err, out.log())
			w.requireSetsDone(spec)
		})
	}
}

// A list that is not there for another reason than its resource group is not an empty one.
func TestSetsListNotThere(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, one)
	require.NoError(t, w.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodGet, Path: "autoscaleSettings", Status: 404, Code: "SubscriptionNotFound", Message: "no"}))
	_, err := apply.ReadSets(t.Context(), w.client(nil), spec, setOptions(spec), nil)
	require.ErrorContains(t, err, "SubscriptionNotFound")
}

// hundred is a file of n sets of one template.
func hundred(n int) string {
	head, tail, _ := strings.Cut(one, "scale_sets:\n")
	_, rollout, _ := strings.Cut(tail, "rollout:")
	defaults, _, _ := strings.Cut(strings.TrimPrefix(tail, "  vmss-authz:\n"), "rollout:")
	var text strings.Builder
	text.WriteString(head + "scale_sets:\n")
	for i := range n {
		name := "vmss-authz"
		if i > 0 {
			name = fmt.Sprintf("vmss-%03d", i)
		}
		text.WriteString("  " + name + ":\n" + defaults)
	}
	return text.String() + "rollout:" + rollout
}

// The plan of a hundred sets costs at most two requests a set, and the pages of the lists.
func TestSetsHundred(t *testing.T) {
	text := hundred(100)
	w := begun(t, text, setSetup{})
	spec := setSpec(t, text)
	w.gets.Store(0)
	lists := w.lists.Swap(0)
	require.Positive(t, lists)
	runtime.GC()
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	read, err := apply.ReadSets(t.Context(), w.reader, spec, setOptions(spec), nil)
	require.NoError(t, err)
	plans := read.Plans(spec)
	runtime.GC()
	runtime.ReadMemStats(&to)
	require.Len(t, plans, 100)
	for i := range plans {
		require.Empty(t, plans[i].Steps, plans[i].Name)
	}
	t.Logf("%d requests beside %d pages of lists; %d kB kept", w.gets.Load()-w.lists.Load(), w.lists.Load(), (int64(to.HeapAlloc)-int64(from.HeapAlloc))/1024)
	require.LessOrEqual(t, w.gets.Load()-w.lists.Load(), int64(2*100+10))
	require.Less(t, int64(to.HeapAlloc)-int64(from.HeapAlloc), int64(100<<20))
	runtime.KeepAlive(read)
}
