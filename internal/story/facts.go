package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// counts is how many members each scale set of the file has.
var counts = map[string]int{"vmss-authz": 3, "vmss-authz-west": 3, "vmss-batch": 10}

// rolling is the set that the platform upgrades, whose mode is Rolling in the end.
const rolling = "vmss-authz-west"

// fillings are what an operator changes in the file that init writes.
var fillings = []struct{ why, old, new string }{
	{"the network belongs to another group", "resourceGroups/rg-pay-prod/providers/Microsoft.Network", "resourceGroups/rg-network/providers/Microsoft.Network"},
	{"the west is upgraded by the platform, so that it has a mode to switch, and tells its members of it", "    location: westus3\n", "    location: westus3\n    upgrade: {driver: platform-rolling, order: off, pause: 0s}\n    os_image_notification: true\n"},
	{"waves soak for a minute and not for hours, at any hour of any day, and batches follow each other at once", "soak: 30m", "soak: 1m"},
	{"", "soak: 4h", "soak: 1m"},
	{"", "soak: 24h, approve: true", "soak: 1m"},
	{"", "    window: {days: [mon, tue, wed, thu], from: \"09:00\", to: \"16:00\", timezone: Europe/Berlin}\n", ""},
	{"", "pause: 2m, order: zone", "pause: 0s, order: zone"},
	{"simulated time is faster than an agent starts", "boot_within: 90s", "boot_within: 1h"},
	{"", "healthy_within: 10m", "healthy_within: 2h"},
	{"", "stuck: 30m", "stuck: 6h"},
}

// filledIn changes the file as an operator would.
func (s *story) filledIn(context.Context) error {
	file := filepath.Join(s.dir, "fleet.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	filled, err := fill(string(text))
	if err != nil {
		return err
	}
	s.Note("What is ours is filled in: %s.", strings.Join(reasons(), "; "))
	return os.WriteFile(file, []byte(filled), 0o600)
}

// fill changes a text as the fillings say, all of which have to be of use.
func fill(text string) (string, error) {
	for _, f := range fillings {
		if !strings.Contains(text, f.old) {
			return "", fmt.Errorf("the file that init writes has no %q", f.old)
		}
		text = strings.ReplaceAll(text, f.old, f.new)
	}
	return text, nil
}

// reasons say why the file is changed.
func reasons() []string {
	var list []string
	for _, f := range fillings {
		if f.why != "" {
			list = append(list, f.why)
		}
	}
	return list
}

// holds is an error that says what does not hold, unless it does.
func holds(is bool, format string, args ...any) error {
	if is {
		return nil
	}
	return fmt.Errorf("this does not hold: "+format, args...)
}

// get reads a resource of Azure.
func (s *story) get(ctx context.Context, id, query string, into any) error {
	return stage.Ask(ctx, http.MethodGet, s.azure+id+"?api-version=2025-04-01"+query, nil, into)
}

// names are those of what Azure lists.
func (s *story) names(ctx context.Context, list string) ([]string, error) {
	var page struct {
		Value []struct {
			Name string `json:"name"`
		} `json:"value"`
	}
	if err := s.get(ctx, list, "", &page); err != nil {
		return nil, err
	}
	found := make([]string, 0, len(page.Value))
	for _, r := range page.Value {
		found = append(found, r.Name)
	}
	slices.Sort(found)
	return found, nil
}

// foundation looks at what the first apply has made, and at what it has not.
func (s *story) foundation(ctx context.Context) error {
	var definition struct {
		Properties struct {
			Generation string `json:"hyperVGeneration"`
		} `json:"properties"`
	}
	if err := s.get(ctx, image, "", &definition); err != nil {
		return err
	}
	made, err := s.names(ctx, strings.TrimSuffix(sets, "/"))
	if err != nil {
		return err
	}
	if err := holds(definition.Properties.Generation == "V2", "the definition is there: %+v", definition); err != nil {
		return err
	}
	if err := holds(len(made) == 0, "no scale set is there: %v", made); err != nil {
		return err
	}
	s.Fact("gallery and definition are there, the builder has its roles, and no scale set was made without an image")
	return nil
}

// version is an image version as Azure shows it.
type version struct {
	Properties struct {
		Publishing struct {
			Excluded bool `json:"excludeFromLatest"`
			Regions  []struct {
				Name     string `json:"name"`
				Excluded bool   `json:"excludeFromLatest"`
			} `json:"targetRegions"`
		} `json:"publishingProfile"`
		Replication struct {
			Summary []struct {
				Region string `json:"region"`
				State  string `json:"state"`
			} `json:"summary"`
		} `json:"replicationStatus"`
	} `json:"properties"`
}

// offered are the regions in which a version may be the latest.
func (v *version) offered() []string {
	var list []string
	for _, r := range v.Properties.Publishing.Regions {
		if !r.Excluded && !v.Properties.Publishing.Excluded {
			list = append(list, normal(r.Name))
		}
	}
	slices.Sort(list)
	return list
}

// normal is a region's name as the API has it: Azure answers with "West US 3", too.
func normal(region string) string {
	return strings.ToLower(strings.ReplaceAll(region, " ", ""))
}

func (s *story) version(ctx context.Context, name string) (version, error) {
	var v version
	err := s.get(ctx, image+"/versions/"+name, "&$expand=ReplicationStatus", &v)
	return v, err
}

// baked looks at a version that was baked.
func (s *story) baked(ctx context.Context, name string) error {
	v, err := s.version(ctx, name)
	if err != nil {
		return err
	}
	replicated := 0
	for _, r := range v.Properties.Replication.Summary {
		if r.State == "Completed" {
			replicated++
		}
	}
	if err := holds(replicated == 2 && len(v.offered()) == 0, "%s is in two regions and offered in none: %+v", name, v); err != nil {
		return err
	}
	left, err := s.names(ctx, strings.TrimSuffix(sets, "/"))
	if err != nil {
		return err
	}
	for _, set := range left {
		if err := holds(counts[set] > 0, "the set of the boot test is gone: %s", set); err != nil {
			return err
		}
	}
	s.Fact("%s is in both regions, has booted, is offered to nobody, and the set that it booted in is gone", name)
	return nil
}

// created looks at how the scale sets were made, write by write, and at what they are.
func (s *story) created(ctx context.Context) error {
	for _, set := range slices.Sorted(maps.Keys(counts)) {
		if err := s.writesOf(set); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
		var live struct {
			Properties struct {
				Upgrade struct {
					Mode string `json:"mode"`
				} `json:"upgradePolicy"`
				Repairs struct {
					Enabled bool `json:"enabled"`
				} `json:"automaticRepairsPolicy"`
			} `json:"properties"`
		}
		if err := s.get(ctx, sets+set, "", &live); err != nil {
			return err
		}
		want := "Manual"
		if set == rolling {
			want = "Rolling"
		}
		if err := holds(live.Properties.Upgrade.Mode == want && live.Properties.Repairs.Enabled, "%s is in mode %s, with repairs: %+v", set, want, live); err != nil {
			return err
		}
	}
	s.Fact("each set was put once, if there was none (If-None-Match: *), in mode Manual and without repairs")
	s.Fact("one PATCH each turned repairs on, and %s to Rolling; right before it all members were Healthy on the image", rolling)
	settings, err := s.names(ctx, subscription+"/resourceGroups/rg-pay-prod/providers/Microsoft.Insights/autoscaleSettings")
	if err != nil {
		return err
	}
	if err := holds(len(settings) == 1, "one autoscale setting is there: %v", settings); err != nil {
		return err
	}
	s.Fact("autoscale came last: %s", settings[0])
	return s.runs(ctx, "1.8.0")
}

// writesOf holds the writes of the last command to what the making of a set may write.
func (s *story) writesOf(set string) error {
	var puts, patches []write
	for _, w := range s.recorder.all()[s.since:] {
		switch {
		case !strings.EqualFold(w.path, sets+set) || w.status >= http.StatusMultipleChoices:
		case w.method == http.MethodPut:
			puts = append(puts, w)
		case w.method == http.MethodPatch:
			patches = append(patches, w)
		}
	}
	if err := holds(len(puts) == 1 && len(patches) == 1, "one PUT, one PATCH: %d, %d", len(puts), len(patches)); err != nil {
		return err
	}
	put, patch := puts[0], patches[0]
	if err := holds(put.ifNew && put.at("properties.upgradePolicy.mode") == "Manual" && put.at("properties.automaticRepairsPolicy") == nil,
		"it was made if there was none, in mode Manual, without repairs: %v", put.body); err != nil {
		return err
	}
	if err := holds(patch.at("properties.automaticRepairsPolicy.enabled") == true && patch.at("sku") == nil && patch.at("properties.virtualMachineProfile.storageProfile") == nil,
		"the PATCH has repairs, and neither a capacity nor an image: %v", patch.body); err != nil {
		return err
	}
	if err := healthyOn(patch.members, counts[set], "1.8.0"); err != nil {
		return fmt.Errorf("when it was patched: %w", err)
	}
	mode := patch.at("properties.upgradePolicy.mode")
	return holds((mode == "Rolling") == (set == rolling), "the mode is switched where the file says so: %v", mode)
}

// nothingWritten looks at what the last command wrote.
func (s *story) nothingWritten(context.Context) error {
	writes := s.recorder.all()[s.since:]
	if err := holds(len(writes) == 0, "nothing was written: %+v", writes); err != nil {
		return err
	}
	s.Fact("not one request of it was a write")
	return nil
}

// members returns the members of a scale set.
func (s *story) members(ctx context.Context, set string) ([]stage.Member, error) {
	var list struct {
		Value []stage.Member `json:"value"`
	}
	filter := url.QueryEscape("'virtualMachineScaleSet/id' eq '" + sets + set + "'")
	err := s.get(ctx, compute+"virtualMachines", "&$expand=instanceView&$filter="+filter, &list)
	return list.Value, err
}

// healthyOn says which members are not so many, Healthy, or on a version.
func healthyOn(list []stage.Member, count int, version string) error {
	if err := holds(len(list) == count, "it has %d members: %d", count, len(list)); err != nil {
		return err
	}
	for i := range list {
		m := &list[i]
		if err := holds(m.Version() == version && m.Health() == "healthy",
			"%s is Healthy on %s: %s, %s", m.Name, version, m.Health(), m.Version()); err != nil {
			return err
		}
	}
	return nil
}

// runs looks at what every member runs, and at its health.
func (s *story) runs(ctx context.Context, version string) error {
	all := 0
	for set, count := range counts {
		list, err := s.members(ctx, set)
		if err != nil {
			return err
		}
		if err := healthyOn(list, count, version); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
		all += count
	}
	s.Fact("all %d members are Healthy on %s, as Azure shows each of them", all, version)
	return nil
}

// rolledOut looks at who ran the new version: as fleetctl tells it, and as the simulator
// has recorded it.
func (s *story) rolledOut(ctx context.Context) error {
	var told struct {
		Disks []arm.Disk `json:"disks"`
	}
	if err := stage.Ask(ctx, http.MethodGet, s.control+"/v1/disks", nil, &told); err != nil {
		return err
	}
	var really, listed []string
	for _, d := range told.Disks {
		if name := d.Set[strings.LastIndexByte(d.Set, '/')+1:]; d.Version == "1.8.1" && counts[name] > 0 {
			really = append(really, name+"/"+d.Member)
		}
	}
	text, err := s.fleetctl(ctx, 0, "rollout", "show", "1", "-o", "json")
	if err != nil {
		return err
	}
	var view struct {
		Ran []struct{ Set, Member string } `json:"ran"`
	}
	if err := json.Unmarshal([]byte(text), &view); err != nil {
		return err
	}
	for _, r := range view.Ran {
		listed = append(listed, r.Set+"/"+r.Member)
	}
	slices.Sort(really)
	slices.Sort(listed)
	if err := holds(slices.Equal(really, listed) && len(really) == 16, "rollout show lists who ran it: %v, and really %v", listed, really); err != nil {
		return err
	}
	s.Fact("rollout show lists the 16 members that ran it, and the simulator's own record has the same")
	if err := s.drained(really); err != nil {
		return err
	}
	v, err := s.version(ctx, "1.8.1")
	if err != nil {
		return err
	}
	if err := holds(slices.Equal(v.offered(), []string{"eastus", "westus3"}), "it is promoted: %+v", v); err != nil {
		return err
	}
	s.Fact("1.8.1 is the latest in both regions from now on")
	return nil
}

// drained looks at whom fleetctl has drained by Run Command: those that it has upgraded
// itself.
func (s *story) drained(members []string) error {
	var asked []string
	for _, w := range s.recorder.all()[s.since:] {
		vm, runs := strings.CutSuffix(w.path, "/runCommand")
		if script, _ := w.body["script"].([]any); runs && strings.Contains(fmt.Sprint(script...), "fleet-agent drain") {
			asked = append(asked, vm[strings.LastIndexByte(vm, '/')+1:])
		}
	}
	slices.Sort(asked)
	ours := 0
	for _, m := range members {
		set, name, _ := strings.Cut(m, "/")
		if err := holds(slices.Contains(asked, name) == (set != rolling), "%s was drained before its upgrade: %v", m, asked); err != nil {
			return err
		}
		if set != rolling {
			ours++
		}
	}
	s.Fact("%d were drained by their own agents first; %s was for the platform to upgrade", ours, rolling)
	return nil
}
