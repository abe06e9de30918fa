package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// excluding is a version as Azure gives it: its own flag, and those of its regions.
// What this program knows nothing of is in it as well.
func excluding(whole bool, flags ...bool) Document {
	names := []string{"East US", "westus3", "North Europe"}
	targets := []any{}
	for i, excluded := range flags {
		targets = append(targets, Document{
			"name": names[i], "regionalReplicaCount": 2.0, "storageAccountType": "Standard_ZRS", "excludeFromLatest": excluded,
			"encryption":            Document{"osDiskImage": Document{"diskEncryptionSetId": "/des"}},
			"additionalReplicaSets": []any{Document{"regionalReplicaCount": 1.0}}, "ofAnotherDay": []any{1.5, nil},
		})
	}
	return Document{
		"tags": Document{"source": "aib", TagBooted: "2026-07-09T03:00:00Z"},
		"properties": Document{
			"provisioningState": Succeeded,
			"publishingProfile": Document{"excludeFromLatest": whole, "targetRegions": targets, "replicaCount": 1.0, "endOfLifeDate": "2026-12-01T00:00:00Z"},
			"replicationStatus": Document{"summary": []any{
				Document{"region": "East US", "state": Replicated}, Document{"region": "West US 3", "state": Replicated}, Document{"region": "North Europe", "state": Replicated},
			}},
		},
	}
}

// effective are the regions in which a version is excluded, in the order of the target
// regions, as Azure reads the flags.
func effective(t *testing.T, version Document) []bool {
	t.Helper()
	e, err := readExclusion(version)
	require.NoError(t, err)
	flags := []bool{}
	for _, r := range e.regions {
		flags = append(flags, e.in(r))
	}
	return flags
}

func bits(n, width int) []bool {
	flags := make([]bool, width)
	for i := range flags {
		flags[i] = n>>i&1 == 1
	}
	return flags
}

// Every combination of flags, of regions that are asked for, and of promotion and
// demotion: what was asked for becomes so, nothing else changes, what is so already is
// not written, and to ask again asks for nothing.
func TestExclude(t *testing.T) {
	names := []string{"eastus", "West US 3", "northeurope"}
	written := 0
	for n := range 1 << 8 {
		flags, asked := bits(n, 3), bits(n>>3, 3)
		whole, excluded := n>>6&1 == 1, n>>7&1 == 1
		version := excluding(whole, flags...)
		before := effective(t, version)
		var regions []string
		for i, is := range asked {
			if is {
				regions = append(regions, names[i])
			}
		}
		what := fmt.Sprintf("whole %v, flags %v, asked %v, excluded %v", whole, flags, regions, excluded)
		text, err := json.Marshal(version)
		require.NoError(t, err)

		patch, changed, err := Exclude(version, regions, excluded)
		require.NoError(t, err, what)
		require.Equal(t, changed, patch != nil, what)
		after, err := json.Marshal(version)
		require.NoError(t, err)
		require.JSONEq(t, string(text), string(after), "what was read is not changed: "+what)

		result := Patched(version, patch)
		wants := make([]bool, 3)
		for i := range wants {
			wants[i] = before[i]
			if len(regions) == 0 || asked[i] {
				wants[i] = excluded
			}
		}
		require.Equal(t, wants, effective(t, result), what)
		if changed {
			written++
			require.NotEqual(t, [2]any{flagsOf(t, version), whole}, [2]any{flagsOf(t, result), dig(result, "properties", "publishingProfile", "excludeFromLatest")}, what)
			require.Empty(t, Unlike(result, patch), what)
		} else {
			require.Equal(t, wants, before, what)
		}
		// All but the flags is as it was.
		for i, target := range listAt(result, "properties", "publishingProfile", "targetRegions") {
			was := maps.Clone(listAt(version, "properties", "publishingProfile", "targetRegions")[i].(Document))
			was["excludeFromLatest"] = dig(target, "excludeFromLatest")
			require.Equal(t, was, target, what)
		}
		again, changed, err := Exclude(result, regions, excluded)
		require.NoError(t, err, what)
		require.False(t, changed, what)
		require.Nil(t, again, what)
	}
	require.Greater(t, written, 100)
}

func flagsOf(t *testing.T, version Document) []bool {
	t.Helper()
	e, err := readExclusion(version)
	require.NoError(t, err)
	flags := []bool{}
	for _, r := range e.regions {
		flags = append(flags, r.excluded)
	}
	return flags
}

// What is demoted everywhere is so in a region that is added later, and a promotion of
// one region after it releases that one alone. A tool that then clears the version's
// flag only releases none.
func TestDemoteEverywhere(t *testing.T) {
	patch, _, err := Exclude(excluding(false, false, true, false), nil, true)
	require.NoError(t, err)
	demoted := Patched(excluding(false, false, true, false), patch)
	require.Equal(t, []bool{true, true, true}, flagsOf(t, demoted))
	require.Equal(t, true, dig(demoted, "properties", "publishingProfile", "excludeFromLatest"))

	patch, _, err = Exclude(demoted, []string{"westus3"}, false)
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, true}, effective(t, Patched(demoted, patch)))
}

// Whatever is done to a version in whatever order, a region that was never asked for
// keeps what it was.
func TestExcludeNeverTouchesOthers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"eastus", "westus3", "northeurope"}
	for range 2000 {
		version := excluding(random.IntN(2) == 1, bits(random.IntN(8), 3)...)
		spared := random.IntN(3)
		want := effective(t, version)[spared]
		for range 1 + random.IntN(6) {
			var regions []string
			for i, name := range names {
				if i != spared && random.IntN(2) == 1 {
					regions = append(regions, name)
				}
			}
			if len(regions) == 0 {
				continue // that would be everywhere
			}
			patch, _, err := Exclude(version, regions, random.IntN(2) == 1)
			require.NoError(t, err)
			version = Patched(version, patch)
			require.Equal(t, want, effective(t, version)[spared])
		}
	}
}

// What cannot be understood is never written.
func TestExcludeRefuses(t *testing.T) {
	change := func(path string, value any) Document {
		d := excluding(true, true, false, false)
		profile := d["properties"].(Document)["publishingProfile"].(Document)
		switch path {
		case "properties":
			delete(d, "properties")
		case "region":
			profile["targetRegions"].([]any)[1] = value
		default:
			profile[path] = value
		}
		return d
	}
	for text, version := range map[string]Document{
		"no publishing profile":    change("properties", nil),
		"neither true nor false":   change("excludeFromLatest", "true"),
		"region of the version":    change("region", "westus3"),
		"has no name":              change("region", Document{"excludeFromLatest": true}),
		"is 1, which is neither":   change("region", Document{"name": "westus3", "excludeFromLatest": 1.0}),
		"edge zones":               change("targetExtendedLocations", []any{Document{"name": "losangeles"}}),
		`the version is not in "m`: excluding(true, true),
	} {
		region := "eastus"
		if strings.HasPrefix(text, "the version") {
			region = "mars"
		}
		patch, _, err := Exclude(version, []string{region}, false)
		require.ErrorContains(t, err, text)
		require.Nil(t, patch)
	}
	_, _, err := Exclude(excluding(false, false, false), []string{"mars"}, true)
	var unknown *UnknownError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, "it is in eastus, westus3", unknown.Hint)
	_, changed, err := Exclude(excluding(false), nil, true) // in no region
	require.NoError(t, err)
	require.True(t, changed)
}

func TestPromotion(t *testing.T) {
	tests := map[string]struct {
		change  func(d Document)
		regions []string
		reasons []string // nil: it passes
		hint    string
	}{
		"ready": {change: func(Document) {}},
		"failed": {
			change:  func(d Document) { d["tags"].(Document)[TagFailed] = "members cannot reach the HSM" },
			reasons: []string{"the version is marked failed: members cannot reach the HSM"}, hint: "bake another",
		},
		"failed, without a reason": {
			change:  func(d Document) { d["tags"].(Document)["Fleetctl-Failed"] = "" },
			reasons: []string{"the version is marked failed"}, hint: "bake another",
		},
		"never booted": {
			change:  func(d Document) { delete(d["tags"].(Document), TagBooted) },
			reasons: []string{"the version never passed a boot test: it has no tag fleetctl-booted"}, hint: "--untested",
		},
		"not there yet": {
			change: func(d Document) {
				d["properties"].(Document)["replicationStatus"] = Document{"summary": []any{
					Document{"region": "East US", "state": Replicating, "progress": 40.0},
					Document{"region": "West US 3", "state": ReplicationFailed, "details": "no capacity"},
					Document{"region": "North Europe", "state": Replicated},
				}}
			},
			reasons: []string{"the version is on its way to eastus (40%)", "the version did not replicate to westus3: no capacity"},
			hint:    "--region northeurope",
		},
		"there, where it is asked for": {
			change: func(d Document) {
				d["properties"].(Document)["replicationStatus"] = Document{"summary": []any{Document{"region": "North Europe", "state": Replicated}}}
			},
			regions: []string{"North Europe"},
		},
		"not told": {
			change:  func(d Document) { delete(d["properties"].(Document), "replicationStatus") },
			regions: []string{"eastus"}, reasons: []string{"Azure does not say whether the version is replicated to eastus"}, hint: "fleetctl images",
		},
		"not provisioned": {
			change:  func(d Document) { d["properties"].(Document)["provisioningState"] = Failed },
			reasons: []string{"the version's provisioning state is Failed: Azure never takes it as latest"}, hint: "fleetctl images",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			version := excluding(true, true, true, true)
			tt.change(version)
			patch, err := Promotion(tt.regions, false)(version)
			if tt.reasons == nil {
				require.NoError(t, err)
				require.NotNil(t, patch)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tt.reasons, refused.Reasons)
			require.Contains(t, refused.Hint, tt.hint)
			require.Nil(t, patch)
			_, err = Demotion(tt.regions)(version)
			require.NoError(t, err, "what is bad can be demoted")
		})
	}
	untested := excluding(true, true, true, true)
	delete(untested, "tags")
	patch, err := Promotion(nil, true)(untested)
	require.NoError(t, err)
	require.NotNil(t, patch)
	offered := excluding(false, false, false, false)
	delete(offered, "tags")
	patch, err = Promotion(nil, false)(offered)
	require.NoError(t, err, "what is offered already needs no proof")
	require.Nil(t, patch)
}

func TestSeal(t *testing.T) {
	end := time.Date(2027, 1, 5, 3, 4, 5, 6, time.UTC)
	version := excluding(true, true)
	patch, err := Seal(map[string]string{"Source": "fleetctl", TagFleet: "pay"}, end)(version)
	require.NoError(t, err)
	require.Equal(t, Document{
		"tags": Document{"Source": "fleetctl", TagFleet: "pay", TagBooted: "2026-07-09T03:00:00Z"},
		"properties": Document{
			"storageProfile": Document{}, "publishingProfile": Document{"endOfLifeDate": "2027-01-05T03:04:05Z"}, "safetyProfile": Document{"blockDeletionBeforeEndOfLife": false},
		},
	}, patch)
	sealed := Patched(version, patch)
	patch, err = Seal(map[string]string{"source": "fleetctl", TagFleet: "pay"}, end)(sealed)
	require.NoError(t, err)
	require.Nil(t, patch)
	sealed["properties"].(Document)["publishingProfile"].(Document)["endOfLifeDate"] = "2027-01-05T04:04:05+01:00"
	patch, err = Seal(nil, end)(sealed)
	require.NoError(t, err)
	require.Nil(t, patch, "the same moment in another form")

	patch, err = Mark(map[string]string{TagFailed: ""})(sealed)
	require.NoError(t, err)
	require.Equal(t, Document{"tags": Document{"Source": "fleetctl", TagFleet: "pay", TagBooted: "2026-07-09T03:00:00Z", TagFailed: ""}}, patch)
	patch, err = Mark(map[string]string{TagFailed: "x"})(Document{})
	require.NoError(t, err)
	require.Equal(t, Document{"tags": Document{TagFailed: "x"}}, patch)
}

func TestUnlike(t *testing.T) {
	is, want := excluding(false, true, false), excluding(true, true, true, false)
	want["tags"].(Document)["source"] = "packer"
	want["properties"].(Document)["publishingProfile"].(Document)["targetRegions"].([]any)[0].(Document)["encryption"] = Document{"osDiskImage": Document{"diskEncryptionSetId": "/other"}}
	require.Equal(t, []string{
		"excludeFromLatest is false, not true", "eastus: diskEncryptionSetId is /des, not /other", "westus3: excludeFromLatest is false, not true",
		"northeurope is not there any more", "source is aib, not packer",
	}, Unlike(is, Written(want)))
	require.Empty(t, Unlike(want, want))
}

// FuzzVersionEdits: whatever Azure says of a version, an edit is an error, or is done
// with its own patch, and changes nothing of what was read.
func FuzzVersionEdits(f *testing.F) {
	for _, d := range []Document{excluding(true, true, false), excluding(false, false, true, true), {}, {"tags": nil, "properties": Document{"publishingProfile": nil}}} {
		text, err := json.Marshal(d)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add(`{"properties":{"publishingProfile":{"targetRegions":[null,{"NAME":"East US","name":"West US"},{"name":"East US","ExcludeFromLatest":true,"excludefromlatest":false}]}}}`)
	f.Add(`{"tags":{"a":"1","A":"2"},"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"},{"name":"East US","excludeFromLatest":true}]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var version Document
		if json.Unmarshal([]byte(text), &version) != nil {
			t.Skip()
		}
		for name, edit := range map[string]VersionEdit{
			"demote": Demotion(nil), "demote one": Demotion([]string{"eastus"}), "promote": Promotion(nil, true), "promote one": Promotion([]string{"East US"}, true),
			"mark": Mark(map[string]string{"A": "3"}), "seal": Seal(map[string]string{"b": ""}, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)),
		} {
			before, err := json.Marshal(version)
			require.NoError(t, err)
			patch, err := edit(version)
			after, _ := json.Marshal(version)
			require.Equal(t, string(before), string(after), name)
			if err != nil || patch == nil {
				continue
			}
			done := Patched(version, patch)
			Unlike(version, done) // ends
			again, err := edit(done)
			require.NoError(t, err, name)
			require.Nil(t, again, name)
		}
	})
}

// A version that goes to one more region is excluded there, and is elsewhere what it
// was.
func TestReplicateTo(t *testing.T) {
	for n := range 16 {
		version := excluding(n&8 != 0, bits(n, 3)...)
		was := effective(t, version)
		patch, err := ReplicateTo("West US 2", 3, "Standard_ZRS")(version)
		require.NoError(t, err)
		after := Patched(version, patch)
		require.Equal(t, append(was, true), effective(t, after))
		targets := listAt(after, "properties", "publishingProfile", "targetRegions")
		require.Equal(t, Document{"name": "westus2", "regionalReplicaCount": 3.0, "storageAccountType": "Standard_ZRS", "excludeFromLatest": true}, targets[3])
		require.Equal(t, 2.0, targets[0].(Document)["regionalReplicaCount"]) //nolint:testifylint // as it was
		again, err := ReplicateTo("westus2", 5, "")(after)
		require.NoError(t, err)
		require.Nil(t, again)
	}
	_, err := ReplicateTo("westus2", 1, "")(Document{})
	require.Error(t, err)
}
