package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// A plan is what `fleetctl rollout plan -o json` says of the worst.
type plan struct {
	Waves []plannedWave `json:"waves"`
}

type plannedWave struct {
	Name  string       `json:"name"`
	Worst int          `json:"worst"`
	Sets  []plannedSet `json:"scale_sets"`
}

type plannedSet struct {
	Name  string `json:"name"`
	Worst int    `json:"worst"`
}

// plan plans a rollout.
func (w *world) plan(ctx context.Context, version string) (plan, error) {
	var p plan
	text, err := w.run(ctx, 0, "rollout", "plan", version, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &p)
	}
	return p, err
}

type wave struct {
	Name string `json:"name"`
	Step string `json:"step"`
}

// A view is what `fleetctl rollout show -o json` says.
type view struct {
	Version  string    `json:"image_version"`
	Phase    string    `json:"phase"`
	Why      string    `json:"why"`
	Observed time.Time `json:"observed"`
	Waves    []wave    `json:"waves"`
	Ran      []struct {
		Set    string `json:"set"`
		Member string `json:"member"`
		Why    string `json:"why"`
		Node   string `json:"node"`
	} `json:"ran"`
	Left   []json.RawMessage `json:"left"`
	Owed   []json.RawMessage `json:"owed"`
	Events []struct {
		Kind   string `json:"kind"`
		Set    string `json:"set"`
		Step   string `json:"step"`
		Class  string `json:"class"`
		Why    string `json:"why"`
		Action *struct {
			Do      string   `json:"do"`
			Members []string `json:"members"`
		} `json:"action"`
		Result *struct {
			Outcome string `json:"outcome"`
		} `json:"result"`
	} `json:"events"`
}

// show is a rollout as `fleetctl rollout show` tells it.
func (w *world) show(ctx context.Context, id string) (view, error) {
	var v view
	text, err := w.run(ctx, 0, "rollout", "show", id, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	return v, err
}

// step is the step of a wave.
func (v *view) step(wave string) string {
	for _, w := range v.Waves {
		if w.Name == wave {
			return w.Step
		}
	}
	return ""
}

// did counts the actions of a kind that were done.
func (v *view) did(do string) int {
	n := 0
	for _, e := range v.Events {
		if e.Kind == "ended" && e.Action != nil && e.Action.Do == do && e.Result != nil && e.Result.Outcome == "done" {
			n++
		}
	}
	return n
}

// disks is the simulator's own record of which member had which version, and when.
func (w *world) disks(ctx context.Context) ([]arm.Disk, error) {
	var told struct {
		Disks []arm.Disk `json:"disks"`
	}
	err := stage.Ask(ctx, http.MethodGet, w.control+"/v1/disks", nil, &told)
	return told.Disks, err
}

// nameOf is the last part of an id.
func nameOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// blast compares whom `rollout show` lists with the simulator's record of who had the
// version, and that with the worst that the plan predicted. It returns these members.
func (w *world) blast(ctx context.Context, v *view, p *plan) ([]string, error) {
	disks, err := w.disks(ctx)
	if err != nil {
		return nil, err
	}
	listed, really := []string{}, []string{}
	for _, r := range v.Ran {
		listed = append(listed, r.Set+"/"+r.Member)
	}
	for _, d := range disks {
		if d.Version == v.Version {
			really = append(really, nameOf(d.Set)+"/"+d.Member)
		}
	}
	slices.Sort(listed)
	slices.Sort(really)
	listed, really = slices.Compact(listed), slices.Compact(really)
	if !slices.Equal(listed, really) {
		return nil, fmt.Errorf("rollout show lists other members than had %s:\nit lists      %v\nreally it was %v", v.Version, listed, really)
	}
	return really, v.exceeded(disks, p)
}

// exceeded says, as an error, where more members had the version at one moment than the
// plan predicted for the waves that have begun.
func (v *view) exceeded(disks []arm.Disk, p *plan) error {
	worst := make(map[string]int)
	for _, wave := range p.Waves {
		for _, s := range wave.Sets {
			if v.step(wave.Name) != "" {
				worst[s.Name] = max(worst[s.Name], s.Worst)
			}
		}
	}
	for _, at := range disks {
		n := 0
		for _, d := range disks {
			if d.Version == v.Version && d.Set == at.Set && !d.From.After(at.From) && (d.Until.IsZero() || d.Until.After(at.From)) {
				n++
			}
		}
		if set := nameOf(at.Set); n > worst[set] {
			return fmt.Errorf("%d members of %s had %s at %s, and the plan predicted at most %d", n, set, v.Version, at.From, worst[set])
		}
	}
	return nil
}

// requests are those that the simulator has served, by its own record.
func (w *world) requests(ctx context.Context) ([]arm.Request, error) {
	var told struct {
		Requests []arm.Request `json:"requests"`
	}
	err := stage.Ask(ctx, http.MethodGet, w.control+"/v1/requests", nil, &told)
	return told.Requests, err
}

// writes are the requests that were no reads.
func (w *world) writes(ctx context.Context) ([]arm.Request, error) {
	all, err := w.requests(ctx)
	return slices.DeleteFunc(all, func(r arm.Request) bool {
		return r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasPrefix(r.Path, "/blob/")
	}), err
}

// An entry is one of Azure's activity log.
type entry struct {
	Operation string
	Status    string
	Caller    string
	Resource  string
	At        time.Time
}

// activities are the entries of the activity log whose operation ends in one of some
// words, the oldest first.
func (w *world) activities(ctx context.Context, operations ...string) ([]entry, error) {
	type value struct {
		Value string `json:"value"`
	}
	var all []entry
	next := w.endpoint + "/subscriptions/" + arm.DefaultSubscription + "/providers/microsoft.insights/eventtypes/management/values" +
		"?api-version=2015-04-01&$filter=eventTimestamp%20ge%20'2000-01-01T00:00:00Z'"
	for next != "" {
		var page struct {
			Value []struct {
				Operation value     `json:"operationName"`
				Status    value     `json:"status"`
				Caller    string    `json:"caller"`
				Resource  string    `json:"resourceId"`
				At        time.Time `json:"eventTimestamp"`
			} `json:"value"`
			Next string `json:"nextLink"`
		}
		if err := stage.Ask(ctx, http.MethodGet, next, nil, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Value {
			if slices.ContainsFunc(operations, func(o string) bool { return strings.HasSuffix(strings.ToLower(e.Operation.Value), o) }) {
				all = append(all, entry{e.Operation.Value, e.Status.Value, e.Caller, e.Resource, e.At})
			}
		}
		next = page.Next
	}
	slices.Reverse(all)
	return all, nil
}

// A drained is what an agent's own drain plan wrote down when it ran.
type drained struct {
	at       time.Time
	cause    string    // operator, or scheduled-event
	event    string    // its type
	deadline time.Time // zero: none
}

// drains are all drains of the agents of this act, by their own words.
func (i *incident) drains() ([]drained, error) {
	data, err := os.ReadFile(filepath.Join(i.hsm.files, "drains"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nobody has drained
	}
	if err != nil {
		return nil, err
	}
	var all []drained
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) < 3 {
			return nil, fmt.Errorf("an agent wrote %q of its drain", line)
		}
		seconds, err := strconv.ParseFloat(words[0], 64)
		if err != nil {
			return nil, err
		}
		d := drained{at: time.UnixMicro(int64(seconds * 1e6)), cause: words[1]}
		if len(words) == 4 {
			d.event = words[2]
		}
		if last := words[len(words)-1]; last != "-" {
			if d.deadline, err = time.Parse(time.RFC3339Nano, last); err != nil {
				return nil, err
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// keptAway asserts that a version is kept from everybody after a halt: it is marked
// failed, is latest nowhere, no model asks for it, no member has it, and nothing is left
// to do, drained or suspended.
func (w *world) keptAway(ctx context.Context, v *view) error {
	version, err := w.version(ctx, v.Version)
	if err != nil {
		return err
	}
	if err := holds(v.Phase == "halted" && len(v.Left) == 0 && len(v.Owed) == 0, "the rollout has ended in order: it is %s, left %s, owed %s", v.Phase, v.Left, v.Owed); err != nil {
		return err
	}
	if err := holds(version.Tags["fleetctl-failed"] != "", "%s is marked failed: its tags are %v", v.Version, version.Tags); err != nil {
		return err
	}
	for region := range strings.FieldsSeq(version.regions()) {
		if err := holds(strings.HasSuffix(region, "-"), "%s is demoted in %s", v.Version, region); err != nil {
			return err
		}
	}
	for _, set := range []string{east, west} {
		model, err := w.model(ctx, set)
		if err != nil {
			return err
		}
		if err := holds(model.version() != v.Version, "the model of %s does not ask for %s", set, v.Version); err != nil {
			return err
		}
	}
	disks, err := w.disks(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if err := holds(d.Version != v.Version || !d.Until.IsZero(), "%s does not run %s any more", d.Member, v.Version); err != nil {
			return err
		}
	}
	return holds(v.did("suspend-repairs") == v.did("resume-repairs"), "repairs were resumed as often as they were suspended: %d and %d", v.did("resume-repairs"), v.did("suspend-repairs"))
}
