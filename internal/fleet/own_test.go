package fleet_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// ownCase is a set that is as its file says, and may be changed.
type ownCase struct {
	spec    *fleet.Spec
	set     fleet.SetSpec // of the file
	seen    *fleet.OwnedSet
	body    fleet.Document // of seen
	options *fleet.OwnOptions
}

func settled(t *testing.T, name string) *ownCase {
	t.Helper()
	w := &ownWorld{t: t}
	spec := contract(t)
	w.put(fleet.SetBody(spec, name, version, publicKey), 3)
	w.seen.Seen.Body["tags"] = fleet.Document{"owner": "payments", fleet.TagApplied: spec.SetHash(name)}
	c := &ownCase{spec: spec, set: spec.ScaleSets[name], seen: &w.seen, body: w.seen.Seen.Body, options: ownOptions(spec)}
	if c.set.Autoscale != nil {
		plan := fleet.PlanSet(spec, name, c.seen, c.options)
		write := plan.Steps[0].Change.Write
		c.seen.AutoscaleID, c.seen.Autoscale = write.ID, fleet.Seen{Body: decoded(t, write.Body)}
	}
	return c
}

func (c *ownCase) at(path string) fleet.Document {
	return get(c.body, strings.Split(path, ".")...).(fleet.Document)
}

func (c *ownCase) extension() fleet.Document {
	return c.at("properties.virtualMachineProfile.extensionProfile")["extensions"].([]any)[0].(fleet.Document)["properties"].(fleet.Document)
}

func (c *ownCase) profile() fleet.Document {
	return get(c.seen.Autoscale.Body, "properties").(fleet.Document)["profiles"].([]any)[0].(fleet.Document)
}

func (c *ownCase) rolling() {
	c.set.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformRolling, Batch: 20, MaxUnhealthy: 20, MaxUnhealthyUpgraded: 20}
}

// shown is a plan in lines: its steps with what they write, then what is told.
func shown(plan *fleet.SetPlan) []string {
	lines := []string{}
	for _, s := range plan.Steps {
		line := []string{fmt.Sprintf("%s %s", s.Kind, s.State)}
		if s.Cause != "" {
			line = append(line, string(s.Cause)+": "+s.Why)
		}
		line = append(line, s.Members...)
		if s.Override != "" {
			line = append(line, "OVERRIDDEN "+s.Override)
		}
		for _, p := range s.Change.Properties {
			line = append(line, fmt.Sprintf("| %s %s %v>%v", p.Category, strings.TrimPrefix(p.Path, "properties."), p.Is, p.Want))
		}
		lines = append(lines, strings.Join(line, " "))
	}
	for _, p := range plan.Told {
		lines = append(lines, fmt.Sprintf("%s %s %v>%v", p.Category, strings.TrimPrefix(p.Path, "properties."), p.Is, p.Want))
	}
	return append(lines, plan.Notes...)
}

// TestTagInOtherLetters: Azure has no two tags whose names differ in their letters alone, so
// that the set's takes the place of the file's.
func TestTagInOtherLetters(t *testing.T) {
	c := settled(t, "vmss-authz")
	c.set.Tags = map[string]string{"OWNER": "team", "tier": "web"}
	c.spec.ScaleSets["vmss-authz"] = c.set
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Equal(t, []string{"model due | changed tags.OWNER payments>team | added tags.tier <nil>>web"}, shown(&plan))
	require.Equal(t, fleet.Document{"OWNER": "team", "tier": "web", fleet.TagApplied: c.spec.SetHash("vmss-authz")}, plan.Steps[0].Change.Write.Body["tags"])
}

func TestPlanSet(t *testing.T) {
	const notice = "virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile"
	repairsOff := func(c *ownCase) { delete(c.at("properties"), "automaticRepairsPolicy") }
	const repairs = " | %s automaticRepairsPolicy.enabled false>true | %s automaticRepairsPolicy.gracePeriod PT10M>PT30M"
	drifted := fmt.Sprintf(repairs, "drifted", "drifted")
	for name, tt := range map[string]struct {
		set    string
		change func(*ownCase)
		want   []string
	}{
		"as it is":          {want: []string{}},
		"as it is, on Spot": {set: "vmss-batch", want: []string{}},
		"durations":         {change: func(c *ownCase) { c.at("properties.automaticRepairsPolicy")["gracePeriod"] = "PT1800S" }, want: []string{}},

		// What the file does not say is off, and what it says is right.
		"off": {change: func(c *ownCase) { c.set.TerminateNotice, c.set.Repairs = 0, nil }, want: []string{
			"model due | changed automaticRepairsPolicy.enabled true>false | changed " + notice + ".enable true>false",
			"members later vm_0 vm_1 vm_2",
		}},
		"a tag": {change: func(c *ownCase) { c.set.Tags = map[string]string{"team": "a"} }, want: []string{"model due | added tags.team <nil>>a"}},
		"somebody changed it": {change: func(c *ownCase) { c.at("properties." + notice)["notBeforeTimeout"] = "PT9M" }, want: []string{
			"model due | drifted " + notice + ".notBeforeTimeout PT9M>PT5M", "members later vm_0 vm_1 vm_2",
		}},
		"one write of two": {change: func(c *ownCase) { repairsOff(c); delete(c.at("tags"), "owner") }, want: []string{
			"policy due | drifted tags.owner <nil>>payments" + drifted,
		}},
		"the action of repairs": {change: func(c *ownCase) { c.set.Repairs = &fleet.RepairsSpec{After: 30 * time.Minute, Action: "reimage"} }, want: []string{
			"policy due | changed automaticRepairsPolicy.enabled true>false", "policy later | changed automaticRepairsPolicy.repairAction Replace>Reimage",
		}},
		"grace alone": {change: func(c *ownCase) { c.set.Repairs = &fleet.RepairsSpec{After: time.Hour, Action: "replace"} }, want: []string{
			"model due | changed automaticRepairsPolicy.gracePeriod PT30M>PT1H",
		}},

		// The gate.
		"open": {change: repairsOff, want: []string{"policy due" + drifted}},
		"stale": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].LatestModel = new(false) }, want: []string{
			"members due vm_1", "policy later evidence: 1 of 3 running members are not on the latest model: vm_1" + drifted,
		}},
		"stale, and off": {change: func(c *ownCase) {
			repairsOff(c)
			m := &c.seen.Set.Members[1]
			m.LatestModel, m.Power = new(false), fleet.Deallocated
			c.seen.Set.Members[2].Vanished, c.seen.Set.Members[2].LatestModel = true, new(false)
		}, want: []string{"policy due" + drifted, "not running, and left on an older model: vm_1"}},
		"stale, and protected": {change: func(c *ownCase) {
			repairsOff(c)
			m := &c.seen.Set.Members[1]
			m.LatestModel, m.ProtectSetActions = new(false), true
		}, want: []string{
			"policy blocked evidence: 1 of 3 running members are not on the latest model, and protected from it: vm_1" + drifted,
			"protected from scale set actions, and left on an older model: vm_1",
		}},
		"not said": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].LatestModel = nil }, want: []string{
			"policy blocked evidence: 1 of 3 running members are not on the latest model: vm_1" + drifted,
		}},
		"another image": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].Image.ExactVersion = "1.8.2" }, want: []string{
			"policy blocked evidence: 1 of 3 running members are on another image than image version 1.8.3: vm_1" + drifted,
		}},
		"ill": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].Health = fleet.Unhealthy }, want: []string{
			"policy waits evidence: 1 of 3 running members are not Healthy: vm_1" + drifted,
		}},
		"another source of health": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].Extensions = map[string]string{"x": ""} }, want: []string{
			"policy blocked evidence: 1 of 3 running members are without the health extension: vm_1" + drifted,
		}},
		"health that nobody vouches for": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members[1].Extensions = nil }, want: []string{
			"policy waits evidence: 1 of 3 running members are not Healthy: vm_1" + drifted,
		}},
		"nobody yet":   {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members = nil }, want: []string{"policy waits evidence: no member runs, which is no evidence" + drifted}},
		"nobody wants": {change: func(c *ownCase) { repairsOff(c); c.seen.Set.Members, c.seen.Set.Model.Capacity = nil, 0 }, want: []string{"policy blocked evidence: no member runs, which is no evidence" + drifted}},
		"overridden": {change: func(c *ownCase) {
			repairsOff(c)
			c.seen.Set.Members[1].Health, c.options.WithoutEvidence = fleet.Unhealthy, true
		}, want: []string{"policy due OVERRIDDEN 1 of 3 running members are not Healthy: vm_1" + drifted}},
		"overridden, but not before the model": {change: func(c *ownCase) {
			c.set.TerminateNotice, c.options.WithoutEvidence = 0, true
			c.rolling()
		}, want: []string{
			"model due | changed " + notice + ".enable true>false", "members later vm_0 vm_1 vm_2",
			"policy later OVERRIDDEN the model is not yet what the file says | changed upgradePolicy.mode Manual>Rolling",
		}},
		"back to Manual needs none": {change: func(c *ownCase) {
			c.at("properties.upgradePolicy")["mode"] = "Rolling"
			c.seen.Set.Model.Upgrade.Mode, c.seen.Set.Members = fleet.Rolling, nil
		}, want: []string{"model due | drifted upgradePolicy.mode Rolling>Manual"}},

		// Who is at work, and who stops it.
		"busy": {change: func(c *ownCase) { c.at("properties")["provisioningState"] = "Updating" }, want: []string{"platform waits platform: it is updating now"}},
		"busy, and more to do": {change: func(c *ownCase) {
			c.at("properties")["provisioningState"] = "Updating"
			c.set.TerminateNotice = 6 * time.Minute
			c.seen.Autoscale, c.seen.AutoscaleID = fleet.Seen{}, ""
		}, want: []string{
			"platform waits platform: it is updating now",
			"model later | changed virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile.notBeforeTimeout PT5M>PT6M",
			"members later vm_0 vm_1 vm_2", "autoscale later",
		}},
		"a rolling upgrade that brings them": {change: func(c *ownCase) {
			c.rolling()
			c.at("properties.upgradePolicy")["mode"] = "Rolling"
			c.seen.Set.Model.Upgrade.Mode, c.seen.Set.Members[0].LatestModel = fleet.Rolling, new(false)
			c.seen.Set.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Successful: 1, Pending: 2}
		}, want: []string{"platform waits platform: a rolling upgrade of the platform is under way: 1 of 3 members are done", "members later vm_0"}},
		"deleting": {change: func(c *ownCase) { c.at("properties")["provisioningState"] = "Deleting" }, want: []string{"platform waits platform: it is deleting now"}},
		"failed":   {change: func(c *ownCase) { c.at("properties")["provisioningState"] = "Failed" }, want: []string{}},
		"a rolling upgrade": {change: func(c *ownCase) {
			c.seen.Set.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Successful: 1, Pending: 2}
		}, want: []string{"platform waits platform: a rolling upgrade of the platform is under way: 1 of 3 members are done"}},
		"a rolling upgrade, and busy with it": {change: func(c *ownCase) {
			c.at("properties")["provisioningState"] = "Updating"
			c.seen.Set.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Successful: 1, Pending: 2}
		}, want: []string{"platform waits platform: a rolling upgrade of the platform is under way: 1 of 3 members are done"}},
		"held": {change: func(c *ownCase) { repairsOff(c); c.seen.Held = "rollout 3 holds it" }, want: []string{"policy blocked rollout: rollout 3 holds it" + drifted}},
		"mode Automatic": {change: func(c *ownCase) {
			c.at("properties.upgradePolicy")["mode"] = "Automatic"
			c.seen.Set.Model.Upgrade.Mode = fleet.Automatic
			c.rolling()
			c.set.Health = &fleet.HealthSpec{Extension: "2.0", Protocol: "http", Port: 8081, Path: "/healthz", Interval: 5 * time.Second, Probes: 2, Grace: 5 * time.Minute}
		}, want: []string{
			"model due | changed upgradePolicy.mode Automatic>Manual", "extension later | changed settings.port 8080>8081", "members later vm_0 vm_1 vm_2",
			"policy later evidence: the health extension is not yet what the file says | changed upgradePolicy.mode Automatic>Rolling",
		}},
		"mode Automatic, and stale": {change: func(c *ownCase) {
			c.at("properties.upgradePolicy")["mode"] = "Automatic"
			c.seen.Set.Model.Upgrade.Mode, c.seen.Set.Members[0].LatestModel = fleet.Automatic, new(false)
			c.rolling()
		}, want: []string{
			"model due | changed upgradePolicy.mode Automatic>Manual", "members later vm_0",
			"policy later evidence: 1 of 3 running members are not on the latest model: vm_0 | changed upgradePolicy.mode Automatic>Rolling",
		}},
		"blocked, but for autoscale": {change: func(c *ownCase) {
			repairsOff(c)
			c.seen.Set.Members[1].Extensions = map[string]string{"x": ""}
			c.profile()["capacity"].(fleet.Document)["maximum"] = "40"
		}, want: []string{
			"policy blocked evidence: 1 of 3 running members are without the health extension: vm_1" + drifted,
			"autoscale due | drifted profiles[default].capacity.maximum 40>30",
		}},
		"mode Rolling, idle": {change: func(c *ownCase) {
			c.rolling()
			c.at("properties.upgradePolicy")["mode"] = "Rolling"
			c.seen.Set.Model.Upgrade.Mode, c.seen.Set.Members[0].LatestModel = fleet.Rolling, new(false)
			c.seen.Set.Rolling = &fleet.RollingUpgrade{Code: "Faulted", ErrorCode: "RollingUpgradeTimeoutError"}
		}, want: []string{"members blocked platform: in mode Rolling the platform brings them, and is not at it: its last rolling upgrade is Faulted: RollingUpgradeTimeoutError; the next change of the model begins another one vm_0"}},

		// No image comes along.
		"along": {change: func(c *ownCase) {
			m := &c.seen.Set.Members[0]
			m.LatestModel, m.Image.ExactVersion = new(false), "1.8.2"
		}, want: []string{"members blocked along: it brings image version 1.8.3 along to vm_0: that is for a rollout to do, or for --with-image vm_0"}},
		"along, allowed": {change: func(c *ownCase) {
			m := &c.seen.Set.Members[0]
			m.LatestModel, m.Image.ExactVersion, c.options.WithImage = new(false), "1.8.2", true
		}, want: []string{"members due vm_0 OVERRIDDEN it brings image version 1.8.3 along to vm_0"}},
		"along, by the platform": {change: func(c *ownCase) {
			c.rolling()
			c.at("properties.upgradePolicy")["mode"] = "Rolling"
			c.seen.Set.Model.Upgrade.Mode, c.seen.Set.Members[0].Image.ExactVersion = fleet.Rolling, "1.8.2"
			c.set.Tags = map[string]string{"team": "a"}
		}, want: []string{"model blocked along: in mode Rolling any write brings image version 1.8.3 along to vm_0: that is for a rollout to do, or for --with-image | added tags.team <nil>>a"}},
		"along, from where nobody knows": {change: func(c *ownCase) {
			c.seen.Set.Members[0].LatestModel, c.seen.Set.Members[0].Image.ExactVersion = new(false), ""
		}, want: []string{"members blocked along: it brings image version 1.8.3 along to vm_0: that is for a rollout to do, or for --with-image vm_0"}},

		// The health extension.
		"two of them": {change: func(c *ownCase) {
			profile := c.at("properties.virtualMachineProfile.extensionProfile")
			profile["extensions"] = append(profile["extensions"].([]any), fleet.Document{"name": "b", "properties": c.extension()})
		}, want: []string{"extension refused file: it has two health extensions, ApplicationHealthLinux and b: take one of them away"}},
		"of Windows": {change: func(c *ownCase) { c.extension()["type"] = fleet.HealthTypeWindows }, want: []string{
			"extension refused file: its health extension is that of Windows, and the file's is that of Linux",
		}},
		"upgrades of its own": {change: func(c *ownCase) { c.extension()["autoUpgradeMinorVersion"] = false }, want: []string{}},
		"a setting that is no more": {change: func(c *ownCase) {
			c.set.Health = &fleet.HealthSpec{Extension: "2.0", Protocol: "tcp", Port: 8080, Interval: 5 * time.Second, Probes: 2}
		}, want: []string{
			"extension due | changed settings.protocol http>tcp | changed settings.requestPath /healthz><nil> | changed settings.gracePeriod 300><nil>", "members later vm_0 vm_1 vm_2",
		}},
		"settings that it has by itself": {change: func(c *ownCase) {
			settings := c.extension()["settings"].(map[string]any)
			delete(settings, "intervalInSeconds")
			delete(settings, "numberOfProbes")
			health := *c.set.Health
			health.Interval, health.Probes, c.set.Health = 5*time.Second, 1, &health
		}, want: []string{}},
		"none": {change: func(c *ownCase) { c.at("properties.virtualMachineProfile")["extensionProfile"] = fleet.Document{} }, want: []string{
			"extension due", "members later vm_0 vm_1 vm_2",
		}},
		"no health in the file": {change: func(c *ownCase) { c.set.Health = nil }, want: []string{
			"unmanaged virtualMachineProfile.extensionProfile.extensions[ApplicationHealthLinux] ApplicationHealthLinux><nil>",
		}},

		// What is told.
		"created otherwise": {set: "vmss-batch", change: func(c *ownCase) {
			create := *c.set.Create
			create.VMSize, create.Capacity, create.Admin = "Standard_D8as_v5", 20, "root2"
			create.Extra = map[string]any{"properties": map[string]any{
				"overprovision": true, "zoneBalance": nil,
				"virtualMachineProfile": map[string]any{"extensionProfile": map[string]any{"extensions": []any{
					map[string]any{"name": "monitor", "properties": map[string]any{"protectedSettings": map[string]any{"key": "hush"}}},
				}}},
			}}
			c.set.Create = &create
			list := c.at("properties.virtualMachineProfile.extensionProfile")
			list["extensions"] = append(list["extensions"].([]any),
				fleet.Document{"name": "monitor", "properties": fleet.Document{"type": "M"}}, fleet.Document{"name": "theirs", "properties": fleet.Document{"type": "T"}})
		}, want: []string{
			"unmanaged virtualMachineProfile.extensionProfile.extensions[theirs] T><nil>",
			"create-only sku.name Standard_D4as_v5>Standard_D8as_v5", "create-only sku.capacity 10>20",
			"create-only virtualMachineProfile.osProfile.adminUsername azureuser>root2",
			"not-comparable virtualMachineProfile.extensionProfile.extensions[monitor].properties.protectedSettings <nil>><nil>",
			"create-only overprovision <nil>>true",
		}},
		"no autoscale in the file": {change: func(c *ownCase) { c.set.Autoscale = nil }, want: []string{
			"unmanaged autoscaleSettings/vmss-authz-autoscale vmss-authz-autoscale><nil>",
		}},

		// Autoscale.
		"autoscale": {change: func(c *ownCase) {
			c.profile()["capacity"].(fleet.Document)["maximum"] = "40"
			c.seen.Autoscale.Body["properties"].(fleet.Document)["predictiveAutoscalePolicy"].(fleet.Document)["scaleMode"] = "forecastonly"
		}, want: []string{"autoscale due | drifted predictiveAutoscalePolicy.scaleMode forecastonly>ForecastOnly | drifted profiles[default].capacity.maximum 40>30"}},
		"autoscale, in another order": {change: func(c *ownCase) {
			rules := c.profile()["rules"].([]any)
			rules[0], rules[1] = rules[1], rules[0]
			c.profile()["name"] = "theirs"
			rules[0].(fleet.Document)["metricTrigger"].(fleet.Document)["timeWindow"] = "PT600S"
		}, want: []string{}},
		"the name of another set's": {change: func(c *ownCase) {
			c.seen.Autoscale.Body["properties"].(fleet.Document)["targetResourceUri"] = "/subscriptions/S/theirs"
			c.seen.Autoscale.Body["id"] = string(c.seen.AutoscaleID)
			c.seen.AutoscaleID = ""
		}, want: []string{"autoscale blocked file: the autoscale setting vmss-authz-autoscale scales theirs, and this set has none: take that one away, or write it anew under another name"}},
		"predictive off": {change: func(c *ownCase) {
			a := *c.set.Autoscale
			a.Predictive = nil
			c.set.Autoscale = &a
		}, want: []string{"autoscale due | changed predictiveAutoscalePolicy.scaleMode ForecastOnly>Disabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.set == "" {
				tt.set = "vmss-authz"
			}
			c := settled(t, tt.set)
			if tt.change != nil {
				tt.change(c)
			}
			c.spec.ScaleSets[tt.set] = c.set
			before, err := json.Marshal(c.seen)
			require.NoError(t, err)
			plan := fleet.PlanSet(c.spec, tt.set, c.seen, c.options)
			require.Equal(t, tt.want, shown(&plan))
			after, err := json.Marshal(c.seen)
			require.NoError(t, err)
			require.Equal(t, string(before), string(after), "what was read stays as it is")
			text, err := json.Marshal(plan)
			require.NoError(t, err)
			require.NotContains(t, string(text), "hush")
			for i := range plan.Steps {
				if step := &plan.Steps[i]; step.State == fleet.StepWaits {
					require.Positive(t, step.Wait)
					require.Same(t, step, plan.Next())
				}
			}
		})
	}
}

// What nothing can change is refused, with what it would take.
func TestPlanSetRefused(t *testing.T) {
	for path, value := range map[string]any{
		"location": "westus3", "zones": []any{"1"}, "properties.orchestrationMode": nil, "properties.platformFaultDomainCount": 2.0,
		"properties.singlePlacementGroup": true, "properties.virtualMachineProfile.priority": "Spot",
	} {
		c := settled(t, "vmss-authz")
		keys := strings.Split(path, ".")
		last := keys[len(keys)-1]
		if value == nil {
			c.at("properties")["orchestrationMode"] = "Uniform"
		} else if parent, ok := get(c.body, keys[:len(keys)-1]...).(fleet.Document); ok {
			parent[last] = value
		}
		c.at("properties")["automaticRepairsPolicy"] = fleet.Document{} // which is not written either
		plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
		require.Len(t, plan.Steps, 1, path)
		require.Nil(t, plan.Next())
		require.Equal(t, fleet.StepRefused, plan.Stopped()[0].State)
		p := plan.Steps[0].Change.Properties
		require.Len(t, p, 1)
		require.Equal(t, path, p[0].Path)
		require.Equal(t, fleet.DiffImmutable, p[0].Category)
		require.Equal(t, "cannot be changed: it takes another scale set, under another name", p[0].Note)
	}
}

func TestPlanSetCreate(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*ownCase)
		want   []string
		image  string
	}{
		"promoted": {image: "/versions/1.8.3", want: []string{"create due", "members later", "policy later | changed automaticRepairsPolicy.enabled false>true | changed automaticRepairsPolicy.gracePeriod PT10M>PT30M", "autoscale later"}},
		"the latest": {image: "/images/ubuntu-app", change: func(c *ownCase) {
			c.set.Tracks, c.set.Repairs, c.set.Autoscale = fleet.TracksLatest, nil, nil
		}, want: []string{"create due", "members later"}},
		"none promoted": {change: func(c *ownCase) { c.options.Definition.Versions[0].Excluded = true }, want: []string{
			"create blocked image: no version of ubuntu-app is promoted in eastus yet: the very first set begins with fleetctl apply --image VERSION", "members later", "autoscale later",
		}},
		"excluded, and named": {image: "/versions/1.8.3", change: func(c *ownCase) {
			c.options.Definition.Versions[0].Excluded, c.options.Image, c.set.Autoscale, c.set.Repairs = true, "1.8.3", nil, nil
		}, want: []string{"create due", "members later"}},
		"failed": {change: func(c *ownCase) {
			c.options.Definition.Versions[0].Tags, c.options.Image = map[string]string{fleet.TagFailed: "no HSM"}, "1.8.3"
		}, want: []string{"create blocked image: version 1.8.3 is marked failed: no HSM", "members later", "autoscale later"}},
		"not there": {change: func(c *ownCase) { c.options.Image = "9.0.0" }, want: []string{"create blocked image: there is no version 9.0.0 of the image", "members later", "autoscale later"}},
		"replicating": {change: func(c *ownCase) {
			c.options.Image, c.options.Definition.Versions[0].Regions = "1.8.3", []fleet.Region{{Name: "eastus", State: fleet.Replicating, Progress: 40}}
		}, want: []string{"create blocked image: version 1.8.3 is not in eastus yet: its replication is Replicating, 40%", "members later", "autoscale later"}},
		"no create": {change: func(c *ownCase) { c.set.Create = nil }, want: []string{"create blocked file: it is not there, and the file has no create for it"}},
		"no key":    {change: func(c *ownCase) { c.options.SSHKeys = nil }, want: []string{"create blocked file: the public key of its administrator was not read", "members later", "autoscale later"}},
		"observed":  {change: func(c *ownCase) { c.set.Manage = fleet.ManageObserve }, want: []string{"it is not there, and manage: observe makes none"}},
		"empty": {image: "/versions/1.8.3", change: func(c *ownCase) {
			create := *c.set.Create
			create.Capacity, c.set.Create = 0, &create
		}, want: []string{"create due", "policy later | changed automaticRepairsPolicy.enabled false>true | changed automaticRepairsPolicy.gracePeriod PT10M>PT30M", "autoscale later"}},
		"empty by extra": {image: "/versions/1.8.3", change: func(c *ownCase) {
			create := *c.set.Create
			create.Extra, c.set.Create, c.set.Repairs, c.set.Autoscale = map[string]any{"sku": map[string]any{"capacity": 0}}, &create, nil, nil
		}, want: []string{"create due"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := settled(t, "vmss-authz")
			if tt.change != nil {
				tt.change(c)
			}
			c.spec.ScaleSets["vmss-authz"] = c.set
			plan := fleet.PlanSet(c.spec, "vmss-authz", &fleet.OwnedSet{}, c.options)
			lines := shown(&plan)
			for i := range lines { // the autoscale setting is added whole
				lines[i], _, _ = strings.Cut(lines[i], " | added profiles")
			}
			require.Equal(t, tt.want, lines)
			if tt.image == "" {
				require.Nil(t, plan.Next())
				return
			}
			body := plan.Next().Change.Write.Body
			image, _ := get(body, "properties", "virtualMachineProfile", "storageProfile", "imageReference", "id").(string)
			require.True(t, strings.HasSuffix(image, tt.image), image)
			require.Equal(t, len(tt.want) < 3, get(body, "tags", fleet.TagApplied) != nil, "the last write has the tag")
		})
	}
}

// Raw extensions stand beside the health extension: without it no member could say that it
// serves. One of their own that asks for health takes its place.
func TestPlanSetCreateExtensions(t *testing.T) {
	others := []any{fleet.Document{"name": "monitor", "properties": fleet.Document{"publisher": "P", "type": "M"}}}
	own := []any{fleet.Document{"name": "own", "properties": fleet.Document{"publisher": fleet.HealthPublisher, "type": fleet.HealthTypeLinux}}}
	for name, tt := range map[string]struct {
		extensions any // of extra
		want       []string
	}{
		"others": {others, []string{fleet.HealthTypeLinux, "monitor"}},
		"none":   {nil, []string{fleet.HealthTypeLinux}},
		"health": {own, []string{"own"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := settled(t, "vmss-authz")
			create := *c.set.Create
			create.Extra = map[string]any{"properties": map[string]any{"virtualMachineProfile": map[string]any{"extensionProfile": map[string]any{"extensions": tt.extensions}}}}
			c.set.Create = &create
			c.spec.ScaleSets["vmss-authz"] = c.set
			plan := fleet.PlanSet(c.spec, "vmss-authz", &fleet.OwnedSet{}, c.options)
			body := decoded(t, plan.Next().Change.Write.Body)
			var names []string
			for _, e := range get(body, "properties", "virtualMachineProfile", "extensionProfile", "extensions").([]any) {
				names = append(names, get(e, "name").(string))
			}
			require.Equal(t, tt.want, names)
		})
	}
}

// Azure reads names in any letters, so that raw properties mean the same in others: what a
// set is not born with is not in its body at all.
func TestPlanSetCreateInOtherLetters(t *testing.T) {
	c := settled(t, "vmss-authz")
	create := *c.set.Create
	create.Extra = map[string]any{
		"Zones": nil, "TAGS": map[string]any{"OWNER": "raw"},
		"Properties": map[string]any{
			"AutomaticRepairsPolicy": map[string]any{"Enabled": true}, "UpgradePolicy": map[string]any{"Mode": "Rolling"},
			"scaleInPolicy": map[string]any{"ForceDeletion": true},
		},
	}
	c.set.Create = &create
	c.spec.ScaleSets["vmss-authz"] = c.set
	plan := fleet.PlanSet(c.spec, "vmss-authz", &fleet.OwnedSet{}, c.options)
	body := decoded(t, plan.Next().Change.Write.Body)
	require.ElementsMatch(t, []string{"location", "properties", "sku", "tags"}, slices.Collect(maps.Keys(body)))
	require.Equal(t, fleet.Document{"owner": "raw"}, body["tags"])
	properties := body["properties"].(fleet.Document)
	require.Equal(t, fleet.Document{"mode": "Manual"}, properties["upgradePolicy"])
	require.Equal(t, fleet.Document{"ForceDeletion": true}, properties["scaleInPolicy"])
	for _, name := range []string{"automaticRepairsPolicy", "AutomaticRepairsPolicy", "UpgradePolicy"} {
		require.NotContains(t, properties, name)
	}
}

// The tag is in the last PATCH, among all others, where there is room.
func TestPlanSetTag(t *testing.T) {
	c := settled(t, "vmss-authz")
	c.set.TerminateNotice, c.set.Tags = 6*time.Minute, nil
	c.at("properties")["automaticRepairsPolicy"] = fleet.Document{}
	delete(c.at("tags"), fleet.TagApplied)
	c.at("tags")["their"] = "own"
	c.spec.ScaleSets["vmss-authz"] = c.set
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Len(t, plan.Steps, 3)
	require.NotContains(t, plan.Steps[0].Change.Write.Body, "tags", "the policy follows")
	hash := c.spec.SetHash("vmss-authz")
	require.Equal(t, fleet.Document{"owner": "payments", "their": "own", fleet.TagApplied: hash}, plan.Steps[2].Change.Write.Body["tags"])
	require.Len(t, hash, 12)

	for i := range 48 {
		c.at("tags")[fmt.Sprint("t", i)] = "x"
	}
	plan = fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Len(t, plan.Steps[2].Change.Write.Body["tags"], 50, "a resource has 50 tags at the most")

	create := *c.set.Create
	create.Capacity++
	c.set.Create, c.set.Upgrade.Order = &create, "name"
	c.spec.ScaleSets["vmss-authz"] = c.set
	require.Equal(t, hash, c.spec.SetHash("vmss-authz"), "what Azure is not told is not in it")
}

// The profiles of others stay, and what is not known of a rule that changes.
// What is read of a setting is the profile that the file is compared with, wherever it stands.
func TestReadAutoscaleUsual(t *testing.T) {
	c := settled(t, "vmss-authz")
	properties := c.seen.Autoscale.Body["properties"].(fleet.Document)
	want := fleet.ReadAutoscale(c.seen.Autoscale.Body)
	night := fleet.Document{"name": "night", "recurrence": fleet.Document{"frequency": "Week"}, "capacity": fleet.Document{"minimum": "1", "maximum": "2", "default": "1"}}
	properties["profiles"] = []any{night, c.profile()}
	require.Equal(t, want, fleet.ReadAutoscale(c.seen.Autoscale.Body))
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Empty(t, plan.Steps)

	// Where each profile recurs, one of them is what counts for the rest of the time: Azure's
	// portal makes them so. Another one beside them would never count.
	rest := fleet.Document{"name": `{"name":"Default","for":"night"}`, "recurrence": fleet.Document{"frequency": "Week"}, "capacity": fleet.Document{"minimum": "3", "maximum": "9", "default": "3"}}
	properties["profiles"] = []any{night, rest}
	require.Equal(t, 1, fleet.ReadAutoscale(c.seen.Autoscale.Body).Min, "the first of them")
	plan = fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Equal(t, []string{"autoscale blocked file: every profile of vmss-authz-autoscale recurs or has a date, so that another one would not count: give it one without, or leave autoscale out of the file"}, shown(&plan))
	date := fleet.Document{"name": "night", "fixedDate": fleet.Document{}, "capacity": fleet.Document{}}
	properties["profiles"] = []any{date}
	plan = fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Equal(t, fleet.StepDue, plan.Steps[0].State, "beside a date it counts")
}

// A rule that goes and one that comes are shown by themselves: both lists whole hide it. What
// Azure shows beside what is declared is no difference.
func TestPlanSetAutoscaleRules(t *testing.T) {
	c := settled(t, "vmss-authz")
	rules := c.profile()["rules"].([]any)
	for _, rule := range rules {
		rule.(fleet.Document)["metricTrigger"].(fleet.Document)["dividePerInstance"] = false
	}
	a := *c.set.Autoscale
	a.Out = nil
	c.set.Autoscale = &a
	c.spec.ScaleSets["vmss-authz"] = c.set
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	require.Equal(t, []fleet.PropertyChange{{Path: "properties.profiles[default].rules[0]", Is: rules[0], Category: fleet.DiffChanged}}, plan.Next().Change.Properties)
	require.Len(t, get(plan.Next().Change.Write.Body, "properties", "profiles").([]any)[0].(fleet.Document)["rules"], 1)

	c = settled(t, "vmss-authz")
	out := c.profile()["rules"].([]any)[0]
	c.profile()["rules"] = c.profile()["rules"].([]any)[1:]
	plan = fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	changes := plan.Next().Change.Properties
	require.Len(t, changes, 1)
	require.Nil(t, changes[0].Is)
	require.Equal(t, out, decoded(t, changes[0].Want.(fleet.Document)))
}

// A new autoscale setting has the tags of its set: a policy may ask for them.
func TestPlanSetAutoscaleTags(t *testing.T) {
	c := settled(t, "vmss-authz")
	tags := c.seen.Autoscale.Body["tags"].(fleet.Document)
	require.Equal(t, "payments", tags["owner"])
	require.Contains(t, tags, fleet.TagApplied)
}

func TestPlanSetAutoscaleProfiles(t *testing.T) {
	c := settled(t, "vmss-authz")
	c.profile()["rules"].([]any)[0].(fleet.Document)["scaleAction"].(fleet.Document)["value"] = "9"
	c.profile()["rules"].([]any)[0].(fleet.Document)["metricTrigger"].(fleet.Document)["dividePerInstance"] = true
	theirs := fleet.Document{"name": "night", "recurrence": fleet.Document{}, "capacity": fleet.Document{}}
	properties := c.seen.Autoscale.Body["properties"].(fleet.Document)
	properties["profiles"] = []any{theirs, c.profile()}
	properties["notifications"] = []any{fleet.Document{"operation": "Scale"}}
	c.seen.Autoscale.Body["id"], c.seen.Autoscale.Body["systemData"] = "/x", fleet.Document{}
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	body := plan.Next().Change.Write.Body
	profiles := get(body, "properties", "profiles").([]any)
	require.Len(t, profiles, 2)
	require.Equal(t, theirs, profiles[0])
	rule := profiles[1].(fleet.Document)["rules"].([]any)[0].(fleet.Document)
	require.Equal(t, "2", get(rule, "scaleAction", "value"))
	require.Equal(t, true, get(rule, "metricTrigger", "dividePerInstance"))
	require.NotNil(t, get(body, "properties", "notifications"))
	require.NotContains(t, body, "id")
	require.NotContains(t, body, "systemData")
}

func TestIgnoreChanges(t *testing.T) {
	rules := fleet.IgnoreChanges(fleet.ManageImage)
	require.Len(t, rules, 4)
	require.Contains(t, rules[0].Lines[1], "ignore_changes = [source_image_id]")
	require.Empty(t, fleet.IgnoreChanges(fleet.ManageObserve))
	require.Empty(t, fleet.IgnoreChanges(fleet.ManageFull))
}

// A policy whose parts Azure checks against each other is given whole, and nothing beside it.
func TestPlanSetWholePolicies(t *testing.T) {
	c := settled(t, "vmss-authz")
	c.set.Repairs, c.set.TerminateNotice = &fleet.RepairsSpec{After: time.Hour, Action: "replace"}, 6*time.Minute
	c.spec.ScaleSets["vmss-authz"] = c.set
	plan := fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
	write := plan.Next().Change.Write
	require.Equal(t, fleet.Document{
		"automaticRepairsPolicy": fleet.Document{"enabled": true, "gracePeriod": "PT1H", "repairAction": "Replace"},
		"virtualMachineProfile": fleet.Document{"scheduledEventsProfile": fleet.Document{
			"terminateNotificationProfile": fleet.Document{"enable": true, "notBeforeTimeout": "PT6M"},
		}},
	}, write.Body["properties"])
	require.Equal(t, `"1"`, write.IfMatch)
}
