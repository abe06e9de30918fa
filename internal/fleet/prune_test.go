package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const pruneDefinition = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/app"

// pruneLook is a look at ten versions of old age, 1.0.0 to 1.9.0, of which nothing
// needs any but the newest, which is latest and the highest.
func pruneLook() PruneLook {
	now := time.Date(2026, 7, 9, 3, 0, 0, 0, time.UTC)
	d := Definition{ID: pruneDefinition}
	for i := range 10 {
		name := fmt.Sprintf("1.%d.0", i)
		d.Versions = append(d.Versions, Version{
			ID: ResourceID(pruneDefinition + "/versions/" + name), Name: name, Provisioning: Succeeded, Published: now.AddDate(0, 0, -30), Tags: map[string]string{},
			Regions: []Region{{Name: "eastus", State: Replicated}},
		})
	}
	return PruneLook{
		Spec: &Spec{Name: "pay", Subscription: "s", ResourceGroup: "rg", Gallery: &GallerySpec{Name: "g", Image: DefinitionSpec{Name: "app"}}},
		Keep: 1, Now: now, Fleet: Fleet{Galleries: []Gallery{{ID: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g", Definitions: []Definition{d}}}},
	}
}

// pruneSet is a scale set whose model asks for version, or for latest, and one of whose
// members runs another.
func pruneSet(version, runs string) Set {
	reference := func(version string) ImageReference {
		if version == "" {
			return ImageReference{ID: strings.ToUpper(pruneDefinition)}
		}
		return ImageReference{ID: strings.ToUpper(pruneDefinition) + "/versions/" + version, ExactVersion: version}
	}
	s := Set{Model: ScaleSet{ID: "/subscriptions/s/resourceGroups/x/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-a", Location: "eastus", Flexible: true, Image: reference(version)}}
	if runs != "" {
		s.Members = []Member{{Name: "a_1", Image: reference(runs)}}
	}
	return s
}

func pruneTemplate(version, provisioning, run string, more ...any) Document {
	d := Document{
		"id":   "/subscriptions/s/resourceGroups/rg/providers/Microsoft.VirtualMachineImages/imageTemplates/App-" + version,
		"tags": Document{TagFleet: "pay"},
		"properties": Document{
			"provisioningState": provisioning, "lastRunStatus": Document{"runState": run, "endTime": "2026-07-01T00:00:00Z"},
		},
	}
	for i := 0; i+1 < len(more); i += 2 {
		d[more[i].(string)] = more[i+1]
	}
	return d
}

// Each reason for which something stays, alone: without it, it goes.
func TestPruneReasons(t *testing.T) {
	version := func(l *PruneLook, name string) *Version { return l.Fleet.Galleries[0].Definitions[0].Version(name) }
	for name, tt := range map[string]struct {
		change func(l *PruneLook)
		item   string // that stays
		why    string // "" : it goes
	}{
		"nothing":           {func(*PruneLook) {}, "1.4.0", ""},
		"newest":            {func(l *PruneLook) { l.Keep = 6 }, "1.4.0", "among the newest 6"},
		"one older":         {func(l *PruneLook) { l.Keep = 5 }, "1.4.0", ""},
		"model":             {func(l *PruneLook) { l.Fleet.Sets = []Set{pruneSet("1.4.0", "")} }, "1.4.0", "the model of vmss-a asks for it"},
		"member":            {func(l *PruneLook) { l.Fleet.Sets = []Set{pruneSet("1.9.0", "1.4.0")} }, "1.4.0", "run by 1 of the members of vmss-a"},
		"other model":       {func(l *PruneLook) { l.Fleet.Sets = []Set{pruneSet("1.9.0", "1.5.0")} }, "1.4.0", ""},
		"not Flexible":      {func(l *PruneLook) { l.Fleet.Sets = []Set{pruneSet("", "")}; l.Fleet.Sets[0].Model.Flexible = false }, "1.4.0", "what the members of vmss-a run is not known: it is not Flexible"},
		"latest":            {excludeAbove("1.4.0"), "1.4.0", "it is latest in eastus"},
		"under latest":      {excludeAbove("1.5.0"), "1.4.0", ""},
		"latest unknown":    {func(l *PruneLook) { version(l, "1.9.0").Regions[0].State = "" }, "1.4.0", "Azure does not say what is latest in eastus"},
		"unknown, excluded": {func(l *PruneLook) { version(l, "1.9.0").Regions[0].State = ""; version(l, "1.4.0").Excluded = true }, "1.4.0", ""},
		"last good":         {func(l *PruneLook) { version(l, "1.4.0").Tags[TagGood] = "true" }, "1.4.0", "it is the last good one"},
		"older good":        {func(l *PruneLook) { version(l, "1.4.0").Tags[TagGood] = ""; version(l, "1.5.0").Tags[TagGood] = "" }, "1.4.0", ""},
		"good under failed": {func(l *PruneLook) {
			version(l, "1.4.0").Tags[TagGood] = ""
			version(l, "1.5.0").Tags = map[string]string{TagGood: "", TagFailed: ""}
		}, "1.4.0", "it is the last good one"},
		"of a rollout":     {func(l *PruneLook) { l.Hold = held(); l.Hold.Version = "1.4.0" }, "1.4.0", "rollout 7 brings it"},
		"its way back":     {func(l *PruneLook) { l.Hold = held(); l.Hold.Sets[0].LastGood = "1.4.0" }, "1.4.0", "rollout 7 goes back to it"},
		"of another image": {func(l *PruneLook) { l.Hold = held(); l.Hold.Version, l.Hold.Definition = "1.4.0", otherKind }, "1.4.0", ""},
		"young":            {func(l *PruneLook) { version(l, "1.4.0").Published = l.Now.Add(-23 * time.Hour) }, "1.4.0", "it is younger than a day"},
		"age unknown":      {func(l *PruneLook) { version(l, "1.4.0").Published = time.Time{} }, "1.4.0", "Azure does not say how old it is"},
		"being changed":    {func(l *PruneLook) { version(l, "1.4.0").Provisioning = Updating }, "1.4.0", "its provisioning state is Updating"},
		"failed":           {func(l *PruneLook) { version(l, "1.4.0").Provisioning = Failed }, "1.4.0", ""},
		"not a number":     {func(l *PruneLook) { version(l, "1.4.0").Name = "latest" }, "latest", "its name is not one of a version"},
		"counted":          {func(l *PruneLook) { l.Spec.Bake = &BakeSpec{Version: "1.4.{n}"} }, "1.4.0", "it has the highest number: the next bake counts on from it"},
		"build runs":       {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, "Running")} }, "1.4.0", "its image template is Running"},
		"template":         {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, Succeeded)} }, "App-1.4.0", ""},
		"template runs":    {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, "Canceling")} }, "App-1.4.0", "it is Canceling"},
		"template is made": {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.0", "Creating", "")} }, "App-1.4.0", "it is Creating"},
		"template not ours": {func(l *PruneLook) {
			l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, Succeeded, "tags", nil)}
		}, "App-1.4.0", "it has no tag fleetctl-fleet: pay"},
		"template waits":   {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.7", Succeeded, "")} }, "App-1.4.7", "its bake is not over: there is no version 1.4.7"},
		"template failed":  {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("1.4.7", Failed, "")} }, "App-1.4.7", ""},
		"template highest": {func(l *PruneLook) { l.Templates = []Document{pruneTemplate("2.0.0", Failed, "")} }, "App-2.0.0", "it has the highest number: the next bake counts on from it"},
		"template highest of the counted": {func(l *PruneLook) {
			l.Spec.Bake = &BakeSpec{Version: "1.4.{n}"}
			l.Templates = []Document{pruneTemplate("1.4.7", Failed, "")}
		}, "App-1.4.7", "it has the highest number: the next bake counts on from it"},
		"template, offered": {func(l *PruneLook) {
			l.Now = time.Date(2026, 7, 1, 5, 0, 0, 0, time.UTC)
			l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, Succeeded)}
		}, "App-1.4.0", ""},
		"template, undecided": {func(l *PruneLook) {
			l.Now = time.Date(2026, 7, 1, 5, 0, 0, 0, time.UTC)
			version(l, "1.4.0").Excluded = true
			l.Templates = []Document{pruneTemplate("1.4.0", Succeeded, Succeeded)}
		}, "App-1.4.0", "its bake may be under way: the version neither passed nor failed"},
	} {
		t.Run(name, func(t *testing.T) {
			l := pruneLook()
			tt.change(&l)
			view, err := Prune(l)
			require.NoError(t, err)
			list, other := view.Kept, view.Delete
			if tt.why == "" {
				list, other = other, list
			}
			found := 0
			for _, item := range list {
				if item.Name == tt.item {
					found++
					if tt.why != "" {
						require.Equal(t, []string{tt.why}, item.Why)
					}
				}
			}
			require.Equal(t, 1, found, "%v", view)
			for _, item := range other {
				require.NotEqual(t, tt.item, item.Name)
			}
			item, deletable := view.Find(ResourceID(strings.ToLower(string(list[0].ID))))
			require.Equal(t, list[0].Name, item.Name)
			require.Equal(t, tt.why == "", deletable)
			for _, kept := range view.Delete {
				require.NotEqual(t, "1.9.0", kept.Name, "the highest stays in any case")
			}
		})
	}
}

// excludeAbove excludes all versions above one.
func excludeAbove(name string) func(*PruneLook) {
	return func(l *PruneLook) {
		d := &l.Fleet.Galleries[0].Definitions[0]
		for i := range d.Versions {
			d.Versions[i].Excluded = CompareVersions(d.Versions[i].Name, name) > 0
		}
	}
}

func TestPruneWithoutImage(t *testing.T) {
	l := pruneLook()
	l.Fleet.Galleries = nil
	_, err := Prune(l)
	require.EqualError(t, err, "there is no image app in gallery g")
	item, _ := (&PruneView{}).Find("x")
	require.Nil(t, item)
}
