package azure

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// document reads what Azure would answer.
func document(tb testing.TB, text string) fleet.Document {
	tb.Helper()
	var d fleet.Document
	require.NoError(tb, json.Unmarshal([]byte(text), &d))
	return d
}

const wholeSet = `{
  "id": "` + authz + `", "name": "vmss-authz", "location": "East US", "zones": ["1", "2"], "etag": "\"7\"",
  "tags": {"owner": "payments"}, "sku": {"name": "Standard_D2as_v5", "tier": "Standard", "capacity": 10},
  "identity": {"type": "SystemAssigned, UserAssigned"},
  "properties": {
    "provisioningState": "Succeeded", "orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "singlePlacementGroup": false,
    "upgradePolicy": {
      "mode": "Rolling",
      "rollingUpgradePolicy": {"maxBatchInstancePercent": 20, "maxUnhealthyInstancePercent": 35, "maxUnhealthyUpgradedInstancePercent": 0,
        "pauseTimeBetweenBatches": "PT2M", "prioritizeUnhealthyInstances": true, "maxSurge": false, "enableCrossZoneUpgrade": true, "rollbackFailedInstancesOnPolicyBreach": true},
      "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": true, "disableAutomaticRollback": false, "useRollingUpgradePolicy": true}
    },
    "automaticRepairsPolicy": {"enabled": true, "gracePeriod": "PT30M", "repairAction": "Replace"},
    "priorityMixPolicy": {"baseRegularPriorityCount": 3, "regularPriorityPercentageAboveBase": 50},
    "spotRestorePolicy": {"enabled": true, "restoreTimeout": "PT1H"},
    "virtualMachineProfile": {
      "priority": "Spot", "evictionPolicy": "Deallocate",
      "storageProfile": {
        "imageReference": {"id": "` + compute + `galleries/galProd/images/ubuntu-app/versions/1.0.0", "exactVersion": "1.0.0"},
        "osDisk": {"createOption": "FromImage", "osType": "Linux", "deleteOption": "Delete"}
      },
      "osProfile": {"linuxConfiguration": {"patchSettings": {"patchMode": "ImageDefault"}}},
      "networkProfile": {
        "healthProbe": {"id": "/probe"},
        "networkInterfaceConfigurations": [{"name": "nic", "properties": {"ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": "/subnet"}}}]}}]
      },
      "scheduledEventsProfile": {
        "terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "PT5M"},
        "osImageNotificationProfile": {"enable": true, "notBeforeTimeout": "PT15M"}
      },
      "extensionProfile": {"extensions": [
        {"name": "health", "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0",
          "enableAutomaticUpgrade": true, "settings": {"port": 8080}}},
        null
      ]}
    }
  }
}`

func TestScaleSetMapping(t *testing.T) {
	d := document(t, wholeSet)
	yes, no := true, false
	require.Equal(t, fleet.ScaleSet{
		ID: authz, Location: "eastus", Zones: []string{"1", "2"}, ETag: `"7"`, Provisioning: "Succeeded", Tags: map[string]string{"owner": "payments"},
		Flexible: true, FaultDomains: 1, SinglePlacement: &no, Capacity: 10, VMSize: "Standard_D2as_v5",
		Image:       fleet.ImageReference{ID: compute + "galleries/galProd/images/ubuntu-app/versions/1.0.0", ExactVersion: "1.0.0"},
		Extensions:  []fleet.Extension{{Name: "health", Publisher: fleet.HealthPublisher, Type: fleet.HealthTypeLinux, Version: "2.0", AutoUpgrade: &yes, Settings: map[string]any{"port": 8080.0}}},
		HealthProbe: "/probe", SystemIdentity: true, PatchMode: "ImageDefault", OSDiskDelete: "Delete", SubnetID: "/subnet",
		Upgrade: fleet.UpgradePolicy{
			Mode: fleet.Rolling, AutoOS: true, DisableRollback: &no, UseRolling: &yes,
			Rolling: fleet.RollingPolicy{
				MaxBatch: new(20), MaxUnhealthy: new(35), MaxUnhealthyUpgraded: new(0), Pause: new(2 * time.Minute),
				PrioritizeUnhealthy: &yes, MaxSurge: &no, CrossZone: &yes, RollbackFailed: &yes,
			},
		},
		Repairs: fleet.RepairsPolicy{Enabled: true, Grace: new(30 * time.Minute), Action: "Replace"},
		Spot:    true, EvictionPolicy: "Deallocate",
		PriorityMix: &fleet.PriorityMix{RegularBase: 3, RegularAboveBase: 50}, SpotRestore: &fleet.SpotRestore{Enabled: true, Timeout: time.Hour},
		TerminateNotice: &fleet.Notice{Enabled: true, NotBefore: 5 * time.Minute}, OSImageNotice: &fleet.Notice{Enabled: true, NotBefore: 15 * time.Minute},
		Properties: d["properties"].(fleet.Document),
	}, fleet.ReadScaleSet(d))
}

// What Azure leaves out stays out.
func TestScaleSetMappingOfLittle(t *testing.T) {
	require.Equal(t, fleet.ScaleSet{}, fleet.ReadScaleSet(nil))

	marketplace := document(t, `{"properties":{"orchestrationMode":"Uniform","automaticRepairsPolicy":{"gracePeriod":"PTPT30MM"},"virtualMachineProfile":{
		"storageProfile":{"imageReference":{"publisher":"Canonical","offer":"o","sku":"s","version":"latest"},"osDisk":{"osType":"Windows"}},
		"osProfile":{"windowsConfiguration":{"enableAutomaticUpdates":true,"patchSettings":{"patchMode":"AutomaticByOS"}}}}}}`)
	yes := true
	require.Equal(t, fleet.ScaleSet{
		Image:   fleet.ImageReference{Publisher: "Canonical", Offer: "o", SKU: "s", Version: "latest"},
		Windows: true, WindowsAutoUpdates: &yes, PatchMode: "AutomaticByOS",
		Properties: marketplace["properties"].(fleet.Document),
	}, fleet.ReadScaleSet(marketplace))

	shared := document(t, `{"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"communityGalleryImageId":"/CommunityGalleries/c/Images/i"}}}}}`)
	require.Equal(t, "/CommunityGalleries/c/Images/i", fleet.ReadScaleSet(shared).Image.ID)
}

func TestMemberMapping(t *testing.T) {
	listed := document(t, `{"id":"`+authz+`/virtualMachines/vmss-authz_1","name":"vmss-authz_1","location":"eastus","zones":["2"],
		"properties":{"latestModelApplied":false,"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true},"provisioningState":"Updating",
		"virtualMachineResourceId":"`+compute+`virtualMachines/vmss-authz_1"}}`)
	vm := document(t, `{"id":"`+compute+`virtualMachines/VMSS-AUTHZ_1","name":"VMSS-AUTHZ_1","location":"eastus","zones":["1"],
		"properties":{"provisioningState":"Succeeded","priority":"Spot","timeCreated":"2026-03-05T14:00:00Z",
		"storageProfile":{"imageReference":{"id":"/i","exactVersion":"1.0.0"}},
		"instanceView":{"statuses":[null,{"code":"ProvisioningState/succeeded"},{"code":"PowerState/running"}],
			"vmHealth":{"status":{"code":"HealthState/unhealthy","time":"2026-03-05T14:02:00Z"}},
			"extensions":[{"name":"health","type":"Microsoft.ManagedServices.ApplicationHealthLinux","typeHandlerVersion":"2.0.19"},{"name":"custom"},null]}}}`)
	no := false
	require.Equal(t, []fleet.Member{{
		Name: "vmss-authz_1", ID: compute + "virtualMachines/VMSS-AUTHZ_1", Zone: "1", Created: time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC),
		Provisioning: "Succeeded", Power: fleet.Running, Spot: true, Image: fleet.ImageReference{ID: "/i", ExactVersion: "1.0.0"}, LatestModel: &no,
		Health: fleet.Unhealthy, HealthAt: time.Date(2026, 3, 5, 14, 2, 0, 0, time.UTC),
		Extensions:     map[string]string{fleet.HealthTypeLinux: "2.0.19", "custom": ""},
		ProtectScaleIn: true, ProtectSetActions: true,
	}}, fleet.JoinMembers([]fleet.Member{fleet.ReadListedMember(listed)}, []fleet.Member{fleet.ReadMachine(vm)}))

	vanished := fleet.JoinMembers([]fleet.Member{fleet.ReadListedMember(listed)}, nil)
	require.True(t, vanished[0].Vanished)
	require.Equal(t, fleet.ResourceID(compute+"virtualMachines/vmss-authz_1"), vanished[0].ID, "the machine's, to ask for it")
	require.Equal(t, "2", vanished[0].Zone)
}

func TestHealthMapping(t *testing.T) {
	for code, want := range map[string]fleet.HealthState{
		"HealthState/healthy": fleet.Healthy, "HealthState/Unhealthy": fleet.Unhealthy, "HealthState/initializing": fleet.Initializing,
		"HealthState/unknown": fleet.HealthUnknown, "HealthState/tired": fleet.HealthUnknown, "": fleet.HealthUnknown,
	} {
		require.Equal(t, want, fleet.HealthOf(code), code)
	}
}

func TestUpgradeMapping(t *testing.T) {
	start, end := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), time.Date(2026, 3, 5, 14, 9, 0, 0, time.UTC)
	// The answer of get-latest can lack its id.
	latest := document(t, `{"properties":{"runningStatus":{"code":"Faulted","startTime":"2026-03-05T14:00:00Z","lastActionTime":"2026-03-05T14:09:00Z"},
		"progress":{"successfulInstanceCount":1,"failedInstanceCount":2,"inProgressInstanceCount":3,"pendingInstanceCount":4},
		"error":{"code":"MaxUnhealthyInstancePercentExceededInRollingUpgrade","message":"m"}}}`)
	want := fleet.RollingUpgrade{
		Code: "Faulted", Start: start, End: end, Successful: 1, Failed: 2, InProgress: 3, Pending: 4,
		ErrorCode: "MaxUnhealthyInstancePercentExceededInRollingUpgrade", Error: "m",
	}
	require.Equal(t, &want, fleet.ReadRollingUpgrade(latest))
	running := document(t, `{"properties":{"runningStatus":{"code":"RollingForward","lastActionTime":"2026-03-05T14:09:00Z"}}}`)
	require.True(t, fleet.ReadRollingUpgrade(running).Active())
	require.Zero(t, fleet.ReadRollingUpgrade(running).End)
	require.Nil(t, fleet.ReadRollingUpgrade(fleet.Document{}))

	past := document(t, `{"properties":{"runningStatus":{"code":"Completed","startTime":"2026-03-05T14:00:00Z","endTime":"2026-03-05T14:09:00Z"},
		"startedBy":"Platform","targetImageReference":{"exactVersion":"1.1.0"},"rollbackInfo":{"successfullyRolledbackInstanceCount":1,"failedRolledbackInstanceCount":2}}}`)
	require.Equal(t, fleet.RollingUpgrade{
		Code: "Completed", Start: start, End: end, StartedBy: "Platform", Target: fleet.ImageReference{ExactVersion: "1.1.0"}, RolledBack: 1, RollbackFailed: 2,
	}, fleet.ReadPastUpgrade(past))
}

func TestAutoscaleMapping(t *testing.T) {
	setting := document(t, `{"id":"/as","location":"eastus","properties":{"enabled":true,"targetResourceUri":"`+authz+`",
		"predictiveAutoscalePolicy":{"scaleMode":"ForecastOnly","scaleLookAheadTime":"PT15M"},
		"profiles":[{"name":"p","capacity":{"minimum":"3","maximum":"30","default":"x"},"rules":[
			{"metricTrigger":{"metricName":"Percentage CPU","metricResourceUri":"/m","timeGrain":"PT1M","statistic":"Average","timeAggregation":"Average","operator":"GreaterThan","threshold":70,"timeWindow":"PT5M"},
			 "scaleAction":{"direction":"Increase","type":"ChangeCount","value":"2","cooldown":"PT5M"}},null]}]}}`)
	require.Equal(t, fleet.Autoscale{
		ID: "/as", Target: authz, Enabled: true, Min: 3, Max: 30, Predictive: "ForecastOnly", LookAhead: 15 * time.Minute,
		Rules: []fleet.ScaleRule{{Metric: "Percentage CPU", Aggregation: "Average", Operator: "GreaterThan", Threshold: 70, Out: true, By: 2, Window: 5 * time.Minute, Cooldown: 5 * time.Minute, Odd: "looks at /m"}},
	}, fleet.ReadAutoscale(setting))
	require.Equal(t, fleet.Autoscale{}, fleet.ReadAutoscale(nil))

	rules, _ := setting["properties"].(fleet.Document)["profiles"].([]any)[0].(fleet.Document)["rules"].([]any)
	rule := rules[0].(fleet.Document)
	trigger, action := rule["metricTrigger"].(fleet.Document), rule["scaleAction"].(fleet.Document)
	trigger["metricResourceUri"] = strings.ToUpper(authz)
	odd := func() string { return fleet.ReadAutoscale(setting).Rules[0].Odd }
	require.Empty(t, odd())
	action["type"] = "PercentChangeCount"
	require.Equal(t, "acts by PercentChangeCount", odd())
	trigger["timeGrain"] = "PT5M"
	require.Equal(t, "takes values each PT5M", odd())
	trigger["statistic"] = "Max"
	require.Equal(t, "takes of members the Max", odd())
}

func TestImageMapping(t *testing.T) {
	require.Equal(t, fleet.Definition{
		ID: "/d", Location: "eastus", Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy", OS: "Linux", State: "Generalized", HyperV: "V2", Security: "TrustedLaunchSupported",
	}, fleet.ReadDefinition(document(t, `{"id":"/d","location":"East US","properties":{"osType":"Linux","osState":"Generalized","hyperVGeneration":"V2",
		"identifier":{"publisher":"kloudvin","offer":"ubuntu","sku":"app-jammy"},"features":[null,{"name":"DiskControllerTypes","value":"NVMe"},{"name":"SecurityType","value":"TrustedLaunchSupported"}]}}`)))

	require.Equal(t, fleet.Version{
		ID: "/v", Name: "1.0.0", Provisioning: "Succeeded", Published: time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), Excluded: true,
		EndOfLife: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), Mode: "Full", Storage: "Standard_LRS", BlockDelete: true, Tags: map[string]string{"good": "yes"},
		Aggregated: "Failed",
		Regions: []fleet.Region{
			{Name: "eastus", Replicas: 3, Storage: "Standard_ZRS", State: "Completed", Progress: 100},
			{Name: "westus3", Replicas: 1, Storage: "Standard_LRS", Excluded: true, State: "Failed", Progress: 40, Details: "no capacity"},
			{Name: "westeurope", Replicas: 1, Storage: "Standard_LRS"},
			{Name: "northeurope", State: "Replicating", Progress: 5},
		},
	}, fleet.ReadVersionEverywhere(document(t, `{"id":"/v","name":"1.0.0","location":"eastus","tags":{"good":"yes"},"properties":{"provisioningState":"Succeeded",
		"publishingProfile":{"publishedDate":"2026-03-05T14:00:00Z","excludeFromLatest":true,"endOfLifeDate":"2026-09-01T00:00:00Z","replicationMode":"Full","storageAccountType":"Standard_LRS","replicaCount":1,
			"targetRegions":[{"name":"East US","regionalReplicaCount":3,"storageAccountType":"Standard_ZRS"},null,{"name":"westus3","regionalReplicaCount":1,"excludeFromLatest":true},{"name":"West Europe"}]},
		"safetyProfile":{"blockDeletionBeforeEndOfLife":true},
		"replicationStatus":{"aggregatedState":"Failed","summary":[{"region":"eastus","state":"Completed","progress":100},{"region":"West US 3","state":"Failed","progress":40,"details":"no capacity"},null,{"region":"North Europe","state":"Replicating","progress":5}]}}}`)))
}

func TestDurationMapping(t *testing.T) {
	read := func(text any) *time.Duration {
		return fleet.ReadScaleSet(fleet.Document{"properties": fleet.Document{"automaticRepairsPolicy": fleet.Document{"gracePeriod": text}}}).Repairs.Grace
	}
	for text, want := range map[string]time.Duration{
		"PT30M": 30 * time.Minute, "PT1H30M": 90 * time.Minute, "P1D": 24 * time.Hour, "P1DT2H": 26 * time.Hour, "PT0S": 0, "PT90S": 90 * time.Second, "PT1.5S": time.Second,
	} {
		require.Equal(t, &want, read(text), text)
	}
	for _, text := range []any{"", "P", "PT", "30M", "PTPT30MM", "PT99999999M", "P1Y", "-PT5M", 30.0, nil} {
		require.Nil(t, read(text), text)
	}
}
