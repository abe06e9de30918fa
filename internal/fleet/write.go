package fleet

import (
	"strings"
)

// A Document is a resource of Azure Resource Manager, or a part of one, as JSON has it:
// numbers are float64. What is read into one and written back loses nothing, also
// what this program does not know.
type Document = map[string]any

// A Write is one request that changes something in Azure.
type Write struct {
	Method string     // PUT, PATCH, POST or DELETE
	ID     ResourceID // of the resource
	Action string     // of a POST: "run"
	Body   Document   // nil: none
	// IfMatch is the ETag that the resource must still have; "" asks for none. Not
	// every resource type knows it.
	IfMatch string
	// IfNew lets a PUT pass only when there is no such resource (If-None-Match: *).
	IfNew bool
}

// String is the request as it is told: "PUT imageTemplates/ubuntu-app-1.8.3".
func (w Write) String() string {
	typ := w.ID.Type()
	text := w.Method + " " + typ[strings.LastIndexByte(typ, '/')+1:] + "/" + w.ID.Name()
	if w.Action != "" {
		text += "/" + w.Action
	}
	return text
}

// Type returns the resource type of an id: "Microsoft.Compute/galleries/images". That
// of a resource group is Microsoft.Resources/resourceGroups. It is "" when the id is
// none.
func (id ResourceID) Type() string {
	parts := strings.Split(strings.Trim(string(id), "/"), "/")
	start := -1 // of the last "providers"
	for i, p := range parts {
		if strings.EqualFold(p, "providers") {
			start = i
		}
	}
	if start < 0 {
		if len(parts) == 4 && strings.EqualFold(parts[2], "resourceGroups") {
			return "Microsoft.Resources/resourceGroups"
		}
		return ""
	}
	if start+1 >= len(parts) {
		return ""
	}
	if start+2 == len(parts) {
		return "Microsoft.Resources/providers"
	}
	types := []string{parts[start+1]}
	for i := start + 2; i < len(parts); i += 2 {
		types = append(types, parts[i])
	}
	return strings.Join(types, "/")
}

// apiVersions are the versions that requests are made in, by the type of the resource
// in lower case, or by the type that it is below. Bodies are written for these.
var apiVersions = map[string]string{
	"microsoft.resources/providers":                    "2021-04-01",
	"microsoft.resources/resourcegroups":               "2021-04-01",
	"microsoft.authorization/permissions":              "2022-04-01",
	"microsoft.authorization/roledefinitions":          "2022-04-01",
	"microsoft.authorization/roleassignments":          "2022-04-01",
	"microsoft.managedidentity/userassignedidentities": "2024-11-30",
	"microsoft.storage/storageaccounts":                "2023-05-01",
	"microsoft.virtualmachineimages/imagetemplates":    "2024-02-01",
	"microsoft.compute/galleries":                      "2025-12-03",
	"microsoft.compute":                                "2026-04-01",
	"microsoft.insights/autoscalesettings":             "2022-10-01",
	"microsoft.insights/eventtypes":                    "2015-04-01",
}

// APIVersion returns the API version that a resource is asked in, or "" for a type
// that this program never writes.
func APIVersion(id ResourceID) string {
	typ := strings.ToLower(id.Type())
	for typ != "" {
		if v, ok := apiVersions[typ]; ok {
			return v
		}
		typ = typ[:max(strings.LastIndexByte(typ, '/'), 0)]
	}
	return ""
}
