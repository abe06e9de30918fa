package aib

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

var update = flag.Bool("update", false, "write aib/templates/ubuntu-app.json anew")

const (
	resourceType = "Microsoft.VirtualMachineImages/imageTemplates"
	apiVersion   = "2024-02-01"
)

// example reads examples/fleet/fleet.yaml with the files that its bake names, and
// something in the place of the package, which is built and not kept.
func example(t *testing.T) (*fleet.Spec, *fleet.Content) {
	t.Helper()
	file, err := fleetfile.Load(filepath.Join(repo(t), "examples/fleet/fleet.yaml"), func(string) (string, bool) {
		return "11111111-1111-1111-1111-111111111111", true
	})
	require.NoError(t, err)
	var sources []fleet.SourceFile
	for _, path := range file.Spec.SourcePaths() {
		data := []byte("a package")
		if filepath.Ext(path) != ".deb" {
			data, err = os.ReadFile(path)
			require.NoError(t, err)
		}
		sources = append(sources, fleet.SourceFile{Path: path, Size: int64(len(data)), Data: data})
	}
	require.Empty(t, fleet.Preflight(fleet.Evidence{Now: time.Now(), Spec: file.Spec, Files: sources}))
	content, err := fleet.NewContent(file.Spec, sources)
	require.NoError(t, err)
	return file.Spec, content
}

// TestTemplateIsPrinted: the template is what `fleetctl bake --print-template` prints
// for the example, and nothing that preflight looks for is in it.
func TestTemplateIsPrinted(t *testing.T) {
	path := filepath.Join(repo(t), "aib/templates/ubuntu-app.json")
	want := fleet.DeploymentTemplate(example(t))
	if *update {
		require.NoError(t, os.WriteFile(path, want, 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test ./internal/aib -update writes it anew")
	file, err := fleet.ReadTemplate("ubuntu-app.json", got)
	require.NoError(t, err)
	require.Empty(t, fleet.Preflight(fleet.Evidence{Now: time.Now(), Template: file}))
}

// body returns the resource as Azure checks it: type and API version are in the
// address of the request, and the name too.
func body(t *testing.T, d *deployment) map[string]any {
	t.Helper()
	b := d.resource(t)
	require.Equal(t, resourceType, b["type"])
	require.Equal(t, apiVersion, b["apiVersion"])
	for _, key := range []string{"type", "apiVersion", "name"} {
		delete(b, key)
	}
	return b
}

// TestTemplateFitsTheAPI: with the example's parameters, and in a subnet, and it is
// what fleetctl sends itself.
func TestTemplateFitsTheAPI(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	d := load(t)
	require.Empty(t, types.Check(resourceType, apiVersion, body(t, d), armtypes.Request))
	require.NotContains(t, body(t, d)["properties"].(map[string]any)["vmProfile"], "vnetConfig")

	const subnet = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet-build/subnets/build"
	d.values["subnetId"] = parameterValue{subnet}
	require.Empty(t, types.Check(resourceType, apiVersion, body(t, d), armtypes.Request))
	require.Equal(t, map[string]any{"subnetId": subnet}, body(t, d)["properties"].(map[string]any)["vmProfile"].(map[string]any)["vnetConfig"])
}

// TestTemplateIsSent: filled with the file's own values, the template is the body that
// fleetctl bake sends, but for the hash of the content.
func TestTemplateIsSent(t *testing.T) {
	spec, content := example(t)
	d := load(t)
	d.values = map[string]parameterValue{
		"version": {"1.8.3"}, "identityId": {string(spec.IdentityID())}, "galleryImageId": {string(spec.DefinitionID())},
		"checksums": {map[string]any{"agent": content.Uploads[0].SHA256}},
	}
	sent := fleet.ImageTemplate(spec, content, "1.8.3")
	delete(sent["tags"].(map[string]any), fleet.TagContent)
	delete(sent["properties"].(map[string]any)["distribute"].([]any)[0].(map[string]any)["artifactTags"].(map[string]any), fleet.TagContent)
	want, err := json.Marshal(sent)
	require.NoError(t, err)
	got, err := json.Marshal(body(t, d))
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

// TestTemplateIsDeployable: the file is a whole deployment template, not a bare
// resource, and every parameter has a use, a text and, in the example, a value.
func TestTemplateIsDeployable(t *testing.T) {
	d := load(t)
	require.Equal(t, "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", d.template.Schema)
	require.Equal(t, "1.0.0.0", d.template.ContentVersion)
	b := d.resource(t)
	require.Equal(t, "ubuntu-app-1.7.1", b["name"])
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

	var run []string
	names := make(map[string]bool)
	for _, s := range slices.Concat(customize, validate) {
		require.False(t, names[s.Name], "%s: a name tells one step in the log", s.Name)
		names[s.Name] = true
		if s.Type == "File" {
			require.True(t, strings.HasPrefix(s.Destination, "/tmp/"), "%s: on Linux a file goes to /tmp", s.Name)
			require.Regexp(t, "^[0-9a-f]{64}$", s.Checksum, s.Name)
			require.True(t, strings.HasSuffix(s.Source, "/"+s.Checksum+"/fleet-agent_amd64.deb"), s.Name)
			continue
		}
		require.NotEmpty(t, s.Inline, s.Name)
		// pipefail is bash's: what the script itself sets is what counts.
		shellcheck(t, "-s", "sh", "-", strings.Join(s.Inline, "\n"))
		run = append(run, checkRun(t, s.Inline)...)
	}
	require.Equal(t, []string{
		"workloads.sh", "install-fleet-agent.sh", "adopt-workloads.sh", "harden-cis-baseline.sh", "generalize.sh", "validate.sh",
	}, run)
	last := strings.Join(customize[len(customize)-1].Inline, "\n")
	require.Contains(t, last, "--at-deprovisioning", "after the host keys are gone nothing can log in")
	require.Equal(t, false, properties["validate"].(map[string]any)["continueDistributeOnFailure"])
	for _, d := range properties["distribute"].([]any) {
		require.Equal(t, true, d.(map[string]any)["excludeFromLatest"], "a new image is promoted, it does not promote itself")
		require.Regexp(t, `/versions/1\.7\.1$`, d.(map[string]any)["galleryImageId"])
	}
}

var (
	inlined = regexp.MustCompile(`^echo (\S+) \| base64 -d >(/tmp/fleetctl-\S+)$`)
	started = regexp.MustCompile(`^bash -euo pipefail (/tmp/fleetctl-\S+)(.*) </dev/null \|\| rc=\$\?$`)
)

// checkRun finds the scripts of the repository that inline commands start, and has
// each say that it takes the arguments.
func checkRun(t *testing.T, inline []string) (names []string) {
	t.Helper()
	texts := make(map[string]string)
	for _, line := range inline {
		if m := inlined.FindStringSubmatch(line); m != nil {
			text, err := base64.StdEncoding.DecodeString(m[1])
			require.NoError(t, err)
			texts[m[2]] = string(text)
		}
		m := started.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := ""
		for _, dir := range []string{"aib/customizers", "examples/fleet"} {
			found, err := filepath.Glob(filepath.Join(repo(t), dir, "*.sh"))
			require.NoError(t, err)
			for _, path := range found {
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				if string(text) != texts[m[1]] {
					continue
				}
				name = filepath.Base(path)
				if dir == "aib/customizers" {
					// --help is answered after all arguments before it were found right.
					out, err := exec.CommandContext(t.Context(), "bash", "-c", "bash -euo pipefail "+path+m[2]+" --help").CombinedOutput()
					require.NoError(t, err, "%s\n%s", line, out)
				}
			}
		}
		require.NotEmpty(t, name, "%s runs no script of the repository", line)
		names = append(names, name)
	}
	return names
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

// TestDocumentedParameters: the Bicep module and the Terraform resource in the
// documentation give parameters that the template has, and all that it needs.
func TestDocumentedParameters(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repo(t), "docs/bake.md"))
	require.NoError(t, err)
	parameters := load(t).template.Parameters
	for _, c := range []struct{ begin, end, key string }{
		{"module bake 'aib/templates/ubuntu-app.json' = {", "\n}\n", `(?m)^    (\w+):`},
		{"parameters_content = jsonencode({", "})", `(?m)^    (\w+) += \{ value`},
	} {
		_, block, found := strings.Cut(string(text), c.begin)
		require.True(t, found, c.begin)
		block, _, _ = strings.Cut(block, c.end)
		given := make(map[string]bool)
		for _, m := range regexp.MustCompile(c.key).FindAllStringSubmatch(block, -1) {
			require.Contains(t, parameters, m[1])
			given[m[1]] = true
		}
		for name, p := range parameters {
			require.True(t, given[name] || p.DefaultValue != nil, "%s has no value in %s", name, c.begin)
		}
	}
}
