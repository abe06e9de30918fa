package fleetfile

import (
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// setsPath is the path of the map of one scale set.
const setsPath = "scale_sets.*"

// setFields are the keys of a scale set. What has no default may be inherited from
// the section defaults, and taken away with the word off.
func setFields() []strict.Field {
	fields := slices.Concat(ownerFields(), createFields(), healthFields(), upgradeFields(), autoscaleFields(), spotFields())
	for i := range fields {
		f := &fields[i]
		f.Off = f.Default == "" && !f.Required && !slices.Contains(f.OneOf, "off") && strings.HasPrefix(f.Path, setsPath+".")
	}
	return fields
}

func ownerFields() []strict.Field {
	return []strict.Field{
		{
			Path: "defaults", Like: setsPath, Example: "{health: {extension: \"1.0\", port: 8080, path: /healthz}, terminate_notice: 5m}",
			Doc: "What every scale set has unless it says otherwise: the keys of a scale set, see [`scale_sets`](#scale_sets). Maps merge key by key, a list takes the place of the inherited one, " +
				"and the word `off` in a scale set takes an inherited key away: `terminate_notice: off`.",
		},
		{
			Path: "scale_sets", Format: formatSets, Example: "{vmss-legacy: {manage: image, id: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-legacy}}",
			Doc: "The scale sets, by name. All are in the orchestration mode Flexible.",
		},
		{
			Path: "scale_sets.*.manage", Default: "full", OneOf: []string{"full", "image", "observe"},
			Doc: "How much of the set is ours. `full`: `apply` makes it and keeps it as the file says, which needs `create`, or the `id` of a set that exists. `image`: somebody else owns it, and rollouts bring the image; " +
				"the set's mode is never changed. `observe`: it is looked at only. The last two need `id`.",
		},
		{
			Path: "scale_sets.*.tracks", Default: "pinned", OneOf: []string{"pinned", "latest"},
			Doc: "`pinned`: the set's model names one image version, which rollouts change. `latest` goes with `driver: platform-auto-os`, and with nothing else: " +
				"under a reference without a version every scale-out and repair takes the newest version at once.",
		},
		{
			Path: "scale_sets.*.id", Format: formatSetID, Example: "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-legacy",
			Doc: "The id of a set that exists. Left out: the set of this name in the resource group of the file.",
		},
		{
			Path: "scale_sets.*.location", Format: formatRegion, Example: "westus3",
			Doc: "Its region. Left out: that of the file.",
		},
		{
			Path: "scale_sets.*.tags", Format: formatTags, Example: "{tier: batch}",
			Doc: "Its tags, beside those of the file.",
		},
	}
}

func createFields() []strict.Field {
	return []strict.Field{
		{
			Path: "scale_sets.*.create", Example: "{capacity: 3, vm_size: Standard_D2as_v5, network: {subnet: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app}, admin: azureuser, ssh_key: ~/.ssh/pay.pub}",
			Doc: "What the set is made from. It is used once, when the set does not exist: the capacity of a set that runs belongs to autoscale and its operators.",
		},
		{
			Path: "scale_sets.*.create.capacity", Required: true, Min: "0", Max: "1000", Example: "3",
			Doc: "How many members it begins with.",
		},
		{
			Path: "scale_sets.*.create.vm_size", Required: true, Format: formatVMSize, Example: "Standard_D2as_v5",
			Doc: "The size of its members.",
		},
		{
			Path: "scale_sets.*.create.zones", Min: "1", Max: "3", Example: "[1, 2, 3]",
			Doc: "Its availability zones. Left out: none.",
		},
		{
			Path: "scale_sets.*.create.fault_domains", Default: "1", Min: "1", Max: "3",
			Doc: "Its fault domains: 1 with zones, 1 to 3 without. It cannot be changed later.",
		},
		{
			Path: "scale_sets.*.create.network", Required: true, Example: "{subnet: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app}",
			Doc: "Where its members are in the network.",
		},
		{
			Path: "scale_sets.*.create.network.subnet", Required: true, Format: formatID, Example: "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app",
			Doc: "The id of the subnet.",
		},
		{
			Path: "scale_sets.*.create.network.backend_pools", Format: formatID, Example: "[/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-net/providers/Microsoft.Network/loadBalancers/lb-pay/backendAddressPools/authz]",
			Doc: "The ids of the backend pools of load balancers that the members join.",
		},
		{
			Path: "scale_sets.*.create.admin", Required: true, Format: formatAdmin, Example: "azureuser",
			Doc: "The name of the administrator. There is no password.",
		},
		{
			Path: "scale_sets.*.create.ssh_key", Required: true, Format: formatFile, Example: "~/.ssh/pay.pub",
			Doc: "The file of the administrator's public key, from the directory of fleet.yaml on.",
		},
		{
			Path: "scale_sets.*.create.extra", Example: "{properties: {scaleInPolicy: {rules: [OldestVM]}}}",
			Doc: "What there is no key for: raw properties of Azure Resource Manager, merged last into the body of the request and shown by `plan`. A list takes the place of another; extensions stand beside that of `health`.",
		},
	}
}

func healthFields() []strict.Field {
	return []strict.Field{
		{
			Path: "scale_sets.*.health", Example: "{extension: \"1.0\", protocol: http, port: 8080, path: /healthz}",
			Doc: "The Application Health extension.",
		},
		{
			Path: "scale_sets.*.health.extension", Default: `"2.0"`, OneOf: []string{"1.0", "2.0"},
			Doc: "Its version. `1.0` takes exactly the status 200 for healthy. `2.0` asks for a JSON body, `{\"ApplicationHealthState\": \"Healthy\"}`: without one a member is Unknown, which upgrades and repairs take for unhealthy.",
		},
		{
			Path: "scale_sets.*.health.protocol", Default: "http", OneOf: []string{"http", "https", "tcp"},
			Doc: "How it asks.",
		},
		{
			Path: "scale_sets.*.health.port", Min: "1", Max: "65535", Example: "8080",
			Doc: "The port that it asks on.",
		},
		{
			Path: "scale_sets.*.health.path", Format: formatRequestPath, Example: "/healthz",
			Doc: "The path that it asks for.",
		},
		{
			Path: "scale_sets.*.health.interval", Default: "5s", Min: "5s", Max: "60s",
			Doc: "How often it asks, in whole seconds.",
		},
		{
			Path: "scale_sets.*.health.probes", Default: "1", Min: "1", Max: "24",
			Doc: "How many answers in a row change the state.",
		},
		{
			Path: "scale_sets.*.health.grace", Min: "5s", Max: "14400s", Example: "5m",
			Doc: "How long a new member may take, in whole seconds. Left out: `interval` times `probes`, which is short.",
		},
		{
			Path: "scale_sets.*.repairs", Example: "{after: 30m, action: replace}",
			Doc: "Automatic repairs. Left out: none.",
		},
		{
			Path: "scale_sets.*.repairs.after", Default: "10m", Min: "10m", Max: "90m",
			Doc: "How long after a change of a member its health is let alone (gracePeriod).",
		},
		{
			Path: "scale_sets.*.repairs.action", Default: "replace", OneOf: []string{"replace", "reimage", "restart"},
			Doc: "What is done to an unhealthy member.",
		},
		{
			Path: "scale_sets.*.terminate_notice", Min: "5m", Max: "15m", Example: "5m",
			Doc: "How long before a member is deleted it gets a Terminate event. Not for Spot. Left out: there is none.",
		},
		{
			Path: "scale_sets.*.os_image_notification", Default: "false",
			Doc: "Ask for an event on the member, 15 minutes ahead, when its OS disk is to be replaced.",
		},
	}
}

func upgradeFields() []strict.Field {
	return []strict.Field{
		{
			Path: "scale_sets.*.upgrade", Example: "{driver: batches, batch: 20%}",
			Doc: "How members get another image.",
		},
		{
			Path: "scale_sets.*.upgrade.driver", Default: "batches", OneOf: []string{"batches", "platform-rolling", "platform-auto-os"},
			Doc: "Who picks the members. `batches`: fleetctl, by name, and the set's mode is Manual. `platform-rolling`: Azure's rolling upgrade, and the set's mode is Rolling. " +
				"`platform-auto-os`: automatic OS upgrade, region by region, with `tracks: latest`.",
		},
		{
			Path: "scale_sets.*.upgrade.batch", Default: "20%", Format: strict.FormatPercent, Min: "5%", Max: "100%",
			Doc: "The share of the members that are upgraded at once, rounded down, at least one; where members are drained, at most 40 of them.",
		},
		{
			Path: "scale_sets.*.upgrade.max_unhealthy", Default: "20%", Format: strict.FormatPercent, Min: "5%", Max: "100%",
			Doc: "No batch begins while more of all members are unhealthy. Of three members one is 33 %.",
		},
		{
			Path: "scale_sets.*.upgrade.max_unhealthy_upgraded", Default: "0%", Format: strict.FormatPercent, Min: "0%", Max: "100%",
			Doc: "The upgrade fails when more of the upgraded members are unhealthy.",
		},
		{
			Path: "scale_sets.*.upgrade.pause", Default: "0s", Min: "0s", Max: "24h", Example: "2m",
			Doc: "How long to wait between batches.",
		},
		{
			Path: "scale_sets.*.upgrade.order", OneOf: []string{"zone", "name"}, Example: "zone",
			Doc: "The order of the members, with `driver: batches` only: `zone` finishes one zone before the next. Left out: `zone`.",
		},
		{
			Path: "scale_sets.*.upgrade.prioritize_unhealthy", Example: "true",
			Doc: "Begin with unhealthy members; with a driver of the platform only.",
		},
		{
			Path: "scale_sets.*.upgrade.max_surge", Example: "true",
			Doc: "Make new members before old ones go; with `driver: platform-rolling` only.",
		},
		{
			Path: "scale_sets.*.upgrade.cross_zone", Example: "false",
			Doc: "Take members of several zones into one batch; with a driver of the platform only.",
		},
		{
			Path: "scale_sets.*.upgrade.auto_os", Example: "true",
			Doc: "Automatic OS upgrade is on: it is, with `driver: platform-auto-os`, and is not with another. Azure decides whether it is there for the mode Flexible.",
		},
		{
			Path: "scale_sets.*.upgrade.auto_os_rollback", Example: "true",
			Doc: "Azure restores the old OS disk of a member that automatic OS upgrade made unhealthy; with `driver: platform-auto-os` only. Left out: it does.",
		},
	}
}

func autoscaleFields() []strict.Field {
	fields := []strict.Field{
		{
			Path: "scale_sets.*.autoscale", Example: "{min: 3, max: 30, default: 3}",
			Doc: "The autoscale setting. Left out: none.",
		},
		{
			Path: "scale_sets.*.autoscale.min", Required: true, Min: "0", Max: "1000", Example: "3",
			Doc: "The fewest members.",
		},
		{
			Path: "scale_sets.*.autoscale.max", Required: true, Min: "0", Max: "1000", Example: "30",
			Doc: "The most members.",
		},
		{
			Path: "scale_sets.*.autoscale.default", Required: true, Min: "0", Max: "1000", Example: "3",
			Doc: "The members when the metric cannot be read.",
		},
		{
			Path: "scale_sets.*.autoscale.out", Example: "{above: 70, over: 5m, by: 2, cooldown: 5m}",
			Doc: "When members are added. Left out: never.",
		},
	}
	fields = append(fields, ruleFields("scale_sets.*.autoscale.out", "above", "70", "added")...)
	fields = append(fields, strict.Field{
		Path: "scale_sets.*.autoscale.in", Example: "{below: 30, over: 10m, by: 1, cooldown: 10m}",
		Doc: "When members are taken away. Left out: never.",
	})
	fields = append(fields, ruleFields("scale_sets.*.autoscale.in", "below", "30", "taken away")...)
	return append(fields,
		strict.Field{
			Path: "scale_sets.*.autoscale.predictive", Example: "{mode: forecast-only, look_ahead: 15m}",
			Doc: "Predictive autoscale, which only adds members, and only by Percentage CPU. Left out: none.",
		},
		strict.Field{
			Path: "scale_sets.*.autoscale.predictive.mode", Required: true, OneOf: []string{"off", "forecast-only", "enabled"}, Example: "forecast-only",
			Doc: "`forecast-only` forecasts and does nothing.",
		},
		strict.Field{
			Path: "scale_sets.*.autoscale.predictive.look_ahead", Default: "15m", Min: "5m", Max: "60m",
			Doc: "How long ahead of the forecast members are added.",
		},
	)
}

// ruleFields are the keys of an autoscale rule.
func ruleFields(path, threshold, example, done string) []strict.Field {
	return []strict.Field{
		{
			Path: path + ".metric", Default: "Percentage CPU", Format: strict.FormatTexts,
			Doc: "The metric of the scale set, averaged over its members.",
		},
		{
			Path: path + "." + threshold, Required: true, Min: "0", Max: "1000000000000", Example: example,
			Doc: "Members are " + done + " while the average is " + threshold + " this.",
		},
		{
			Path: path + ".over", Default: "5m", Min: "5m", Max: "12h",
			Doc: "The time that is averaged over.",
		},
		{
			Path: path + ".by", Default: "1", Min: "1", Max: "1000",
			Doc: "How many members at once.",
		},
		{
			Path: path + ".cooldown", Default: "5m", Min: "1m", Max: "7d",
			Doc: "How long to wait after a change.",
		},
	}
}

func spotFields() []strict.Field {
	return []strict.Field{
		{
			Path: "scale_sets.*.spot", Example: "{regular_base: 3, regular_above_base: 50%, eviction: deallocate}",
			Doc: "The mix of Spot and regular members. Left out: all are regular. A change shapes what is added later.",
		},
		{
			Path: "scale_sets.*.spot.regular_base", Default: "0", Min: "0", Max: "1000",
			Doc: "How many members are regular ahead of any on Spot.",
		},
		{
			Path: "scale_sets.*.spot.regular_above_base", Default: "0%", Format: strict.FormatPercent, Min: "0%", Max: "100%",
			Doc: "The share of regular members above the base.",
		},
		{
			Path: "scale_sets.*.spot.eviction", Default: "deallocate", OneOf: []string{"deallocate", "delete"},
			Doc: "What becomes of an evicted member. With `deallocate` it counts as capacity and does not start by itself; with `delete` the capacity is lower afterwards.",
		},
		{
			Path: "scale_sets.*.spot.restore", Min: "15m", Max: "120m", Example: "1h",
			Doc: "How long Azure tries to bring evicted members back. Left out: it does not.",
		},
	}
}
