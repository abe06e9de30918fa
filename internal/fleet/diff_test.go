package fleet

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// doc reads a document from JSON, as a client does.
func doc(tb testing.TB, text string) Document {
	tb.Helper()
	var d Document
	require.NoError(tb, json.Unmarshal([]byte(text), &d))
	return d
}

func TestDiff(t *testing.T) {
	const id = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/galleries/g"
	for name, tt := range map[string]struct {
		desired    Desired
		seen       string // "": there is none
		action     Action
		properties []PropertyChange
		body       string // of the write; "": none
		method     string
		note       string
	}{
		"absent": {
			desired: Desired{Body: Document{"location": "eastus"}},
			action:  ActionCreate, method: "PUT", body: `{"location":"eastus"}`,
		},
		"pending": {
			desired: Desired{Pending: "its principal is not known"},
			action:  ActionCreate, note: "its principal is not known",
		},
		"observed and absent": {
			desired: Desired{Observed: "manage: observe", Commands: []string{"make it"}},
			action:  ActionUnknown, note: "not there, and not ours to make: manage: observe",
		},
		"observed and other": {
			desired: Desired{Observed: "manage: observe", Body: Document{"location": "eastus"}},
			seen:    `{"location":"westus"}`, action: ActionNone, note: "not ours: manage: observe",
		},
		"met": {
			desired: Desired{Met: "Contributor does", Observed: "manage: observe"},
			action:  ActionNone, note: "Contributor does",
		},
		"regions, ids and actions as Azure compares them": {
			desired: Desired{Body: Document{"location": "eastus", "properties": Document{
				"subnet": "/subscriptions/s/x", "actions": []any{"Microsoft.Compute/images/read", "Microsoft.Compute/images/write"}, "empty": []any{}, "count": 3,
			}}},
			seen:   `{"location":"East US","Properties":{"SUBNET":"/Subscriptions/S/X/","actions":["microsoft.compute/images/WRITE","Microsoft.Compute/images/read"],"count":3,"more":1}}`,
			action: ActionNone,
		},
		"text to the letter": {
			desired: Desired{Body: Document{"properties": Document{"key": "Abc"}}},
			seen:    `{"properties":{"key":"abc","other":true}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "properties.key", Is: "abc", Want: "Abc"}},
			method:     "PATCH", body: `{"properties":{"key":"Abc"}}`,
		},
		"tags are merged": {
			desired: Desired{Body: Document{"tags": Document{"owner": "payments", "team": "a"}}},
			seen:    `{"tags":{"owner":"x","cost":"7","team":"a"}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "tags.owner", Is: "x", Want: "payments"}},
			method:     "PATCH", body: `{"tags":{"owner":"payments","cost":"7","team":"a"}}`,
		},
		"a tag in other letters": {
			desired: Desired{Body: Document{"tags": Document{"owner": "payments"}}},
			seen:    `{"tags":{"Owner":"x"}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "tags.owner", Is: "x", Want: "payments"}},
			method:     "PATCH", body: `{"tags":{"owner":"payments"}}`,
		},
		"no tags yet": {
			desired: Desired{Body: Document{"tags": Document{"owner": "payments"}}},
			seen:    `{}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "tags.owner", Want: "payments"}},
			method:     "PATCH", body: `{"tags":{"owner":"payments"}}`,
		},
		"fixed": {
			desired: Desired{Fixed: map[string]string{"properties": "a new name"}, Body: Document{"tags": Document{"a": "b"}, "properties": Document{"os": "Linux", "sku": "App"}}},
			seen:    `{"properties":{"os":"Windows","sku":"app"}}`, action: ActionRefused,
			properties: []PropertyChange{
				{Path: "properties.os", Is: "Windows", Want: "Linux", Note: "cannot be changed: it takes a new name"},
				{Path: "tags.a", Want: "b"},
			},
		},
		"fixed, in other letters": {
			desired: Desired{Fixed: map[string]string{"properties": "a new name"}, Body: Document{"properties": Document{"sku": "App"}, "tags": Document{"a": "b"}}},
			seen:    `{"properties":{"sku":"app"}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "tags.a", Want: "b"}},
			method:     "PATCH", body: `{"tags":{"a":"b"}}`,
		},
		"usual": {
			desired: Desired{Usual: map[string]any{"properties.architecture": "x64"}, Body: Document{"properties": Document{"architecture": "x64"}}},
			seen:    `{"properties":{}}`, action: ActionNone,
		},
		"stays": {
			desired: Desired{Stays: []string{"location"}, Body: Document{"location": "eastus", "tags": Document{"a": "b"}}},
			seen:    `{"location":"West US"}`, action: ActionUpdate, note: "location stays West US (the file: eastus)",
			properties: []PropertyChange{{Path: "tags.a", Want: "b"}},
			method:     "PATCH", body: `{"tags":{"a":"b"}}`,
		},
		"elements with names": {
			desired: Desired{Body: Document{"properties": Document{"regions": []any{
				Document{"name": "eastus", "replicas": 3, "deep": Document{"a": 1}}, Document{"name": "westus3"},
			}}}},
			seen: `{"properties":{"regions":[{"name":"North Europe"},{"name":"East US","replicas":2,"excluded":true,"deep":{"a":2,"b":3}}]}}`, action: ActionUpdate,
			properties: []PropertyChange{
				{Path: "properties.regions[eastus].deep.a", Is: 2.0, Want: 1},
				{Path: "properties.regions[eastus].replicas", Is: 2.0, Want: 3},
				{Path: "properties.regions[westus3]", Want: Document{"name": "westus3"}},
			},
			method: "PATCH",
			body:   `{"properties":{"regions":[{"name":"North Europe"},{"name":"East US","replicas":3,"excluded":true,"deep":{"a":1,"b":3}},{"name":"westus3"}]}}`,
		},
		"elements without names": {
			desired: Desired{Whole: true, Body: Document{"properties": Document{"permissions": []any{Document{"actions": []any{"a/b"}}}}}},
			seen:    `{"properties":{"permissions":[{"actions":["a/b","c/d"]}]}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "properties.permissions[0].actions", Is: []any{"a/b", "c/d"}, Want: []any{"a/b"}}},
			method:     "PUT", body: `{"properties":{"permissions":[{"actions":["a/b"]}]}}`,
		},
		"failed": {
			desired: Desired{Body: Document{"location": "eastus"}},
			seen:    `{"location":"eastus","properties":{"provisioningState":"Failed"}}`, action: ActionUpdate,
			properties: []PropertyChange{{Path: "properties.provisioningState", Is: "Failed", Want: "Succeeded", Note: "the last write failed"}},
			method:     "PUT", body: `{"location":"eastus"}`,
		},
		"busy":     {desired: Desired{Body: Document{}}, seen: `{"properties":{"provisioningState":"Updating"}}`, action: ActionNone, note: "it is updating now"},
		"deleting": {desired: Desired{Body: Document{}}, seen: `{"properties":{"provisioningState":"Deleting"}}`, action: ActionUnknown, note: "it is being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.desired.ID = id
			seen := Seen{ETag: `"7"`}
			if tt.seen != "" {
				seen.Body = doc(t, tt.seen)
			}
			c := Diff(&tt.desired, seen)
			require.Equal(t, tt.action, c.Action)
			require.Equal(t, tt.properties, c.Properties)
			require.Equal(t, tt.note, c.Note)
			require.Equal(t, tt.seen == "" || name == "deleting", c.Absent)
			if tt.body == "" {
				require.Nil(t, c.Write)
				return
			}
			text, err := json.Marshal(c.Write.Body)
			require.NoError(t, err)
			require.JSONEq(t, tt.body, string(text))
			require.Equal(t, tt.method, c.Write.Method)
			require.Equal(t, tt.action == ActionCreate, c.Write.IfNew)
			if tt.action == ActionUpdate {
				require.Equal(t, `"7"`, c.Write.IfMatch)
			}
		})
	}
}

// FuzzDiff: whatever Azure shows, what a PATCH makes of it is what was wanted, and
// nothing that was there is lost.
func FuzzDiff(f *testing.F) {
	f.Add(`{"location":"East US","tags":{"a":"b"},"properties":{"regions":[{"name":"eastus","n":1}],"list":["x"]}}`)
	f.Add(`{"tags":null,"properties":{"regions":{"name":1},"list":[{}]}}`)
	f.Add(`{"Tags":{"A":1},"properties":[[],{"name":""}]}`)
	f.Add(`{"properties":{"regions":[{"name":"EAST US"},{"name":"eastus"}],"deep":{"on":"true"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var live Document
		if json.Unmarshal([]byte(text), &live) != nil || live == nil {
			return
		}
		d := Desired{Body: Document{
			"location": "eastus", "tags": Document{"owner": "payments"},
			"properties": Document{
				"regions": []any{Document{"name": "eastus", "n": 2}}, "list": []any{"x", "y"}, "deep": Document{"on": true},
			},
		}}
		c := Diff(&d, Seen{Body: live})
		if c.Action != ActionUpdate || c.Write.Method != http.MethodPatch {
			return
		}
		require.NotEmpty(t, c.Properties)
		after := overlaid(lowered(live), lowered(c.Write.Body).(Document))
		require.Equal(t, ActionNone, Diff(&d, Seen{Body: after}).Action, "%v", after)
	})
}

// lowered is a document with its keys in one writing, as Azure stores it. Of keys that
// differ in their letters alone, it keeps the one that is found.
func lowered(v any) any {
	object, ok := v.(Document)
	if !ok {
		return v
	}
	all := Document{}
	for key := range object {
		lower := key
		for _, known := range []string{"location", "tags", "properties", "regions", "list", "deep", "on", "owner"} {
			if len(known) == len(key) && dig(Document{key: true}, known) == true {
				lower = known
			}
		}
		if _, exact := object[lower]; exact && lower != key {
			continue
		}
		all[lower] = lowered(object[key])
	}
	return all
}

// Durations are compared by their length, as Azure normalises them, and tags to the letter.
func TestSameScalarDurations(t *testing.T) {
	for _, tt := range []struct {
		is, want string
		same     bool
	}{
		{"PT90M", "PT1H30M", true},
		{"PT1H30M", "PT5400S", true},
		{"P1D", "PT24H", true},
		{"P1DT1H", "PT25H", true},
		{"PT0S", "PT0M", true},
		{"PT90M", "PT91M", false},
		{"PT90M", "PT90S", false},
		{"P", "PT0S", false},
		{"PT", "PT0S", false},
		{"PTPT30MM", "PT30M", false},
		{"PT1M1H", "PT61M", false},
		{"PT99999999999999999999M", "PT99999999999999999998M", false},
	} {
		require.Equal(t, tt.same, sameScalar("properties.gracePeriod", tt.is, tt.want), "%s %s", tt.is, tt.want)
		require.False(t, sameScalar("tags.a", tt.is, tt.want), "%s %s", tt.is, tt.want)
	}
	require.False(t, sameScalar("tags.a", "/A", "/a"))
}
