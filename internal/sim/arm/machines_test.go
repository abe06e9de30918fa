package arm

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ruled is a world with a scenario whose rules are in force. The members of sets with a
// name in sets have a machine outside.
func ruled(t *testing.T, text string, sets ...string) *world {
	t.Helper()
	return applied(t, text, func(cfg *Config) {
		sc, err := ParseScenario("s.yaml", []byte(text))
		require.NoError(t, err)
		cfg.Rules = sc.Rules()
		cfg.Rules.Machines.Real = sets
	})
}

// machines are those that shall run.
func (w *world) machines() []Machine {
	w.Helper()
	all, err := w.server.Machines()
	require.NoError(w, err)
	return all
}

// put makes vmss-authz and returns its members once they run.
func (w *world) put(body object) []object {
	w.Helper()
	w.finished(w.do("PUT", aSet, body).want(201))
	w.clock.Advance(time.Minute)
	return w.members()
}

const notice = profile + ".scheduledEventsProfile.terminateNotificationProfile"

func TestMachine(t *testing.T) {
	w := ruled(t, images, "vmss-*")
	w.do("PUT", aSet, model(t, 1, at("tags", object{"owner": "payments"}))).want(201)
	require.Empty(t, w.machines(), "it does not run yet")
	w.clock.Advance(time.Hour)
	all := w.machines()
	require.Len(t, all, 1)
	m := all[0]
	name := str(w.members()[0], "name")
	require.Equal(t, Machine{
		ID: vms + "/" + name, Name: name, VMID: m.VMID, ComputerName: m.ComputerName, ScaleSet: "vmss-authz",
		Subscription: DefaultSubscription, ResourceGroup: "rg-pay-prod", Location: "eastus", Zone: "1",
		Size: "Standard_D2as_v5", Priority: "Regular", Tags: map[string]string{"owner": "payments"},
		Image: anImage + "/versions/1.7.1", Version: "1.7.1", Boot: 1,
		Health: &HealthExtension{Rich: true, Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 1, Grace: 5 * time.Second},
	}, m)
	require.NotEmpty(t, m.VMID)
	require.NotEmpty(t, m.ComputerName)

	w.finished(w.do("POST", m.ID+"/deallocate", nil).want(202))
	require.Empty(t, w.machines())
	w.finished(w.do("POST", m.ID+"/start", nil).want(202))
	require.Equal(t, 2, w.machines()[0].Boot)
	w.finished(w.do("POST", m.ID+"/reimage", nil).want(202))
	require.Equal(t, 3, w.machines()[0].Boot)
	w.finished(w.do("DELETE", m.ID, nil).want(202))
	require.Empty(t, w.machines())

	w = ruled(t, images, "boot-*")
	w.put(model(t, 1))
	require.Empty(t, w.machines(), "another set's")
}

func TestReportHealth(t *testing.T) {
	w := ruled(t, images, "*")
	w.put(model(t, 1))
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"running HealthState/initializing": 1}, states(w.members()), "only its machine says how it is")
	m := w.machines()[0]
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Healthy"))
	seen := w.clock.Now()
	w.clock.Advance(time.Minute)
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Healthy"))
	require.Equal(t, stamp(seen), str(w.members()[0], "properties.instanceView.vmHealth.status.time"), "the time is that of the change")
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Unknown"))
	require.Equal(t, map[string]int{"running HealthState/unknown": 1}, states(w.members()))
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot-1, "Healthy"), "of a boot before")
	require.Equal(t, map[string]int{"running HealthState/unknown": 1}, states(w.members()))
	require.ErrorContains(t, w.server.ReportHealth(m.ID, m.Boot, "Draining"), "no state of health")
	require.NoError(t, w.server.ReportHealth("/none", 1, "Healthy"))
}

// TestMachinesSurvive: after a restart the same machines shall run, with what they were
// told.
func TestMachinesSurvive(t *testing.T) {
	dir := t.TempDir()
	start := func() *Server {
		s, err := New(Config{
			Clock: NewClock(epoch, 0), Unthrottled: true, State: dir, Rules: Rules{Machines: MachineRules{Real: []string{"*"}}},
		})
		require.NoError(t, err)
		return s
	}
	s := start()
	ts := httptest.NewServer(s)
	w := &world{T: t, server: s, clock: s.clock, url: ts.URL}
	sc, err := ParseScenario("s.yaml", []byte(images))
	require.NoError(t, err)
	require.NoError(t, s.Apply(sc))
	w.put(model(t, 1, at(notice, object{"enable": true, "notBeforeTimeout": "PT5M"})))
	vm := w.machines()[0].ID
	w.do("DELETE", vm, nil).want(202)
	w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":["true"]}`).want(202)
	before := w.machines()
	require.NotNil(t, before[0].Event)
	require.NotNil(t, before[0].Command)
	ts.Close()
	require.NoError(t, s.Close())

	again := start()
	all, err := again.Machines()
	require.NoError(t, err)
	require.Equal(t, before, all)
	require.NoError(t, again.Close())
}

func TestAckOfAnEviction(t *testing.T) {
	w := ruled(t, images, "*")
	w.put(model(t, 2, at(profile+".priority", "Spot"), at(profile+".evictionPolicy", "Deallocate")))
	m := w.machines()[0]
	w.do("POST", m.ID+"/simulateEviction", nil).want(204)
	w.clock.Advance(10 * time.Second)
	event := w.machines()[0].Event
	require.Equal(t, &MachineEvent{ID: event.ID, Type: "Preempt", Notice: 20 * time.Second}, event)
	w.do("POST", m.ID+"/simulateEviction", nil).want(204)
	require.Equal(t, event, w.machines()[0].Event, "it is evicted once")
	require.NoError(t, w.server.ReportAck(m.ID, "another"))
	require.Len(t, w.machines(), 2)
	require.NoError(t, w.server.ReportAck(m.ID, event.ID))
	require.Equal(t, map[string]int{"running HealthState/initializing": 1, "deallocated ": 1}, states(w.members()), "it goes before the notice is over")
	w.finished(w.do("POST", m.ID+"/start", nil).want(202))
	w.clock.Advance(time.Hour)
	require.Len(t, w.machines(), 2, "the eviction is over")
	require.Nil(t, w.machines()[0].Event)
}

// TestNoticeThatIsOver holds nobody back any more.
func TestNoticeThatIsOver(t *testing.T) {
	w := ruled(t, images, "*")
	w.put(model(t, 3, at(notice, object{"enable": true, "notBeforeTimeout": "PT5M"})))
	all := w.machines()
	leaves := func(i int) {
		w.do("POST", aSet+"/delete", `{"instanceIds":["`+all[i].Name+`"]}`).want(202)
	}
	ack := func(i int) {
		for _, m := range w.machines() {
			if m.ID == all[i].ID {
				require.NoError(t, w.server.ReportAck(m.ID, m.Event.ID))
			}
		}
	}
	leaves(0) // says nothing
	w.clock.Advance(3 * time.Minute)
	leaves(1)
	ack(1)
	w.clock.Advance(time.Minute)
	require.Len(t, w.machines(), 3)
	w.clock.Advance(time.Minute + deleteTime)
	require.Len(t, w.machines(), 1, "the first one's time is over: the second had agreed two minutes before its own")

	// One that goes already is not held back by one that comes later.
	w = ruled(t, images, "*")
	w.put(model(t, 2, at(notice, object{"enable": true, "notBeforeTimeout": "PT5M"})))
	all = w.machines()
	leaves(0)
	ack(0)
	w.clock.Advance(deleteTime - time.Second)
	leaves(1)
	ack(1)
	w.clock.Advance(time.Second)
	require.Len(t, w.machines(), 1)
}

func TestAckOfADeletion(t *testing.T) {
	w := ruled(t, images, "*")
	w.put(model(t, 3, at(notice, object{"enable": true, "notBeforeTimeout": "PT5M"})))
	all := w.machines()
	deletion := w.do("POST", aSet+"/delete", `{"instanceIds":["`+all[0].Name+`","`+all[1].Name+`"]}`).want(202)
	event := func(i int) *MachineEvent { return w.machines()[i].Event }
	require.Equal(t, "Terminate", event(0).Type)
	require.Equal(t, 5*time.Minute, event(0).Notice)
	require.Nil(t, event(2))
	require.NoError(t, w.server.ReportAck(all[0].ID, event(0).ID))
	w.clock.Advance(time.Minute)
	require.Len(t, w.machines(), 3, "one that has not agreed holds the other back")
	require.NoError(t, w.server.ReportAck(all[1].ID, event(1).ID))
	w.clock.Advance(deleteTime)
	require.Len(t, w.machines(), 1)
	require.Equal(t, "Succeeded", str(w.get(deletion.header.Get("Azure-AsyncOperation")).body, "status"), "and the operation is over")

	last := w.machines()[0]
	w.do("DELETE", last.ID, nil).want(202)
	w.clock.Advance(4 * time.Minute)
	require.Equal(t, time.Minute, w.machines()[0].Event.Notice, "one that is deleted by itself hears of it, too")
	require.NoError(t, w.server.ReportAck(last.ID, w.machines()[0].Event.ID))
	w.clock.Advance(deleteTime)
	require.Empty(t, w.members())
}

const commands = images + `
run_commands:
  - {set: vmss-*, version: 1.7.1, contains: fleet-agent status, stdout: serving, takes: 40s}
  - {contains: sleep, takes: 2h}
  - {contains: quiet, fails: the agent is silent}
  - {contains: long, stdout: "` + "LONG" + `"}
`

func TestRunCommand(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	w := ruled(t, strings.Replace(commands, "LONG", long, 1))
	w.put(model(t, 1))
	vm := vms + "/" + str(w.members()[0], "name")
	body := func(script string) object { return object{"commandId": "RunShellScript", "script": []any{script}} }
	message := func(script string) (string, time.Duration) {
		began := w.clock.Now()
		start := w.do("POST", vm+"/runCommand", body(script)).want(202)
		require.NotEmpty(t, start.header.Get("Location"))
		require.Contains(t, w.do("POST", vm+"/runCommand", body(script)).refused(409, "Conflict"), "Run command extension execution is in progress.")
		var poll *reply
		for poll = w.get(start.header.Get("Azure-AsyncOperation")); str(poll.body, "status") == "InProgress"; poll = w.get(start.header.Get("Azure-AsyncOperation")) {
			require.Nil(t, poll.body["properties"], "no output before the end")
			w.clock.Advance(time.Second)
		}
		if failure := str(poll.body, "error.code"); failure != "" {
			return failure + ": " + str(poll.body, "error.message"), w.clock.Now().Sub(began)
		}
		value := items(poll.body, "properties.output.value")
		require.Equal(t, value, items(w.get(start.header.Get("Location")).want(200).body, "value"))
		require.Equal(t, "ProvisioningState/succeeded", str(value[0], "code"))
		return str(value[0], "message"), w.clock.Now().Sub(began)
	}
	got, took := message("sudo fleet-agent status -o brief")
	require.Equal(t, "Enable succeeded: \n[stdout]\nserving\n[stderr]\n", got)
	require.Equal(t, 40*time.Second, took)
	got, took = message("true")
	require.Equal(t, "Enable succeeded: \n[stdout]\n\n[stderr]\n", got)
	require.Equal(t, 20*time.Second, took, "never sooner than Azure")
	got, took = message("sleep 2h")
	require.Contains(t, got, "VMExtensionProvisioningTimeout")
	require.Equal(t, 90*time.Minute, took)
	got, _ = message("quiet")
	require.Contains(t, got, "VMAgentStatusCommunicationError: VM has not reported status for VM agent or extensions: the agent is silent")
	got, _ = message("long")
	require.Equal(t, "Enable succeeded: \n[stdout]\n"+long[len(long)-4096:]+"\n[stderr]\n", got)

	require.Contains(t, w.do("POST", vm+"/runCommand", `{"commandId":"RunPowerShellScript","script":["x"]}`).refused(501, "NotSimulated"), "RunPowerShellScript")
	w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript"}`).refused(501, "NotSimulated")
	w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":[1]}`).refused(400, "InvalidParameter")
	w.finished(w.do("POST", aSet+"/virtualMachines/"+str(w.members()[0], "name")+"/runCommand", body("true")).want(202))
	w.finished(w.do("POST", vm+"/deallocate", nil).want(202))
	require.Equal(t, "The operation requires the VM to be running (or set to run).", w.do("POST", vm+"/runCommand", body("true")).refused(409, "OperationNotAllowed"))
}

// FuzzCommandScript: what a client sends is a script, or an error of Azure's form.
func FuzzCommandScript(f *testing.F) {
	f.Add("#!/bin/sh\ntrue", "arg1", "it's")
	f.Add("true", "no name", "")
	f.Add("#!", "a", "$(id)\n")
	f.Fuzz(func(t *testing.T, line, name, value string) {
		got, err := commandScript(object{"commandId": "runshellscript", "script": []any{line}, "parameters": []any{object{"name": name, "value": value}}})
		require.NoError(t, err)
		require.Contains(t, got, "set -- "+quoteShell(value)+"\n", "whatever the value is, it is one word")
		first, _, _ := strings.Cut(line, "\n")
		require.Equal(t, strings.HasPrefix(line, "#!"), strings.HasPrefix(got, "#!") && strings.HasPrefix(got, first+"\n"))
	})
}

func TestRunCommandOnAMachine(t *testing.T) {
	w := ruled(t, images, "*")
	w.put(model(t, 1))
	vm := w.machines()[0].ID
	start := w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":["#!/bin/bash","echo \"$arg1\" $2"],
		"parameters":[{"name":"arg1","value":"it's"},{"name":"no name","value":"b"}]}`).want(202)
	command := w.machines()[0].Command
	require.Equal(t, "#!/bin/bash\nexport arg1='it'\\''s'\nset -- 'it'\\''s' 'b'\necho \"$arg1\" $2\n", command.Script)
	require.Equal(t, 90*time.Minute, command.Left)
	require.NoError(t, w.server.ReportCommand(command.ID, CommandResult{Stdout: "it's b\n", Stderr: "hm\n"}))
	w.clock.Advance(runCommandLeast - 1)
	require.Equal(t, "InProgress", str(w.get(start.header.Get("Azure-AsyncOperation")).body, "status"), "never sooner than Azure")
	w.clock.Advance(1)
	require.Equal(t, "Enable succeeded: \n[stdout]\nit's b\n\n[stderr]\nhm\n", str(items(w.get(start.header.Get("Location")).body, "value")[0], "message"))
	require.Nil(t, w.machines()[0].Command)
	require.NoError(t, w.server.ReportCommand(command.ID, CommandResult{Stdout: "late"}))

	start = w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":["sleep 1d"]}`).want(202)
	w.clock.Advance(runCommandMost)
	require.Equal(t, "VMExtensionProvisioningTimeout", str(w.get(start.header.Get("Azure-AsyncOperation")).body, "error.code"))

	start = w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":["true"]}`).want(202)
	id := w.machines()[0].Command.ID
	w.finished(w.do("DELETE", vm, nil).want(202))
	require.NoError(t, w.server.ReportCommand(id, CommandResult{Failure: "the machine has ended"}))
	w.clock.Advance(runCommandLeast)
	require.Equal(t, "VMAgentStatusCommunicationError", str(w.get(start.header.Get("Azure-AsyncOperation")).body, "error.code"))
}

func TestCapacity(t *testing.T) {
	for code, says := range map[string]string{
		"AllocationFailed":                      "sufficient capacity for the requested VM size in this region",
		"ZonalAllocationFailed":                 "sufficient capacity for the requested VM size in this zone",
		"OverconstrainedZonalAllocationRequest": "Constraints applied are:\n  - Availability Zone\n  - VM Size\n",
	} {
		w := ruled(t, images+"capacity: [{error: "+code+", region: East US, vm_size: standard_d2as_v5, set: vmss-*, count: 1}]\n")
		put := w.do("PUT", aSet, model(t, 2)).want(201)
		w.clock.Advance(time.Minute)
		poll := w.get(put.header.Get("Azure-AsyncOperation")).body
		require.Equal(t, code, str(poll, "error.code"))
		require.Contains(t, str(poll, "error.message"), says)
		require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()), "the others are born")
		failed := 0
		for _, m := range w.members() {
			if str(m, "properties.provisioningState") == "Failed" {
				failed++
				status := items(m, "properties.instanceView.statuses")[0]
				require.Equal(t, "ProvisioningState/failed/"+code, str(status, "code"))
				require.Contains(t, str(status, "message"), says)
			}
		}
		require.Equal(t, 1, failed)
		w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":3}}`).want(200))
		require.Len(t, w.members(), 3, "the rule is used up")
	}
	for code, says := range map[string]string{
		"OperationNotAllowed": "results in exceeding approved standardDASv5Family Cores quota. Additional details - Deployment Model: Resource Manager, " +
			"Location: eastus, Current Limit: 100, Current Usage: 100, Additional Required: 2, (Minimum) New Limit Required: 102.",
		"QuotaExceeded": "results in exceeding quota limit of Core. Maximum allowed: 4, Current in use: 4, Additional requested: 2.",
	} {
		w := ruled(t, images+"capacity: [{error: "+code+", after: 10m, for: 10m}]\n")
		require.Len(t, w.put(model(t, 1)), 1, "not yet")
		w.clock.Advance(10 * time.Minute)
		patch := w.do("PATCH", aSet, `{"sku":{"capacity":2}}`).want(200)
		w.clock.Advance(time.Minute)
		poll := w.get(patch.header.Get("Azure-AsyncOperation")).body
		require.Equal(t, code, str(poll, "error.code"))
		require.Contains(t, str(poll, "error.message"), says)
		require.Len(t, w.members(), 1, "a quota is asked before there is a machine")
		w.clock.Advance(10 * time.Minute)
		w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":3}}`).want(200))
		require.Len(t, w.members(), 3, "the rule is over")
	}
	for _, other := range []string{"region: westus3", "vm_size: Standard_D4as_v5", "set: boot-*"} {
		w := ruled(t, images+"capacity: [{error: AllocationFailed, "+other+"}]\n")
		require.Equal(t, map[string]int{"running HealthState/healthy": 1}, states(w.put(model(t, 1))))
	}
}

// TestCapacityOfUpgrades: an upgrade in place may find no room either, nor a start.
func TestCapacityOfUpgrades(t *testing.T) {
	w := ruled(t, images+`          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}
capacity:
  - {error: OverconstrainedZonalAllocationRequest, upgrades: true, count: 3}
  - {error: AllocationFailed, after: 1h, count: 1}
`)
	w.put(model(t, 2))
	name := w.names()[0]
	outcome := func(started *reply) string {
		w.clock.Advance(2 * time.Minute)
		return str(w.get(started.want(202).header.Get("Azure-AsyncOperation")).body, "error.code")
	}
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	for _, action := range []string{aSet + "/manualupgrade", aSet + "/reimage"} {
		require.Equal(t, "OverconstrainedZonalAllocationRequest", outcome(w.do("POST", action, `{"instanceIds":["`+name+`"]}`)), action)
		m := w.get(vms + "/" + name + "?$expand=instanceView").body
		require.Equal(t, "Failed", str(m, "properties.provisioningState"))
		require.Equal(t, "ProvisioningState/failed/OverconstrainedZonalAllocationRequest", str(items(m, "properties.instanceView.statuses")[0], "code"))
		require.Equal(t, map[string]int{"1.7.1": 2}, w.exact(), "its old disk is there")
	}
	w.do("PATCH", aSet, object{"properties": object{"upgradePolicy": object{"mode": "Rolling"}}}).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 1, 0, 1, failedUpgraded)
	w.do("PATCH", aSet, `{"tags":{}}`).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Completed", 2, 0, 0, 0, "")

	require.Empty(t, outcome(w.do("POST", vms+"/"+name+"/deallocate", nil)))
	require.Equal(t, "AllocationFailed", outcome(w.do("POST", vms+"/"+name+"/start", nil)))
	require.Equal(t, 1, states(w.members())["deallocated "])
	require.Empty(t, outcome(w.do("POST", aSet+"/start", nil)))
	require.Equal(t, map[string]int{"running HealthState/healthy": 2}, states(w.members()))
}

// TestQuota: all machines count, also those that do not run.
func TestQuota(t *testing.T) {
	w := ruled(t, images+"quotas: {East US: 5}\n")
	cores := func(region string) (used, limit int) {
		for _, u := range w.all("/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Compute/locations/" + region + "/usages") {
			if str(u, "name.value") == "cores" {
				used, _ = integer(u, "currentValue")
				limit, _ = integer(u, "limit")
			}
		}
		return used, limit
	}
	w.put(model(t, 2))
	w.do("POST", vms+"/"+w.names()[0]+"/deallocate", nil).want(202)
	patch := w.do("PATCH", aSet, `{"sku":{"capacity":3}}`).want(200)
	w.clock.Advance(time.Minute)
	poll := w.get(patch.header.Get("Azure-AsyncOperation")).body
	require.Equal(t, "OperationNotAllowed", str(poll, "error.code"))
	require.Contains(t, str(poll, "error.message"), "Current Limit: 5, Current Usage: 4, Additional Required: 2, (Minimum) New Limit Required: 6.")
	w.finished(w.do("POST", vms+"/"+w.names()[0]+"/start", nil).want(202))
	used, limit := cores("eastus")
	require.Equal(t, []int{4, 5}, []int{used, limit})
	used, limit = cores("westus3")
	require.Equal(t, []int{0, enoughCores}, []int{used, limit})
	_, err := ParseScenario("s.yaml", []byte("quotas: {eastus: -1}"))
	require.ErrorContains(t, err, "it is not negative")
}

func TestSizes(t *testing.T) {
	for size, want := range map[string]string{
		"Standard_D2as_v5": "2 standardDASv5Family", "Standard_F16s": "16 standardFSFamily", "Standard_E4-2ds_v5": "4 standardEDSv5Family", "odd": "1 Total Regional",
	} {
		require.Equal(t, want, whole(coresOf(size)).String()+" "+familyOf(size))
	}
}

// TestExplicitVersion: an excluded version deploys by its id, and one that is not in the
// region does not.
func TestExplicitVersion(t *testing.T) {
	w := applied(t, images)
	require.Equal(t, map[string]int{"running HealthState/unhealthy": 1}, states(w.put(model(t, 1, at(imagePath+".id", anImage+"/versions/1.7.0")))), "it is excluded")
	w = applied(t, images)
	put := w.do("PUT", aSet, model(t, 1, at(imagePath+".id", anImage+"/versions/1.8.0"))).want(201)
	w.clock.Advance(time.Minute)
	require.Equal(t, "GalleryImageNotFound", str(w.get(put.header.Get("Azure-AsyncOperation")).body, "error.code"))
	require.Empty(t, w.members())
}

func TestMachineSections(t *testing.T) {
	sc, err := ParseScenario("dir/s.yaml", []byte(`
machines: {sets: [boot-*], agent: {config: {checks: []}, versions: {1.7.0: {config: {checks: [{name: a}]}}}}}
`))
	require.NoError(t, err)
	require.Equal(t, []string{"boot-*"}, sc.RealSets())
	agents, err := sc.Agents()
	require.NoError(t, err)
	require.Equal(t, "checks: []\n", string(agents.Config))
	require.YAMLEq(t, "checks: [{name: a}]", string(agents.Versions["1.7.0"]))

	sc, err = ParseScenario("dir/s.yaml", []byte("machines: {agent: {file: none.yaml}}"))
	require.NoError(t, err)
	require.Equal(t, []string{"*"}, sc.RealSets())
	_, err = sc.Agents()
	require.ErrorContains(t, err, "dir/none.yaml")
	none := &Scenario{}
	agents, err = none.Agents()
	require.NoError(t, err)
	require.Nil(t, agents)

	for text, says := range map[string]string{
		"machines: {agent: {}}":                                     "an agent has one of config and file",
		"machines: {agent: {config: {}, file: x}}":                  "an agent has one of config and file",
		"machines: {agent: {config: {}, versions: {1.7.0: {}}}}":    "a version has one of config and file",
		"machines: {agent: {config: {}, versions: {a: {file: x}}}}": `"a" is no version`,
		"machines: {sets: ['[']}":                                   `"[" is no pattern of names`,
		"run_commands: [{takes: -1s}]":                              "it is not negative",
		"run_commands: [{set: '['}]":                                "is no pattern",
		"capacity: [{error: Odd}]":                                  `"Odd" is not one of AllocationFailed`,
		"capacity: [{region: eastus}]":                              "error is missing",
		"capacity: [{error: AllocationFailed, count: -1}]":          "are not negative",
	} {
		_, err := ParseScenario("s.yaml", []byte(text))
		require.ErrorContains(t, err, says, text)
	}
}
