package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	galProd   = group + "/providers/Microsoft.Compute/galleries/galProd"
	ubuntuApp = galProd + "/images/ubuntu-app"
)

const ubuntuBody = `{"location":"eastus","properties":{"osType":"Linux","osState":"Generalized","identifier":{"publisher":"kloudvin","offer":"ubuntu","sku":"app-jammy"}}}`

// versionBody is a version in eastus and westus3.
const versionBody = `{"location":"eastus","properties":{"storageProfile":{"source":{"id":"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/base"}},
	"publishingProfile":{"storageAccountType":"Standard_ZRS","targetRegions":[{"name":"eastus","regionalReplicaCount":3},{"name":"West US 3"}]}}}`

// withDefinition is a world with the gallery and the definition of the examples.
func withDefinition(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	w.finished(w.do("PUT", galProd, `{"location":"eastus"}`).want(201))
	w.finished(w.do("PUT", ubuntuApp, ubuntuBody).want(201))
	return w
}

func versionID(name string) string { return ubuntuApp + "/versions/" + name }

// latestIn is what an unversioned reference means in a region.
func (w *world) latestIn(region string) string {
	w.Helper()
	exact := "none"
	require.NoError(w, w.server.within(func(tx *txn) error {
		if got, err := tx.resolve(object{"id": ubuntuApp}, region); err == nil {
			exact = got.exact
		}
		return nil
	}))
	return exact
}

func TestGalleryIsEmptiedFirst(t *testing.T) {
	w := withDefinition(t)
	require.Equal(t, DefaultSubscription+"-GALPROD", str(w.get(galProd).body, "properties.identifier.uniqueName"))
	w.do("DELETE", galProd, nil).refused(409, "CannotDeleteResource")
	w.finished(w.do("DELETE", ubuntuApp, nil).want(202))
	w.finished(w.do("DELETE", galProd, nil).want(202))
	w.get(galProd).refused(404, "ResourceNotFound")
	w.do("PUT", ubuntuApp, ubuntuBody).refused(404, "ParentResourceNotFound")
}

func TestDefinitionIsImmutable(t *testing.T) {
	w := withDefinition(t)
	got := w.get(ubuntuApp).body
	require.Equal(t, "V2", str(got, "properties.hyperVGeneration"))
	require.Equal(t, "TrustedLaunchSupported", str(items(got, "properties.features")[0], "value"))

	message := w.do("PATCH", ubuntuApp, `{"properties":{"identifier":{"sku":"other"}}}`).refused(409, "PropertyChangeNotAllowed")
	require.Equal(t, "Changing property 'galleryImage.properties.identifier' is not allowed.", message)
	w.do("PATCH", ubuntuApp, `{"properties":{"osState":"Specialized"}}`).refused(409, "PropertyChangeNotAllowed")
	w.do("PATCH", ubuntuApp, `{"properties":{"features":[]}}`).refused(409, "PropertyChangeNotAllowed")
	w.finished(w.do("PATCH", ubuntuApp, `{"properties":{"description":"the fleet's image"},"tags":{"owner":"payments"}}`).want(200))
	w.do("PUT", ubuntuApp, `{"location":"westus","properties":{}}`).refused(409, "InvalidResourceLocation")
	w.finished(w.do("PUT", ubuntuApp, ubuntuBody).want(200))
	require.Equal(t, "V2", str(w.get(ubuntuApp).body, "properties.hyperVGeneration"), "what a PUT leaves out stays")

	old := w.do("PUT", galProd+"/images/old?api-version=2023-07-03", ubuntuBody).want(201)
	require.Equal(t, "V1", str(old.body, "properties.hyperVGeneration"))
	w.do("PUT", galProd+"/images/-odd", ubuntuBody).refused(400, "InvalidParameter")
	w.do("PUT", galProd+"/images/less", `{"location":"eastus","properties":{"osType":"Linux"}}`).refused(400, "InvalidParameter")
}

func TestVersionIsReplicatedByRegion(t *testing.T) {
	w := withDefinition(t, func(c *Config) {
		c.Rules = Rules{Replication: 10 * time.Minute, Regions: map[string]RegionRules{"eastus": {Replication: 4 * time.Minute}}}
	})
	id := versionID("1.8.0")
	put := w.do("PUT", id, versionBody).want(201)
	require.Equal(t, "Creating", str(put.body, "properties.provisioningState"))
	require.Equal(t, "East US", str(items(put.body, "properties.publishingProfile.targetRegions")[0], "name"))
	require.NotEmpty(t, str(put.body, "properties.publishingProfile.publishedDate"))
	require.Nil(t, dig(w.get(id).body, "properties.replicationStatus"), "only when it is asked for")

	states := func() (aggregated, east, west string, progress float64) {
		got := w.get(id + "?$expand=replicationstatus").want(200).body
		summary := items(got, "properties.replicationStatus.summary")
		require.Len(t, summary, 2)
		progress, _ = number(summary[1], "progress")
		return str(got, "properties.replicationStatus.aggregatedState"), str(summary[0], "state"), str(summary[1], "state"), progress
	}
	w.clock.Advance(5 * time.Minute)
	aggregated, east, west, progress := states()
	require.Equal(t, []string{"InProgress", "Completed", "Replicating"}, []string{aggregated, east, west})
	require.InDelta(t, 50, progress, 0)
	require.Equal(t, "none", w.latestIn("eastus"), "a version that is being created is never the latest")
	w.do("PATCH", id, `{"tags":{"a":"b"}}`).refused(409, "Conflict")

	w.clock.Advance(5 * time.Minute)
	aggregated, east, west, progress = states()
	require.Equal(t, []string{"Completed", "Completed", "Completed"}, []string{aggregated, east, west})
	require.InDelta(t, 100, progress, 0)
	w.finished(put)
	require.Equal(t, "1.8.0", w.latestIn("East US"))
	require.Equal(t, "none", w.latestIn("northeurope"))
	w.get(id+"?$expand=other").refused(400, "InvalidParameter")
}

func TestSucceededIsNotReplicated(t *testing.T) {
	w := withDefinition(t, func(c *Config) { c.Rules.Regions = map[string]RegionRules{"westus3": {Lag: 10 * time.Minute}} })
	w.finished(w.do("PUT", versionID("1.8.0"), versionBody).want(201))
	require.Equal(t, "Succeeded", str(w.get(versionID("1.8.0")).body, "properties.provisioningState"))
	require.Equal(t, "1.8.0", w.latestIn("eastus"))
	require.Equal(t, "none", w.latestIn("westus3"))
	w.clock.Advance(10 * time.Minute)
	require.Equal(t, "1.8.0", w.latestIn("westus3"))
}

func TestRegionFails(t *testing.T) {
	w := withDefinition(t, func(c *Config) {
		c.Rules.Regions = map[string]RegionRules{"westus3": {Fails: "the storage of the region is full"}}
	})
	put := w.do("PUT", versionID("1.8.0"), versionBody).want(201)
	w.clock.Advance(10 * time.Minute)
	poll := w.get(put.header.Get("Azure-AsyncOperation")).want(200)
	require.Equal(t, "Failed", str(poll.body, "status"))
	require.Equal(t, "ReplicationJobsNotCompleted", str(poll.body, "error.code"))
	require.Contains(t, str(poll.body, "error.message"), "'West US 3': the storage of the region is full")
	got := w.get(versionID("1.8.0") + "?$expand=ReplicationStatus").body
	require.Equal(t, "Failed", str(got, "properties.provisioningState"))
	require.Equal(t, "Failed", str(got, "properties.replicationStatus.aggregatedState"))
	require.Equal(t, "none", w.latestIn("eastus"), "a failed version is skipped")

	w.finished(w.do("PATCH", versionID("1.8.0"), `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`).want(200))
	require.Equal(t, "1.8.0", w.latestIn("eastus"), "without the region it is well")
}

func TestExcludedVersionsAreNotTheLatest(t *testing.T) {
	w := withDefinition(t)
	for _, name := range []string{"1.7.0", "1.10.0", "1.9.9"} {
		w.finished(w.do("PUT", versionID(name), versionBody).want(201))
	}
	require.Equal(t, "1.10.0", w.latestIn("eastus"), "by number, not by text")

	patch := w.do("PATCH", versionID("1.10.0"), `{"properties":{"publishingProfile":{"excludeFromLatest":true}}}`).want(200)
	require.Equal(t, "1.9.9", w.latestIn("eastus"))
	w.finished(patch)
	w.finished(w.do("PATCH", versionID("1.9.9"),
		`{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus","excludeFromLatest":true},{"name":"westus3"}]}}}`).want(200))
	require.Equal(t, "1.7.0", w.latestIn("eastus"))
	require.Equal(t, "1.9.9", w.latestIn("westus3"))
	require.Equal(t, "Standard_ZRS", str(items(w.get(versionID("1.9.9")).body, "properties.publishingProfile.targetRegions")[0], "storageAccountType"))

	require.NoError(t, w.server.within(func(tx *txn) error {
		got, err := tx.resolve(object{"id": versionID("1.10.0")}, "eastus")
		require.NoError(t, err)
		require.Equal(t, "1.10.0", got.exact, "an excluded version deploys by its id")
		_, err = tx.resolve(object{"id": versionID("1.10.0")}, "northeurope")
		require.Equal(t, "GalleryImageNotFound", asARM(err).Code)
		_, err = tx.resolve(object{"id": versionID("9.9.9")}, "eastus")
		require.Equal(t, "GalleryImageNotFound", asARM(err).Code)
		got, err = tx.resolve(object{"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest"}, "eastus")
		require.NoError(t, err)
		require.NotEmpty(t, got.exact)
		return nil
	}))
}

func TestVersionUpdates(t *testing.T) {
	w := withDefinition(t)
	id := versionID("1.8.0")
	w.finished(w.do("PUT", id, versionBody).want(201))
	for name, body := range map[string]string{
		"mode":           `{"properties":{"publishingProfile":{"replicationMode":"Shallow"}}}`,
		"storage":        `{"properties":{"publishingProfile":{"storageAccountType":"Standard_LRS"}}}`,
		"region storage": `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus","storageAccountType":"Standard_LRS"}]}}}`,
		"strategy":       `{"properties":{"publishingProfile":{"storageAccountStrategy":"x"}},"location":"eastus"}`,
		"source":         `{"properties":{"storageProfile":{"source":{"id":"/subscriptions/s/other"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := w.do("PATCH", id, body)
			r.t = t
			if name == "strategy" { // it was not given before
				r.refused(409, "PropertyChangeNotAllowed")
				return
			}
			r.refused(409, "PropertyChangeNotAllowed")
		})
	}
	require.Contains(t, w.do("PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"East US"},{"name":"eastus"}]}}}`).refused(400, "InvalidParameter"),
		"Duplicate regions are not allowed in target publishing regions.")
	w.do("PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"westus3"}]}}}`).refused(400, "InvalidParameter")
	w.do("PUT", versionID("1.8"), versionBody).refused(400, "InvalidParameter")
	w.do("PUT", versionID("1.8.1"), `{"location":"eastus","properties":{"publishingProfile":{}}}`).refused(400, "InvalidParameter")

	// A read-modify-write of all that was read changes nothing.
	before := w.get(id + "?$expand=ReplicationStatus")
	w.finished(w.do("PUT", id, before.raw).want(200))
	require.Equal(t, before.raw, w.get(id+"?$expand=ReplicationStatus").raw)
}

func TestSafetyProfile(t *testing.T) {
	w := withDefinition(t)
	id := versionID("1.8.0")
	w.finished(w.do("PUT", id, versionBody).want(201))
	w.finished(w.do("PATCH", id, `{"properties":{"safetyProfile":{"allowDeletionOfReplicatedLocations":false,"blockDeletionBeforeEndOfLife":true},
		"publishingProfile":{"endOfLifeDate":"2026-11-10T00:00:00Z"}}}`).want(200))
	w.do("PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`).refused(409, "OperationNotAllowed")
	w.do("DELETE", id, nil).refused(409, "OperationNotAllowed")
	w.clock.Advance(10 * 24 * time.Hour)
	w.finished(w.do("DELETE", id, nil).want(202))
	w.get(id).refused(404, "ResourceNotFound")

	w.finished(w.do("PUT", id+"?api-version=2026-03-03", versionBody).want(201))
	require.Equal(t, true, dig(w.get(id).body, "properties.safetyProfile.blockDeletionBeforeEndOfLife"), "the default of this API version")
}

// TestRegionAddedAgain: the end of an earlier replication is not that of a later one.
func TestRegionAddedAgain(t *testing.T) {
	w := withDefinition(t, func(c *Config) { c.Rules.Regions = map[string]RegionRules{"westus3": {Lag: 10 * time.Minute}} })
	id := versionID("1.8.0")
	w.finished(w.do("PUT", id, versionBody).want(201)) // westus3 has it at 20 minutes
	w.finished(w.do("PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`).want(200))
	w.finished(w.do("PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"},{"name":"westus3"}]}}}`).want(200))
	require.Equal(t, "none", w.latestIn("westus3"), "at 20 minutes")
	w.clock.Advance(10 * time.Minute)
	require.Equal(t, "1.8.0", w.latestIn("westus3"))
}
