package fleet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var bootBegan = time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)

// booted is an observation of an instance that came up in 50 seconds, a minute after the
// set was asked for.
func booted() *BootObservation {
	return &BootObservation{
		Version: "1.8.3", BootWithin: 90 * time.Second, Began: bootBegan, Seen: bootBegan.Add(5 * time.Second), Now: bootBegan.Add(time.Minute),
		Member: &BootMember{
			ID: "/vm/boot-ubuntu-app-1-8-3_a1", Created: bootBegan.Add(2 * time.Second), Provisioning: Succeeded, Power: Running,
			ExactVersion: "1.8.3", Health: Healthy, HealthAt: bootBegan.Add(52 * time.Second),
		},
	}
}

func TestJudgeBoot(t *testing.T) {
	late := bootBegan.Add(5*time.Second + 90*time.Second + bootPatience + time.Second)
	for _, tt := range []struct {
		name   string
		change func(o *BootObservation)
		want   BootOutcome
		reason string
		hint   string
	}{
		{"in time", func(*BootObservation) {}, BootPassed, "Healthy 50s after its allocation, and boot_within is 1m30s", ""},
		{
			"slow", func(o *BootObservation) { o.Member.HealthAt = o.Member.Created.Add(97 * time.Second) }, BootFailed,
			"Healthy 1m37s after its allocation, and boot_within is 1m30s", "systemd-analyze",
		},
		{"a clock that goes back", func(o *BootObservation) { o.Member.HealthAt = bootBegan }, BootPassed, "Healthy 0s after", ""},

		{"nothing yet", func(o *BootObservation) { o.Member, o.Seen = nil, time.Time{} }, BootWaiting, "waiting for an instance", ""},
		{
			"boots", func(o *BootObservation) {
				o.Member.Power, o.Member.Provisioning, o.Member.Health = "starting", "Creating", HealthMissing
			}, BootWaiting,
			"the instance starts", "",
		},
		{"runs", func(o *BootObservation) { o.Member.Health = Initializing }, BootWaiting, "the instance runs, health: Initializing", ""},
		{"Healthy without a time", func(o *BootObservation) { o.Member.HealthAt = time.Time{} }, BootWaiting, "the instance runs, health: Healthy", ""},
		{"no version yet", func(o *BootObservation) { o.Member.ExactVersion = "" }, BootWaiting, "the instance runs", ""},
		{"Unhealthy, and it may come", func(o *BootObservation) { o.Member.Health = Unhealthy }, BootWaiting, "Unhealthy", ""},

		{
			"Unhealthy to the end", func(o *BootObservation) { o.Now, o.Member.Health = late, Unhealthy }, BootFailed,
			"the instance was not Healthy within 6m30s: its health is Unhealthy", "says that it is not well",
		},
		{"Unknown to the end", func(o *BootObservation) { o.Now, o.Member.Health = late, HealthUnknown }, BootFailed, "its health is Unknown", "ApplicationHealthState"},
		{"Initializing to the end", func(o *BootObservation) { o.Now, o.Member.Health = late, Initializing }, BootFailed, "Initializing", "grace period"},
		{"no health", func(o *BootObservation) {
			o.Now, o.Member.Health, o.Member.Extension = late, HealthMissing, "the handler could not be started"
		}, BootFailed, "its health is missing; the health extension: the handler could not be started", "hangs in its boot"},
		{
			"never provisioned", func(o *BootObservation) { o.Now, o.Member.Provisioning = late, "Creating" }, BootFailed,
			"the instance is Healthy, and after 6m30s still not provisioned (Creating)", "Azure Linux Agent",
		},
		{
			"stopped", func(o *BootObservation) { o.Now, o.Member.Power, o.Member.Health = late, "stopped", HealthMissing }, BootFailed,
			"the instance stopped by itself, and was not Healthy within 6m30s", "",
		},

		{"Healthy without a time to the end", func(o *BootObservation) { o.Now, o.Member.HealthAt = late, time.Time{} }, BootInconclusive, "does not say since when", ""},
		{"no version to the end", func(o *BootObservation) { o.Now, o.Member.ExactVersion = late, "" }, BootInconclusive, "or of which version", ""},
		{
			"never ran", func(o *BootObservation) { o.Now, o.Member.Power, o.Member.Health = late, "starting", HealthMissing }, BootInconclusive,
			"the instance does not run after 6m30s: its power state is starting", "",
		},
		{"deallocated", func(o *BootObservation) { o.Now, o.Member.Power, o.Member.Health = late, Deallocated, HealthMissing }, BootInconclusive, "deallocated", ""},
		{"no view", func(o *BootObservation) { o.Now, o.Member.Power, o.Member.Health = late, "", HealthMissing }, BootInconclusive, "its power state is unknown", ""},
		{"another version", func(o *BootObservation) { o.Member.ExactVersion = "1.7.1" }, BootInconclusive, "the instance was made from 1.7.1, and 1.8.3 was asked for", ""},
		{"gone", func(o *BootObservation) { o.Member = nil }, BootInconclusive, "the instance is gone, and nobody here removed it", "activity log"},
		{
			"none in time", func(o *BootObservation) { o.Member, o.Seen, o.Now = nil, time.Time{}, bootBegan.Add(16*time.Minute) }, BootInconclusive,
			"Azure allocated no instance within 15m0s", "",
		},
		{"proven, and the set failed", func(o *BootObservation) { o.Failure = &Failure{"InternalExecutionError", "x"} }, BootPassed, "Healthy 50s", ""},
		{
			"the set failed", func(o *BootObservation) {
				o.Failure, o.Member.Health = &Failure{"AllocationFailed", "Allocation failed."}, HealthMissing
			}, BootInconclusive,
			"AllocationFailed: Allocation failed", "no room",
		},
		{"the instance knows more", func(o *BootObservation) {
			o.Failure, o.Member.Failure = &Failure{"DeploymentFailed", "x"}, &Failure{"OSProvisioningTimedOut", "OS Provisioning for VM 'a' did not finish in the allotted time."}
		}, BootFailed, "OSProvisioningTimedOut: OS Provisioning for VM 'a' did not finish in the allotted time", "did not finish its provisioning"},
		{"the set knows more", func(o *BootObservation) {
			o.Failure, o.Member.Failure = &Failure{"ZonalAllocationFailed", "x"}, &Failure{}
		}, BootInconclusive, "ZonalAllocationFailed: x", "no room"},
		{"nobody knows", func(o *BootObservation) { o.Member.Failure = &Failure{} }, BootInconclusive, "no reason was given", "not known to be the fault of the image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := booted()
			tt.change(o)
			v := JudgeBoot(o)
			require.Equal(t, tt.want, v.Outcome, v.Reason)
			require.Contains(t, v.Reason, tt.reason)
			require.Contains(t, v.Hint, tt.hint)
			if v.Outcome == BootInconclusive {
				require.NotEmpty(t, v.Hint, "it says what to do")
			}
		})
	}
}

// Nothing but the image fails an image.
func TestCauseOf(t *testing.T) {
	for _, tt := range []struct {
		code, message string
		want          Cause
	}{
		{"OSProvisioningTimedOut", "", CauseImage},
		{"osprovisioningclienterror", "", CauseImage},
		{"VMExtensionProvisioningError", "VM has reported a failure when processing extension 'health'", CauseImage},
		{"AllocationFailed", "", CauseCapacity},
		{"OverconstrainedZonalAllocationRequest", "", CauseCapacity},
		{"SkuNotAvailable", "", CauseCapacity},
		{"OperationNotAllowed", "Operation could not be completed as it results in exceeding approved standardDASv5Family Cores quota.", CauseQuota},
		{"OperationNotAllowed", "Operation results in exceeding quota limits of Core. Maximum allowed: 4", CauseQuota},
		{"QuotaExceeded", "", CauseQuota},
		{"GalleryImageNotFound", "", CauseReplication},
		{"TooManyRequests", "", CauseThrottled},
		{"RequestDisallowedByPolicy", "", CauseDenied},
		{"SubnetIsFull", "", CauseNetwork},
		{"InternalExecutionError", "An internal execution error occurred.", CausePlatform},
		{"OperationNotAllowed", "The server rejected the operation.", CauseUnknown},
		{"DeploymentFailed", `At least one resource failed: {"code":"ZonalAllocationFailed","message":"x"}`, CauseCapacity},
		{"DeploymentFailed", `{"code":"OSProvisioningTimedOut"}`, CauseImage},
		{"", "", CauseUnknown},
		{"Tomorrow", "Something else.", CauseUnknown},
	} {
		require.Equal(t, tt.want, CauseOf(tt.code, tt.message), tt.code+" "+tt.message)
		if tt.want != CauseImage {
			require.Equal(t, BootInconclusive, InconclusiveBoot(Failure{tt.code, tt.message}).Outcome)
			require.Equal(t, BootInconclusive, refusedBoot(nil, Failure{tt.code, tt.message}).Outcome, tt.code)
		}
	}
	for _, row := range errorCodes {
		if row.cause != CauseImage {
			require.NotEmpty(t, causeHints[row.cause], row.cause)
		}
	}
}

func TestFailureString(t *testing.T) {
	for want, f := range map[string]Failure{
		"no reason was given": {},
		"Code":                {Code: "Code"},
		"only words":          {Message: " only\n words. "},
		"Code: Allocation failed. We do not have sufficient capacity for the requested VM size": {
			"Code", "Allocation failed. We do not have sufficient capacity for the requested VM size. Read more at http://aka.ms/x",
		},
	} {
		require.Equal(t, want, f.String())
	}
	require.LessOrEqual(t, len([]rune(Failure{Message: string(make([]rune, 9000))}.String())), 241)
}

// An instance as Azure tells of it.
func TestBootMemberOf(t *testing.T) {
	read := func(text string) *BootMember {
		var vm Document
		require.NoError(t, json.Unmarshal([]byte(text), &vm))
		return BootMemberOf(vm)
	}
	require.Equal(t, &BootMember{
		ID: "/vm/a", Created: bootBegan, Provisioning: Succeeded, Power: Running, ExactVersion: "1.8.3", Health: Healthy, HealthAt: bootBegan.Add(52 * time.Second),
	}, read(`{"id": "/vm/a", "properties": {"provisioningState": "Succeeded", "timeCreated": "2026-03-05T14:00:00.0000000+00:00",
		"storageProfile": {"imageReference": {"exactVersion": "1.8.3"}},
		"instanceView": {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/running"}],
			"extensions": [{"type": "Microsoft.ManagedServices.ApplicationHealthLinux", "statuses": [{"code": "ProvisioningState/succeeded"}]}],
			"vmHealth": {"status": {"code": "HealthState/healthy", "time": "2026-03-05T14:00:52Z"}}}}}`))

	failed := read(`{"id": "/vm/a", "properties": {"provisioningState": "Failed", "instanceView": {
		"statuses": [{"code": "ProvisioningState/failed/OSProvisioningTimedOut", "message": "OS Provisioning did not finish."}],
		"extensions": [{"type": "Microsoft.ManagedServices.ApplicationHealthLinux", "statuses": [{"code": "ProvisioningState/failed/1", "message": "no such file"}]},
			{"type": "Other", "statuses": [{"code": "ProvisioningState/failed", "message": "not asked for"}]}]}}}`)
	require.Equal(t, &Failure{"OSProvisioningTimedOut", "OS Provisioning did not finish."}, failed.Failure)
	require.Equal(t, "no such file", failed.Extension)
	require.Equal(t, HealthMissing, failed.Health)
	require.Equal(t, &Failure{}, read(`{"properties": {"provisioningState": "Failed"}}`).Failure)

	odd := read(`{"id": 7, "properties": {"timeCreated": "yesterday", "instanceView": {"statuses": [null, 1, {"code": []}], "vmHealth": {"status": {"code": "HealthState/tired"}}}}}`)
	require.Equal(t, &BootMember{Health: HealthUnknown}, odd)
	require.Equal(t, BootWaiting, JudgeBoot(&BootObservation{Now: bootBegan, Began: bootBegan, Seen: bootBegan, Member: odd}).Outcome)
}

func TestBootSetServes(t *testing.T) {
	const version = "/images/ubuntu-app/versions/1.8.3"
	set := func(state, image string, created time.Time) Document {
		return Document{"properties": Document{
			"provisioningState": state, "timeCreated": created.Format(time.RFC3339),
			"virtualMachineProfile": Document{"storageProfile": Document{"imageReference": Document{"id": image}}},
		}}
	}
	serves := func(s Document) bool { return BootSetServes(s, version, 90*time.Second, bootBegan.Add(time.Minute)) }
	require.True(t, serves(set("Creating", "/IMAGES/ubuntu-app/versions/1.8.3", bootBegan)))
	require.True(t, serves(set("Succeeded", version, bootBegan)))
	for _, other := range []Document{
		nil, set("Failed", version, bootBegan), set("Deleting", version, bootBegan), set("Succeeded", "/images/ubuntu-app/versions/1.8.2", bootBegan),
		set("Succeeded", version, bootBegan.Add(-time.Minute)), set("Succeeded", version, bootBegan.Add(time.Hour)),
	} {
		require.False(t, serves(other), other)
	}
}

func TestJudgeReplication(t *testing.T) {
	read := func(summary string) Document {
		var version Document
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"name": "1.8.3", "properties": {"replicationStatus": {"summary": [%s]}}}`, summary), &version))
		return version
	}
	const other = `{"region": "West US 3", "state": "Completed"}`
	for _, tt := range []struct {
		summary string
		want    BootOutcome
		reason  string
	}{
		{other + `, {"region": "East US", "state": "Completed", "progress": 100}`, BootWaiting, ""},
		{`{"region": "East US", "state": "Replicating", "progress": 40}`, BootWaiting, "1.8.3 is not in eastus yet (40%)"},
		{`{"region": "East US", "state": "Unknown"}`, BootWaiting, "1.8.3 is not in eastus yet (0%)"},
		{``, BootWaiting, "Azure does not say where 1.8.3 is"},
		{`{"region": "East US", "state": "Failed", "details": "no room"}`, BootInconclusive, "1.8.3 could not be replicated to eastus: no room"},
		{other, BootInconclusive, "1.8.3 is not replicated to eastus"},
	} {
		v := JudgeReplication(read(tt.summary), "East US")
		require.Equal(t, tt.want, v.Outcome, tt.summary)
		require.Equal(t, tt.reason, v.Reason)
	}
}
