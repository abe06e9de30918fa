package arm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// TestAnswersKeepToTheTypes judges what the scenarios serve by the types that Azure
// publishes: each scale set, extension, member, gallery, version, setting and template,
// as it is listed and as it is read.
func TestAnswersKeepToTheTypes(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	const (
		compute   = "2026-04-01"
		galleries = "2025-12-03"
		insights  = "2022-10-01"
		builder   = "2024-02-01"
	)
	judged := 0
	for _, name := range []string{"article", "bake", "rollout", "traps"} {
		w := example(t, name)
		w.clock.Advance(1)
		judge := func(kind, version, path string) {
			t.Helper()
			for _, o := range w.all(path + "?api-version=" + version) {
				bodies := []object{o, w.get(str(o, "id") + "?api-version=" + version).want(200).body}
				if kind == vmType || kind == instanceType {
					bodies = append(bodies, w.get(str(o, "id")+"?$expand=instanceView&api-version="+version).want(200).body)
				}
				if kind == versionType {
					bodies = append(bodies, w.get(str(o, "id")+"?$expand=ReplicationStatus&api-version="+version).want(200).body)
				}
				for _, body := range bodies {
					judged++
					for _, f := range types.Check(kind, version, body, armtypes.Response) {
						if name == "traps" && meant(f.String()) {
							continue
						}
						t.Errorf("%s %s: %s", name, str(o, "id"), f)
					}
				}
			}
		}
		judge(setType, compute, group+"/providers/"+setType)
		judge(vmType, compute, vms)
		for _, set := range w.all(group + "/providers/" + setType) {
			judge(setExtType, compute, str(set, "id")+"/extensions")
			if !strings.Contains(str(set, "name"), "stale") { // one has vanished
				judge(instanceType, compute, str(set, "id")+"/virtualMachines")
			}
			if r := w.get(str(set, "id") + "/rollingUpgrades/latest"); r.status == 200 {
				for _, f := range types.Check(setType+"/rollingUpgrades", compute, r.body, armtypes.Response) {
					t.Error(f)
				}
			}
		}
		judge(galleryType, galleries, group+"/providers/"+galleryType)
		judge(definitionType, galleries, gallery+"/images")
		judge(versionType, galleries, anImage+"/versions")
		judge("Microsoft.Insights/autoscalesettings", insights, group+"/providers/Microsoft.Insights/autoscalesettings")
		judge("Microsoft.VirtualMachineImages/imageTemplates", builder, group+"/providers/Microsoft.VirtualMachineImages/imageTemplates")
	}
	require.Greater(t, judged, 500)
	t.Log(fmt.Sprint("judged ", judged, " answers"))
}

// meant says whether a finding is a trap that is armed.
func meant(finding string) bool {
	return strings.Contains(finding, "scaleMode") || strings.Contains(finding, "buildTimeoutInMinutes")
}

// TestUpgradesKeepToTheTypes judges a set and its members every ten seconds of an automatic
// OS upgrade that fails, and of a rolling upgrade that is well.
func TestUpgradesKeepToTheTypes(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	const version = "2026-04-01"
	judged := 0
	w := autoWorld(t, 4, rollingMode(object{}), at(autoOSOn, true), repairing("Reimage"))
	judge := func() {
		for kind, list := range map[string][]object{
			setType: {w.get(aSet).want(200).body}, vmType: w.members(), instanceType: w.all(aSet + "/virtualMachines"),
			setType + "/rollingUpgrades": {w.get(aSet + "/rollingUpgrades/latest").want(200).body},
		} {
			for _, o := range list {
				judged++
				for _, f := range types.Check(kind, version, o, armtypes.Response) {
					t.Errorf("%s: %s", str(o, "id"), f)
				}
			}
		}
	}
	w.do("PATCH", anImage+"/versions/1.8.0", `{"properties":{"publishingProfile":{"targetRegions":[{"name":"westus3"},{"name":"eastus"}]}}}`).want(200)
	require.NoError(t, w.server.within(func(tx *txn) error {
		tx.editHidden(anImage+"/versions/1.8.0", func(hidden object) { hidden["health"] = "Unhealthy" })
		return nil
	}))
	w.until(2*time.Hour, func() bool { return w.history() != nil })
	for range 60 {
		judge()
		w.clock.Advance(10 * time.Second)
	}
	require.Equal(t, "Faulted", str(w.history(), "runningStatus.code"))
	w.include("1.8.0", false)
	w.include("1.7.1", true)
	w.do("PATCH", aSet, `{"properties":{"virtualMachineProfile":{"licenseType":"RHEL_BYOS"}}}`).want(200)
	for range 60 {
		judge()
		w.clock.Advance(10 * time.Second)
	}
	w.wantRolling("Completed", 4, 0, 0, 0, "")
	require.Greater(t, judged, 1000)
}

// TestBuildsKeepToTheTypes judges a template, its outputs and its version every ten
// seconds of builds that go well and badly, and roles with their assignments.
func TestBuildsKeepToTheTypes(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	judged := 0
	for _, rules := range []string{
		"", "builds: [{fails: customizer}]", "builds: [{fails: region, regions: [westus3]}]", "builds: [{fails: quota}]", "builds: [{fails: submission}]",
		"builds: [{fails: stuck-canceling, for: 1m}]",
	} {
		w := aWorkshop(t, rules)
		judge := func(kind, version string, list ...object) {
			t.Helper()
			for _, o := range list {
				judged++
				for _, f := range types.Check(kind, version, o, armtypes.Response) {
					t.Errorf("%q %s: %s", rules, str(o, "id"), f)
				}
			}
		}
		judgeAll := func() {
			for _, version := range []string{"2024-02-01", "2025-10-01"} {
				judge(templateType, version, w.get(templateID+"?api-version="+version).want(200).body)
				judge(runOutputType, version, w.all(templateID+"/runOutputs?api-version="+version)...)
			}
			judge(versionType, "2025-12-03", w.all(ubuntuID+"/versions?api-version=2025-12-03")...)
		}
		w.do("PUT", templateID+"?api-version=2024-02-01", aTemplate(setting("properties.optimize", object{"vmBoot": object{"state": "Enabled"}}))).want(201)
		for range 18 {
			judgeAll()
			w.clock.Advance(10 * time.Second)
		}
		w.do("POST", templateID+"/run?api-version=2024-02-01", nil)
		for i := range 60 {
			judgeAll()
			if i == 20 && strings.Contains(rules, "canceling") {
				w.do("POST", templateID+"/cancel?api-version=2024-02-01", nil).want(202)
			}
			w.clock.Advance(10 * time.Second)
		}
		judge(roleDefinitionType, "2022-04-01", w.all(group+rolesPath+"?api-version=2022-04-01")...)
		judge(roleAssignmentType, "2022-04-01", w.all(group+"/providers/"+roleAssignmentType+"?api-version=2022-04-01")...)
		judge(identityType, "2024-11-30", w.get(identityID+"?api-version=2024-11-30").want(200).body)
	}
	require.Greater(t, judged, 1500)
}

// TestTemplateShapes: what Image Builder takes is what its types have.
func TestTemplateShapes(t *testing.T) {
	for _, version := range []string{"2024-02-01", "2025-10-01"} {
		published := publishedShapes(t, version)
		seen := 0
		var compare func(s *shape)
		compare = func(s *shape) {
			for _, inner := range s.kinds {
				compare(inner)
			}
			if len(s.fields) == 0 {
				return
			}
			for name, inner := range s.fields {
				if inner != nil && newer[name] <= version {
					compare(inner)
				}
			}
			want, found := published[s.name]
			if !found {
				return // the types have one for each of its forms
			}
			seen++
			for name := range s.fields {
				inherited := slices.Contains([]string{"name", "runOutputName", "artifactTags"}, name)
				require.True(t, want[name] || inherited || newer[name] > version, "%s: %s has no %s", version, s.name, name)
			}
			for name := range want {
				require.Contains(t, s.fields, name, "%s: %s", version, s.name)
			}
		}
		compare(templateShape)
		require.GreaterOrEqual(t, seen, 22)
	}
}

// publishedShapes are the names of the properties of Image Builder's types, by type.
func publishedShapes(t *testing.T, version string) map[string]map[string]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Published(t, "types"), "microsoft.virtualmachineimages-"+version+".json"))
	require.NoError(t, err)
	var list []struct {
		Name       string
		Properties map[string]any
	}
	require.NoError(t, json.Unmarshal(data, &list))
	all := map[string]map[string]bool{}
	for _, typ := range list {
		if len(typ.Properties) == 0 {
			continue
		}
		all[typ.Name] = map[string]bool{}
		for name := range typ.Properties {
			all[typ.Name][name] = true
		}
	}
	return all
}
