package aib

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	typeFile     = "microsoft.virtualmachineimages-2024-02-01.json"
	resourceType = "Microsoft.VirtualMachineImages/imageTemplates"
	apiVersion   = "2024-02-01"
)

// body returns the resource as Azure checks it: type and API version are in the
// address of the request.
func body(t *testing.T, d *deployment) map[string]any {
	t.Helper()
	b := d.resource(t)
	require.Equal(t, resourceType, b["type"])
	require.Equal(t, apiVersion, b["apiVersion"])
	delete(b, "type")
	delete(b, "apiVersion")
	return b
}

func TestTemplateFitsTheAPI(t *testing.T) {
	ts := loadTypes(t, typeFile)
	require.Empty(t, ts.check("", body(t, load(t)), ts.resource(t, resourceType+"@"+apiVersion)))
}

// TestTypeCheck: the check finds each kind of mistake, so that its silence about
// the template means something.
func TestTypeCheck(t *testing.T) {
	ts := loadTypes(t, typeFile)
	ref := ts.resource(t, resourceType+"@"+apiVersion)
	at := func(v any, keys ...string) map[string]any {
		for _, key := range keys {
			switch container := v.(type) {
			case map[string]any:
				v = container[key]
			case []any:
				v = container[0]
			}
		}
		return v.(map[string]any)
	}
	for name, tt := range map[string]struct {
		spoil func(b map[string]any)
		want  string
	}{
		"unknown property": {func(b map[string]any) { at(b, "properties")["replicationMode"] = "Full" }, "/properties/replicationMode: unknown property"},
		"wrong case":       {func(b map[string]any) { at(b, "properties", "vmProfile")["osDiskSizeGb"] = 30 }, "/properties/vmProfile/osDiskSizeGb: unknown property"},
		"name of another API": {func(b map[string]any) {
			at(b, "properties", "distribute", "0", "targetRegions", "0")["regionalReplicaCount"] = 3
		}, "/properties/distribute/0/targetRegions/0/regionalReplicaCount: unknown property"},
		"required":                {func(b map[string]any) { delete(b, "identity") }, "/identity: is required"},
		"required by the base":    {func(b map[string]any) { delete(at(b, "properties", "distribute", "0"), "runOutputName") }, "/properties/distribute/0/runOutputName: is required"},
		"read-only":               {func(b map[string]any) { at(b, "properties")["provisioningState"] = "Succeeded" }, "/properties/provisioningState: is read-only"},
		"discriminator":           {func(b map[string]any) { at(b, "properties", "source")["type"] = "platformImage" }, `/properties/source/type: "platformImage" is none of ManagedImage, PlatformImage, SharedImageVersion`},
		"literal":                 {func(b map[string]any) { at(b, "identity")["type"] = "SystemAssigned" }, "/identity/type: SystemAssigned is none of UserAssigned, None"},
		"value not of the list":   {func(b map[string]any) { at(b, "properties", "errorHandling")["onCustomizerError"] = "Abort" }, "/properties/errorHandling/onCustomizerError: Abort is none of cleanup, abort"},
		"string for a list":       {func(b map[string]any) { at(b, "properties", "customize", "0")["inline"] = "true" }, "/properties/customize/0/inline: not an array"},
		"string for a boolean":    {func(b map[string]any) { at(b, "properties", "distribute", "0")["excludeFromLatest"] = "true" }, "/properties/distribute/0/excludeFromLatest: true is not a boolean"},
		"name out of pattern":     {func(b map[string]any) { b["name"] = "an image" }, `/name: "an image" does not match ^[A-Za-z0-9-_.]{1,64}$`},
		"type of a tag":           {func(b map[string]any) { b["tags"] = map[string]any{"build": true} }, "/tags/build: true is not a string"},
		"list item not an object": {func(b map[string]any) { at(b, "properties")["customize"] = []any{"true"} }, "/properties/customize/0: not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			b := body(t, load(t))
			tt.spoil(b)
			require.Equal(t, []string{tt.want}, ts.check("", b, ref))
		})
	}
	t.Run("number out of range", func(t *testing.T) {
		d := load(t)
		d.template.Resources[0]["properties"].(map[string]any)["buildTimeoutInMinutes"] = 961
		require.Equal(t, []string{"/properties/buildTimeoutInMinutes: 961 is not an integer in the range"}, ts.check("", body(t, d), ref))
	})
}

// TestTemplateIsDeployable: the file is a whole deployment template, not a bare
// resource, and every parameter has a use, a text and, in the example, a value.
func TestTemplateIsDeployable(t *testing.T) {
	d := load(t)
	require.Equal(t, "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", d.template.Schema)
	require.Equal(t, "1.0.0.0", d.template.ContentVersion)
	b := d.resource(t)
	require.Equal(t, "ubuntu-app-20260102030405", b["name"])
	for name, p := range d.template.Parameters {
		require.True(t, p.used, "parameter %s is not used", name)
		if p.DefaultValue == nil {
			require.NotEmpty(t, p.Metadata["description"], "parameter %s", name)
			require.Contains(t, d.values, name, "ubuntu-app.parameters.json")
		}
	}
	for name := range d.values {
		require.Contains(t, d.template.Parameters, name, "ubuntu-app.parameters.json")
	}
}

// step is a customizer or validator of the template.
type step struct {
	Type, Name, Destination, Checksum, Source string
	Inline                                    []string
}

func steps(list any) []step {
	text := func(v any) string { s, _ := v.(string); return s }
	var all []step
	for _, v := range list.([]any) {
		m := v.(map[string]any)
		s := step{Type: text(m["type"]), Name: text(m["name"]), Destination: text(m["destination"]), Checksum: text(m["sha256Checksum"]), Source: text(m["sourceUri"])}
		inline, _ := m["inline"].([]any)
		for _, line := range inline {
			s.Inline = append(s.Inline, text(line))
		}
		all = append(all, s)
	}
	return all
}

// TestTemplateSteps: what the API does not judge, and a build would find out after
// minutes.
func TestTemplateSteps(t *testing.T) {
	properties := body(t, load(t))["properties"].(map[string]any)
	customize := steps(properties["customize"])
	validate := steps(properties["validate"].(map[string]any)["inVMValidations"])

	names := make(map[string]bool)
	for _, list := range [][]step{customize, validate} {
		uploaded := make(map[string]bool)
		for _, s := range list {
			require.False(t, names[s.Name], "%s: a name tells one step in the log", s.Name)
			names[s.Name] = true
			switch s.Type {
			case "File":
				base, ok := strings.CutPrefix(s.Destination, "/tmp/")
				require.True(t, ok, "%s: on Linux a file goes to /tmp", s.Name)
				require.Regexp(t, "^[0-9a-f]{64}$", s.Checksum, s.Name)
				require.True(t, strings.HasSuffix(s.Source, "/"+base), s.Name)
				uploaded[base] = true
				if base != "fleet-agent.deb" {
					require.Contains(t, customizers, base)
				}
			case "Shell":
				require.NotEmpty(t, s.Inline, s.Name)
				for _, line := range s.Inline {
					checkInline(t, s.Name, line, uploaded)
				}
			}
		}
	}
	last := customize[len(customize)-1]
	require.Equal(t, []string{"sh /tmp/generalize.sh --at-deprovisioning"}, last.Inline, "after the host keys are gone nothing can log in")
	require.Equal(t, false, properties["validate"].(map[string]any)["continueDistributeOnFailure"])
	distribute := properties["distribute"].([]any)
	for _, d := range distribute {
		require.Equal(t, true, d.(map[string]any)["excludeFromLatest"], "a new image is promoted, it does not promote itself")
		require.NotContains(t, d.(map[string]any)["galleryImageId"], "/versions/")
	}
}

var script = regexp.MustCompile(`^sh /tmp/([a-z-]+\.sh)(.*)$`)

// checkInline judges one inline command, which Packer runs with `/bin/sh -e`.
func checkInline(t *testing.T, name, line string, uploaded map[string]bool) {
	t.Helper()
	require.NotContains(t, line, "pipefail", "%s: dash does not know it", name)
	require.NotContains(t, line, "&&", "%s: -e does not end at a failure before &&", name)
	require.NotRegexp(t, `'[^']*\$\([^']*'`, line, "%s: single quotes keep $( ) as it is", name)
	shellcheck(t, "-s", "sh", "-", line)

	m := script.FindStringSubmatch(line)
	if m == nil {
		return
	}
	require.True(t, uploaded[m[1]], "%s: %s was not uploaded", name, m[1])
	// --help is answered after all arguments before it were found right.
	args := append([]string{filepath.Join(repo(t), "aib/customizers", m[1])}, strings.Fields(m[2])...)
	out, err := exec.CommandContext(t.Context(), "sh", append(args, "--help")...).CombinedOutput()
	require.NoError(t, err, "%s: %s\n%s", name, line, out)
}

// TestPackerSteps: the Packer build calls the scripts with arguments that they take.
func TestPackerSteps(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(repo(t), "aib/packer/build.pkr.hcl"))
	require.NoError(t, err)
	values := strings.NewReplacer(
		"${var.deb_sha256}", strings.Repeat("0", 64),
		"${var.image}", "ubuntu-app",
		"${var.image_version}", "1.7.1",
		"${var.agent_version}", "1.4.0-1",
		"${var.stop_timeout}", "30s",
		`${join(" ", var.workloads)}`, "nginx.service",
		`${join(" ", formatlist("--workload %s", var.workloads))}`, "--workload nginx.service",
		`${join(" ", formatlist("--listen %s", var.ports))}`, "--listen 80",
	)
	var called []string
	for line := range strings.Lines(values.Replace(string(data))) {
		command := strings.Trim(strings.TrimSpace(line), `",`)
		if !strings.HasPrefix(command, "sh /tmp/customizers/") {
			continue
		}
		require.NotContains(t, command, "${", "a variable that this test has no value for")
		command = strings.Replace(command, "/customizers", "", 1)
		uploaded := make(map[string]bool)
		for _, name := range customizers {
			uploaded[name] = true
		}
		checkInline(t, "packer", command, uploaded)
		called = append(called, script.FindStringSubmatch(command)[1])
	}
	require.Equal(t, []string{"install-fleet-agent.sh", "adopt-workloads.sh", "harden-cis-baseline.sh", "generalize.sh", "validate.sh"}, called)
}

// TestUploadsAreSmall: Image Builder's File customizer takes less than 20 MB. The
// package's size is checked where it is built.
func TestUploadsAreSmall(t *testing.T) {
	for _, name := range customizers {
		info, err := os.Stat(filepath.Join(repo(t), "aib/customizers", name))
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(1<<20))
	}
	require.True(t, slices.IsSorted(customizers))
}
