package fleetfile

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict"
	"github.com/fleet-agent/fleet-agent/internal/strict/stricttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const subscription = "11111111-1111-1111-1111-111111111111"

// environ is the environment of the tests.
func environ(name string) (string, bool) {
	value, ok := map[string]string{
		"AZURE_SUBSCRIPTION_ID": subscription,
		"ROLLOUT_WEBHOOK":       "https://hooks.example/services/hunter2",
		"HOME":                  "/home/ops",
		"SECRET":                "hunter2",
		"NUMBER":                "3",
		"OFF":                   "off",
		"EMPTY":                 "",
		"LINES":                 "a\nb",
	}[name]
	return value, ok
}

func read(t *testing.T, text string) *fleet.Spec {
	t.Helper()
	f, err := Read("fleet.yaml", []byte(text), environ)
	require.NoError(t, err)
	return f.Spec
}

// head is as little as a file may have.
const head = "version: 1\nname: pay\nsubscription: " + subscription + "\nresource_group: rg-pay-prod\nlocation: eastus\n"

const setID = "/subscriptions/" + subscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/"

func TestTable(t *testing.T) { stricttest.Table(t, newSchema(), referenceHead) }

func testdata(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(text)
}

// TestContract: the example that the contract shows.
func TestContract(t *testing.T) {
	s := read(t, testdata(t, "contract.yaml"))
	require.Equal(t, subscription, s.Subscription)
	require.Equal(t, 180*24*time.Hour, s.Gallery.EndOfLife)
	require.Equal(t, fleet.ManageFull, s.Gallery.Manage)

	authz := s.ScaleSets["vmss-authz"]
	require.Equal(t, &fleet.HealthSpec{
		Extension: "2.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 2, Grace: 5 * time.Minute,
	}, authz.Health)
	require.Equal(t, fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute, Order: "zone"}, authz.Upgrade)
	require.Equal(t, 5*time.Minute, authz.TerminateNotice)
	require.Equal(t, "/home/ops/.ssh/pay.pub", authz.Create.SSHKey)
	require.Equal(t, []int{1, 2, 3}, authz.Create.Zones)
	require.Empty(t, authz.Create.Extra)
	require.Equal(t, &fleet.ScaleOutSpec{Metric: "Percentage CPU", Above: 70, Over: 5 * time.Minute, By: 2, Cooldown: 5 * time.Minute}, authz.Autoscale.Out)

	require.Equal(t, "westus3", s.ScaleSets["vmss-authz-west"].Location)
	batch := s.ScaleSets["vmss-batch"]
	require.Zero(t, batch.TerminateNotice, "off takes the inherited key away")
	require.Equal(t, &fleet.SpotSpec{RegularBase: 3, RegularAboveBase: 50, Eviction: "deallocate", Restore: time.Hour}, batch.Spot)
	legacy := s.ScaleSets["vmss-legacy"]
	require.Equal(t, fleet.ManageImage, legacy.Manage)
	require.Equal(t, setID+"vmss-legacy", string(legacy.ID))

	require.Len(t, s.Rollout.Waves, 3)
	require.Equal(t, "https://hooks.example/services/hunter2", s.Rollout.OnHalt.Notify)
	require.InEpsilon(t, 0.01, *s.Rollout.Gates.Prometheus[0].Above, 1e-9)
	require.Nil(t, s.Rollout.Gates.Prometheus[0].Below)
	require.Equal(t, []string{"mon", "tue", "wed", "thu"}, s.Rollout.Gates.Window.Days)
	require.Equal(t, "dist/fleet-agent_amd64.deb", s.Bake.Customize[0].File)
	require.Equal(t, "1.8.{n}", s.Bake.Version)
}

// TestExample: what init writes is right as it is written, and with all that is
// commented out.
func TestExample(t *testing.T) {
	s := read(t, Example)
	require.Len(t, s.ScaleSets, 3)
	require.Empty(t, stricttest.Invalid(t, Schema(), Example))
	for line := range strings.Lines(Example) {
		require.NotContains(t, line, "\t")
	}
}

// TestSchema: what an editor says of a file.
func TestSchema(t *testing.T) {
	contract := strings.ReplaceAll(testdata(t, "contract.yaml"), "${ROLLOUT_WEBHOOK}", `"${ROLLOUT_WEBHOOK}"`)
	for _, text := range []string{contract, head, head + "defaults: {spot: {}}\nscale_sets: {a: {spot: off, upgrade: {batch: '${N}'}}}"} {
		require.Empty(t, stricttest.Invalid(t, Schema(), text), text)
	}
	for _, text := range []string{
		head + "tag: {}", head + "defaults: {spott: {}}", head + "scale_sets: {a: {manage: off}}", head + "scale_sets: {a: {health: {port: 0}}}",
		head + "scale_sets: {a: {upgrade: {batch: 20}}}", head + "scale_sets: {a: {upgrade: {pause: 20}}}", "version: 1", head + "gallery: {}",
		head + "scale_sets: {a: {create: {}}}", head + "scale_sets: {a: {id: x}}",
	} {
		require.NotEmpty(t, stricttest.Invalid(t, Schema(), text), text)
	}
}

func TestSmallestFile(t *testing.T) {
	s := read(t, head)
	require.Equal(t, &fleet.Spec{
		Version: 1, Name: "pay", Subscription: subscription, ResourceGroup: "rg-pay-prod", Location: "eastus",
	}, s)
	s = read(t, head+"scale_sets: {vmss-a: {manage: observe, id: "+setID+"vmss-a}}")
	require.Equal(t, map[string]fleet.SetSpec{"vmss-a": {
		Manage: fleet.ManageObserve, Tracks: fleet.TracksPinned, ID: setID + "vmss-a", Location: "eastus",
		Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 20},
	}}, s.ScaleSets)
}

// TestInheritance: maps by key, lists whole, off takes away.
func TestInheritance(t *testing.T) {
	s := read(t, head+`
defaults:
  manage: observe
  health: {port: 8080, path: /healthz, grace: 5m}
  repairs: {after: 30m}
  tags: {owner: payments, tier: web}
  terminate_notice: 5m
  create: &create
    capacity: 3
    vm_size: Standard_D2as_v5
    zones: [1, 2, 3]
    network: {subnet: `+strings.TrimSuffix(setID, "Compute/virtualMachineScaleSets/")+`Network/virtualNetworks/vnet-pay/subnets/app}
    admin: azureuser
    ssh_key: /k.pub
scale_sets:
  vmss-a:
    id: `+setID+`a
  vmss-b:
    id: `+setID+`b
    health: {port: 9090, grace: off}
    tags: {tier: batch}
    create: {zones: [2]}
    repairs: off
    terminate_notice: ${OFF}
    autoscale: off
  vmss-c:
    id: `+setID+`c
    health:
    create: off
    tags: off
`)
	a, b, c := s.ScaleSets["vmss-a"], s.ScaleSets["vmss-b"], s.ScaleSets["vmss-c"]
	require.Equal(t, 8080, a.Health.Port)
	require.Equal(t, 5*time.Minute, a.Health.Grace)
	require.Equal(t, map[string]string{"owner": "payments", "tier": "web"}, a.Tags)
	require.Equal(t, 9090, b.Health.Port)
	require.Equal(t, "/healthz", b.Health.Path)
	require.Zero(t, b.Health.Grace)
	require.Equal(t, map[string]string{"owner": "payments", "tier": "batch"}, b.Tags)
	require.Equal(t, []int{2}, b.Create.Zones)
	require.Equal(t, 3, b.Create.Capacity)
	require.Nil(t, b.Repairs)
	require.Nil(t, b.Autoscale)
	require.Zero(t, b.TerminateNotice)
	require.Equal(t, a.Health, c.Health)
	require.Nil(t, c.Create)
	require.Nil(t, c.Tags)
	require.Equal(t, []int{1, 2, 3}, a.Create.Zones, "what one set changes is not changed in another")
	require.Equal(t, "/k.pub", s.Defaults.Create.SSHKey)
}

func TestVariables(t *testing.T) {
	s := read(t, strings.Replace(head, "name: pay", "name: pay-${NUMBER}", 1)+`
tags: {a: "x${NUMBER}y${EMPTY}", b: '$${NUMBER}', c: "$5 {NUMBER}", d: "${NUMBER}", e: "${EMPTY}"}
gallery: {name: galProd, replicas: ${NUMBER}, image: {name: i, publisher: p, offer: o, sku: s}}
`)
	require.Equal(t, "pay-3", s.Name)
	require.Equal(t, 3, s.Gallery.Replicas)
	require.Equal(t, map[string]string{"a": "x3y", "b": "${NUMBER}", "c": "$5 {NUMBER}", "d": "3", "e": ""}, s.Tags)
}

func TestLocalFiles(t *testing.T) {
	const bake = "\nbake: {identity: id-aib, version: 1.8.{n}, source: {publisher: Canonical, offer: o, sku: s}, customize: [{name: a, file: a/b, to: /tmp/b}, {name: c, script: ~/c.sh}, {name: d, script: /d.sh}]}\n" +
		"gallery: {name: galProd, image: {name: i, publisher: p, offer: o, sku: s}}\n"
	f, err := Read("/etc/fleets/fleet.yaml", []byte(head+strings.ReplaceAll(bake, "1.8.{n}", "'1.8.{n}'")), environ)
	require.NoError(t, err)
	c := f.Spec.Bake.Customize
	require.Equal(t, "/etc/fleets/a/b", c[0].File)
	require.Equal(t, "/home/ops/c.sh", c[1].Script)
	require.Equal(t, "/d.sh", c[2].Script)
}

// TestBakeContent: what goes into an image, and where in the file a fault of it is.
func TestBakeContent(t *testing.T) {
	f, err := Read("pay/fleet.yaml", []byte(head+`gallery: {name: galProd, image: {name: i, publisher: p, offer: o, sku: s}}
bake:
  identity: id-aib
  source: {publisher: Canonical, offer: o, sku: s}
  version: 1.8.{n}
  artifacts: https://st${NUMBER}.blob.core.windows.net/artifacts/b
  customize:
    - {name: a, file: a.deb, to: /tmp/a.deb}
    - {name: b, script: b.sh, args: [--port, 80, --port, 'V={version}', '', '{print $1}', true]}
  validate:
    - {name: c, script: c.sh, args: ['{image}']}
`), environ)
	require.NoError(t, err)
	b := f.Spec.Bake
	require.Equal(t, "https://st3.blob.core.windows.net/artifacts/b", b.Artifacts)
	require.Equal(t, []string{"--port", "80", "--port", "V={version}", "", "{print $1}", "true"}, b.Customize[1].Args)
	require.Equal(t, []string{"{image}"}, b.Validate[0].Args)
	require.Equal(t, []string{"pay/a.deb", "pay/b.sh", "pay/c.sh"}, f.Spec.SourcePaths())

	_, err = fleet.NewContent(f.Spec, []fleet.SourceFile{{Path: "pay/b.sh", Data: []byte("\x00")}, {Path: "pay/c.sh"}})
	var faults fleet.ContentError
	require.ErrorAs(t, err, &faults)
	require.EqualError(t, f.Faults(faults), `pay/fleet.yaml:13:23: bake.customize[0].file: pay/a.deb does not exist; create it, or name another file
pay/fleet.yaml:14:25: bake.customize[1].script: pay/b.sh:1 has a NUL byte: it is no shell script; name a script; copy a program with file and to`)
}

func TestPlace(t *testing.T) {
	f, err := Read("fleet.yaml", []byte(head+"defaults: {health: {port: 1}}\nscale_sets: {vmss-a: {manage: observe, id: "+setID+"a}}"), environ)
	require.NoError(t, err)
	require.Equal(t, strict.Place{File: "fleet.yaml", Line: 6, Column: 27, Field: "scale_sets.vmss-a.health.port"}, f.Place("scale_sets.vmss-a.health.port"))
	require.Equal(t, 7, f.Place("scale_sets.vmss-a.upgrade.batch").Line)
}

// TestNewRegions: a region that is newer than this program is taken, a typing error
// is not.
func TestNewRegions(t *testing.T) {
	for _, name := range []string{"eastus", "East US 2", "westus4", "uknorth", "italysouth", "atlantis"} {
		msg, _ := checkRegionKey(name, "")
		require.Empty(t, msg, name)
	}
	for name, meant := range map[string]string{"eastsu": "eastus", "westeuropa": "westeurope", "East U": "eastus", "northeeurope": "northeurope"} {
		msg, hint := checkRegionKey(name, "")
		require.NotEmpty(t, msg, name)
		require.Equal(t, `did you mean "`+meant+`"?`, hint)
	}
}

// Every archive in testdata/bad is a file with faults, and its file "errors" is what
// Load says about them.
func TestBadFiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			text, want := archive.Files[0].Data, &archive.Files[1]
			text = []byte(strings.ReplaceAll(string(text), "HEAD\n", head))
			text = []byte(strings.ReplaceAll(string(text), "SETS", setID))
			_, err = Read("fleet.yaml", text, environ)
			require.Error(t, err)
			got := err.Error() + "\n"
			if *update {
				want.Data = []byte(got)
				require.NoError(t, os.WriteFile(name, txtar.Format(archive), 0o600))
			}
			require.Equal(t, string(want.Data), got)
			require.NotContains(t, got, "hunter2", "a secret is told")
			var faults strict.Errors
			require.ErrorAs(t, err, &faults)
			for _, e := range faults {
				require.Positive(t, e.Line)
				require.NotEmpty(t, e.Hint+strings.Repeat("x", strings.Count(e.Message, "out of range")), "what to write instead: %s", e.Message)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	_, err := Load(path, environ)
	require.EqualError(t, err, path+": does not exist; name another with --file, or run: fleetctl init")
	require.NoError(t, os.Mkdir(path, 0o700))
	_, err = Load(path, environ)
	require.EqualError(t, err, path+": is not a regular file")
}
