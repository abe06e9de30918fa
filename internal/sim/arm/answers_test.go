package arm

import (
	"fmt"
	"strings"
	"testing"

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
	for _, name := range []string{"article", "traps"} {
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
