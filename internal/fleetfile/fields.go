package fleetfile

import (
	"reflect"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// newSchema binds the table of keys to fleet.Spec.
func newSchema() *strict.Schema {
	return strict.New(strict.Table{
		Type:    reflect.TypeFor[fleet.Spec](),
		Fields:  fieldTable(),
		Formats: formats(),
		Kinds: map[string][]string{
			"bake.customize[]":           {"file", "script"},
			"rollout.gates.prometheus[]": {"above", "below"},
		},
		Days:      true,
		Variables: true,
		TopKey:    "scale_sets",
	})
}

// Reference returns every key, in the order in which they are told, a section ahead
// of its keys.
func Reference() []strict.Field { return newSchema().Fields() }

// fieldTable is the one place that says what the keys are. Type is left out: it
// comes from the Go type.
func fieldTable() []strict.Field {
	return slices.Concat(topFields(), galleryFields(), bakeFields(), customizeFields(), setFields(), rolloutFields(), gateFields())
}

func topFields() []strict.Field {
	return []strict.Field{
		{
			Path: "version", Required: true, Min: "1", Max: "9", Example: "1",
			Doc: "The version of the format of the file: 1.",
		},
		{
			Path: "name", Required: true, Format: strict.FormatName, Example: "pay",
			Doc: "The name of the environment: one file is one environment.",
		},
		{
			Path: "subscription", Required: true, Format: formatSubscription, Example: "11111111-1111-1111-1111-111111111111",
			Doc: "The subscription of what has no id of its own.",
		},
		{
			Path: "resource_group", Required: true, Format: formatGroup, Example: "rg-pay-prod",
			Doc: "The resource group of what has no id of its own.",
		},
		{
			Path: "location", Required: true, Format: formatRegion, Example: "eastus",
			Doc: "The region of the gallery, of bakes, and of the scale sets that have none of their own: `eastus` or `East US`.",
		},
		{
			Path: "tags", Format: formatTags, Example: "{owner: payments}",
			Doc: "Tags of everything that is made from this file.",
		},
	}
}

func galleryFields() []strict.Field {
	return []strict.Field{
		{
			Path: "gallery", Example: "{name: galProd, image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}}",
			Doc: "The Compute Gallery and the image definition that the scale sets of this file run.",
		},
		{
			Path: "gallery.name", Required: true, Format: formatGallery, Example: "galProd",
			Doc: "The name of the gallery.",
		},
		{
			Path: "gallery.resource_group", Format: formatGroup, Example: "rg-images",
			Doc: "Its resource group. Left out: that of the file.",
		},
		{
			Path: "gallery.manage", Default: "full", OneOf: []string{"full", "observe"},
			Doc: "`full`: `apply` makes gallery and definition when they do not exist. `observe`: they are somebody else's, and only looked at, as are the identity and the role of bakes, and the resource group unless a scale set is managed in full: `apply` writes none of it. Image versions are made in them all the same.",
		},
		{
			Path: "gallery.image", Required: true, Example: "{name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}",
			Doc: "The image definition: Linux, generalized, generation V2 with `TrustedLaunchSupported`. It cannot be changed later.",
		},
		{
			Path: "gallery.image.name", Required: true, Format: formatGallery, Example: "ubuntu-app",
			Doc: "Its name.",
		},
		{
			Path: "gallery.image.publisher", Required: true, Format: formatImagePart, Example: "kloudvin",
			Doc: "Its publisher.",
		},
		{
			Path: "gallery.image.offer", Required: true, Format: formatImagePart, Example: "ubuntu",
			Doc: "Its offer.",
		},
		{
			Path: "gallery.image.sku", Required: true, Format: formatImagePart, Example: "app-jammy",
			Doc: "Its SKU.",
		},
		{
			Path: "gallery.storage", Default: "Standard_ZRS", OneOf: []string{"Standard_ZRS", "Standard_LRS", "Premium_LRS"},
			Doc: "The storage of the replicas. It cannot be changed of a version that exists.",
		},
		{
			Path: "gallery.replicas", Default: "1", Min: "1", Max: "100",
			Doc: "The replicas of a version in every region of a scale set of the file. Azure asks for one for each 50 machines that start at once.",
		},
		{
			Path: "gallery.regions", Format: formatRegions, Min: "1", Max: "100", Example: "{westus3: 2}",
			Doc: "The replicas in a region that needs another number, or that has no scale set.",
		},
		{
			Path: "gallery.replicate", Default: fleet.ReplicateAtBake, OneOf: []string{fleet.ReplicateAtBake, fleet.ReplicateByWave},
			Doc: "`at-bake` replicates a version everywhere when it is made; `by-wave` brings it into the regions of a wave when that begins.",
		},
		{
			Path: "gallery.end_of_life", Default: "0s", Min: "0s", Max: "3650d", Example: "180d",
			Doc: "How long after its bake a version is marked as at the end of its life. Azure does nothing then, and neither does a deployment. `0s`: never.",
		},
	}
}

func bakeFields() []strict.Field {
	return []strict.Field{
		{
			Path: "bake", Example: "{identity: id-aib, source: {publisher: Canonical, offer: 0001-com-ubuntu-server-jammy, sku: 22_04-lts-gen2}, version: '1.8.{n}'}",
			Doc: "How `fleetctl bake` makes an image version, with Azure Image Builder.",
		},
		{
			Path: "bake.identity", Required: true, Format: formatIdentity, Example: "id-aib",
			Doc: "The user-assigned identity that Image Builder works as: its name in the resource group, or its id.",
		},
		{
			Path: "bake.source", Required: true, Example: "{publisher: Canonical, offer: 0001-com-ubuntu-server-jammy, sku: 22_04-lts-gen2}",
			Doc: "The image of the Marketplace that it begins with.",
		},
		{
			Path: "bake.source.publisher", Required: true, Format: formatImagePart, Example: "Canonical",
			Doc: "Its publisher.",
		},
		{
			Path: "bake.source.offer", Required: true, Format: formatImagePart, Example: "0001-com-ubuntu-server-jammy",
			Doc: "Its offer.",
		},
		{
			Path: "bake.source.sku", Required: true, Format: formatImagePart, Example: "22_04-lts-gen2",
			Doc: "Its SKU.",
		},
		{
			Path: "bake.source.version", Default: "latest", Format: formatSourceVersion,
			Doc: "`latest`, or a version such as `22.04.202601150`.",
		},
		{
			Path: "bake.vm_size", Default: "Standard_D2as_v5", Format: formatVMSize,
			Doc: "The size of the virtual machine that builds.",
		},
		{
			Path: "bake.os_disk_gb", Default: "30", Min: "1", Max: "4095",
			Doc: "The size of its disk, and so of the image's, in GB.",
		},
		{
			Path: "bake.timeout", Default: "60m", Min: "6m", Max: "16h",
			Doc: "How long the build may take. Image Builder ends it then.",
		},
		{
			Path: "bake.version", Required: true, Format: formatBakeVersion, Example: "'1.8.{n}'",
			Doc: "The image version to make: `{n}` is the next number that is free.",
		},
		{
			Path: "bake.artifacts", Format: formatArtifacts, Example: "https://stbuild.blob.core.windows.net/artifacts",
			Doc: "A container of blobs, and a path in it if need be, for the local files that are copied and for scripts of more than 64 KiB: `fleetctl bake` puts each there as `SHA256/NAME`. You need Storage Blob Data Contributor on it, and the identity Storage Blob Data Reader. " +
				"Left out: files and scripts of at most 64 KiB stand in the template itself, and larger ones are refused.",
		},
		{
			Path: "bake.artifact_tags", Format: formatTags, Example: "{commit: 4f2a9c1}",
			Doc: "Tags of the version, beside those of the file.",
		},
	}
}

func customizeFields() []strict.Field {
	fields := []strict.Field{
		{
			Path: "bake.customize", Max: "100", Example: "[{name: install, script: aib/customizers/install-fleet-agent.sh}]",
			Doc: "What is done to the image, in order: each has a `name` and either a `file` to copy or a `script` to run. The first that fails ends the build.",
		},
		{
			Path: "bake.customize[].name", Required: true, Format: strict.FormatName, Example: "install",
			Doc: "The name of the customizer. No two customizers and validators share one.",
		},
		{
			Path: "bake.customize[].file", Format: formatFile, Example: "dist/fleet-agent_amd64.deb",
			Doc: "A local file to copy, from the directory of fleet.yaml on; goes with `to`.",
		},
		{
			Path: "bake.customize[].to", Format: formatTmp, Example: "/tmp/fleet-agent.deb",
			Doc: "Where the file goes: below `/tmp`, which is where Image Builder may write. Its checksum is put beside it, in the form of `sha256sum`, as `/tmp/NAME.sha256`.",
		},
	}
	fields = append(fields, scriptFields("bake.customize[]")...)
	fields = append(fields,
		strict.Field{
			Path: "bake.validate", Max: "100", Example: "[{name: boots, script: aib/customizers/validate.sh}]",
			Doc: "Scripts that look at the finished image before it is published.",
		},
		strict.Field{
			Path: "bake.validate[].name", Required: true, Format: strict.FormatName, Example: "boots",
			Doc: "The name of the validator.",
		},
	)
	scripts := scriptFields("bake.validate[]")
	scripts[0].Required = true
	fields = append(fields, scripts...)
	return append(fields,
		strict.Field{
			Path: "bake.boot_test", Example: "{like: vmss-authz, boot_within: 90s}",
			Doc: "The gate that a version passes before anybody may use it: it is booted once.",
		},
		strict.Field{
			Path: "bake.boot_test.like", Required: true, Format: formatLike, Example: "vmss-authz",
			Doc: "The scale set that the test machine is made like: one of this file, or the id of a live one.",
		},
		strict.Field{
			Path: "bake.boot_test.boot_within", Default: "90s", Min: "10s", Max: "1h",
			Doc: "The time that it may take from allocation to the first Healthy.",
		},
		strict.Field{
			Path: "bake.boot_test.run", Format: formatFile, Example: "image/smoke.sh",
			Doc: "A local script to run on it by Run Command, from the directory of fleet.yaml on. Left out: none.",
		},
	)
}

// scriptFields are the keys of a script at the given path.
func scriptFields(path string) []strict.Field {
	return []strict.Field{
		{
			Path: path + ".script", Format: formatScript, Example: "aib/customizers/validate.sh",
			Doc: "A script to run: a local file, from the directory of fleet.yaml on, or an https URL. It is run by `bash -euo pipefail` as the build user, who may use `sudo`, with nothing to read.",
		},
		{
			Path: path + ".sha256", Format: formatSHA256, Example: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			Doc: "The SHA-256 of a script at a URL, which has to have one.",
		},
		{
			Path: path + ".args", Format: formatArgs, Example: "[--stamp, 'IMAGE_VERSION={version}']",
			Doc: "Arguments of the script. `{version}` is the image version that is made, `{image}` the name of the image definition; in quotes, for braces are YAML's.",
		},
	}
}
