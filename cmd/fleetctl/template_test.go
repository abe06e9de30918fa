package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// offline runs fleetctl in this process, without Azure, and returns what it printed.
func offline(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut strings.Builder
	code = run(args, &out, &errOut, func(string) string { return "" })
	return out.String(), errOut.String(), code
}

// TestPreflightTemplate: each error of the article's template, as it is printed there,
// is named with its line, and none of the corrected one.
func TestPreflightTemplate(t *testing.T) {
	const path = "testdata/template/aib-ubuntu-app.json"
	stdout, stderr, code := offline(t, "preflight", "--template", path, "-o", "json")
	require.Equal(t, exitRefused, code, stderr)
	var view preflightView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	require.Equal(t, fleet.LooksTemplate, view.LookedIn)
	var got []string
	for _, f := range view.Findings {
		require.False(t, f.Live)
		got = append(got, fmt.Sprintf("%s %s %s", strings.TrimPrefix(f.Place, path+":"), f.Severity, f.ID))
	}
	slices.Sort(got)
	require.Equal(t, []string{
		"1 error bare-template",
		"29 error inline-pipefail",
		"30 warning and-list",
		"33 warning quoted-substitution",
		"39 warning unchecked-download",
		"43 warning bake-not-excluded",
		"45 error placeholder",
		"8 error placeholder",
	}, got)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	for line, want := range map[int]string{8: "<AIB_ID resource id>", 29: "pipefail", 30: "&&", 33: "$(date", 39: "scriptUri", 45: "<sub>"} {
		require.Contains(t, lines[line-1], want)
	}

	stdout, stderr, code = offline(t, "preflight", "--template", "testdata/template/corrected.json")
	require.Zero(t, code, stdout+stderr)
	require.Contains(t, stdout, "no trap is armed")
}

// TestPreflightTemplateRefuses: what is no template is no success.
func TestPreflightTemplateRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	large := filepath.Join(dir, "large.json")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, fleet.MaxTemplateFile+1))
	for want, args := range map[string][]string{
		"no such file or directory":               {filepath.Join(dir, "none.json")},
		"is not a regular file":                   {dir},
		"more than 4 MB":                          {large},
		"bicep.json:1: invalid character":         {file("bicep.json", "param x string\n")},
		"cut.json:3: unexpected EOF":              {file("cut.json", "{\n\"a\": [1,\n2")},
		"has no resource of the type":             {file("other.json", `{"resources": [{"type": "Microsoft.Compute/galleries"}]}`)},
		"--template looks at that file alone":     {"x.json", "-f", "fleet.yaml"},
		"it excludes --file and --resource-group": {"x.json", "-g", "rg", "--subscription", "s"},
	} {
		stdout, stderr, code := offline(t, append([]string{"preflight", "--template"}, args...)...)
		require.Contains(t, stderr, want)
		require.Contains(t, []int{1, exitUsage}, code)
		require.Empty(t, stdout)
	}
}

// bakeFile is a file with a bake of one script and one package, beside it.
func bakeFile(t *testing.T, bake string) *fleetfile.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"agent.deb": "deb", "install.sh": "true\n",
		"fleet.yaml": `version: 1
name: pay
subscription: 11111111-1111-1111-1111-111111111111
resource_group: rg-pay-prod
location: eastus
gallery: {name: galProd, image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}}
` + bake,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	f, err := fleetfile.Load(filepath.Join(dir, "fleet.yaml"), func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	return f
}

const smallBake = `bake:
  identity: id-aib
  source: {publisher: Canonical, offer: o, sku: s}
  version: 1.8.{n}
  artifacts: https://stbuild.blob.core.windows.net/artifacts
  customize:
    - {name: agent, file: agent.deb, to: /tmp/agent.deb}
    - {name: install, script: install.sh}
`

// TestPrintTemplate: standard output is the template, standard error says what the
// template needs.
func TestPrintTemplate(t *testing.T) {
	var out, errOut strings.Builder
	g := newGlobals(&out, &errOut, func(string) string { return "" })
	require.NoError(t, g.printTemplate(bakeFile(t, smallBake)))
	template, err := fleet.ReadTemplate("image.json", []byte(out.String()))
	require.NoError(t, err)
	require.Empty(t, fleet.Preflight(fleet.Evidence{Template: template}))
	require.Regexp(t, `(?s)^fleetctl: upload .*/agent\.deb as [0-9a-f]{64}/agent\.deb\n`+
		`fleetctl: and deploy with --parameters checksums='\{"agent":"[0-9a-f]{64}"\}'\n$`, errOut.String())

	err = g.printTemplate(bakeFile(t, ""))
	require.ErrorContains(t, err, "has no bake")
	missing := bakeFile(t, strings.ReplaceAll(smallBake, "install.sh", "other.sh"))
	err = g.printTemplate(missing)
	require.ErrorContains(t, err, "fleet.yaml:14:31: bake.customize[1].script: ")
	require.ErrorContains(t, err, "other.sh does not exist")
}

// TestReadSources: what is read is bounded, and nothing that may hang is opened.
func TestReadSources(t *testing.T) {
	f := bakeFile(t, smallBake)
	deb := f.Spec.Bake.Customize[0].File
	require.NoError(t, os.Truncate(deb, fleet.MaxSourceFile+1))
	sources, err := readSources(f.Spec)
	require.NoError(t, err)
	require.Equal(t, []fleet.SourceFile{
		{Path: deb, Size: fleet.MaxSourceFile + 1},
		{Path: f.Spec.Bake.Customize[1].Script, Size: 5, Data: []byte("true\n")},
	}, sources)
	_, err = bakeContent(f)
	require.ErrorContains(t, err, "Image Builder copies files of at most 20 MB")

	require.NoError(t, os.Remove(deb))
	require.NoError(t, os.Mkdir(deb, 0o700))
	_, err = readSources(f.Spec)
	require.ErrorContains(t, err, "is not a regular file")
}

// TestPreflightSources: preflight of a file looks into the local files that it names.
func TestPreflightSources(t *testing.T) {
	f := bakeFile(t, strings.ReplaceAll(smallBake, "  artifacts: https://stbuild.blob.core.windows.net/artifacts\n", ""))
	stdout, stderr, code := offline(t, "preflight", "--offline", "-f", f.Path)
	require.Zero(t, code, stdout+stderr)
	require.NoError(t, os.WriteFile(f.Spec.Bake.Customize[0].File, make([]byte, 65<<10), 0o600))
	require.NoError(t, os.WriteFile(f.Spec.Bake.Customize[1].Script, []byte("set -e\r\ntrue\r\n"), 0o600))
	stdout, _, code = offline(t, "preflight", "--offline", "-f", f.Path)
	require.Equal(t, exitRefused, code)
	for _, want := range []string{"error 68: A local file that has no way to the build", "at bake.customize[0].file", "error 69:", "at bake.customize[1].script", "install.sh:1 ends in CR"} {
		require.Contains(t, strings.Join(strings.Fields(stdout), " "), want)
	}
}

// TestCorrectedTemplateBakes: the article's template without its errors passes Azure's
// types, and makes the version that it says, where a build runs as Azure runs it.
func TestCorrectedTemplateBakes(t *testing.T) {
	text, err := os.ReadFile("testdata/template/corrected.json")
	require.NoError(t, err)
	b := newBaking(t, "", "1.8.{n}", "5m")
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		return map[string]string{azure.EndpointVariable: b.endpoint.URL}[name]
	}})
	require.NoError(t, err)
	const (
		group      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/"
		definition = group + "Microsoft.Compute/galleries/galProd/images/ubuntu-app"
		template   = group + "Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.7.1"
	)
	filled := strings.NewReplacer( // what a deployment makes of its expressions
		"[format('ubuntu-app-{0}', parameters('version'))]", "ubuntu-app-1.7.1",
		"[parameters('identityId')]", group+"Microsoft.ManagedIdentity/userAssignedIdentities/id-aib",
		"[format('{0}/versions/{1}', parameters('galleryImageId'), parameters('version'))]", definition+"/versions/1.7.1",
	).Replace(string(text))
	require.NotContains(t, filled, "parameters('")
	var deployment struct{ Resources []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(filled), &deployment))
	require.Len(t, deployment.Resources, 1)
	body := deployment.Resources[0]
	require.Equal(t, "ubuntu-app-1.7.1", body["name"])
	require.Equal(t, fleet.APIVersion(template), body["apiVersion"])
	for _, key := range []string{"type", "apiVersion", "name"} {
		delete(body, key) // which are of the address
	}
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	require.Empty(t, types.Check("Microsoft.VirtualMachineImages/imageTemplates", fleet.APIVersion(template), body, armtypes.Request))

	_, err = client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: template, Body: body})
	require.NoError(t, err)
	b.server.Advance(10 * time.Minute)
	_, err = client.Send(t.Context(), fleet.Write{Method: http.MethodPost, ID: template, Action: "run"})
	require.NoError(t, err)
	b.server.Advance(2 * time.Hour)

	read, err := client.Resource(t.Context(), definition+"/versions/1.7.1", "ReplicationStatus")
	require.NoError(t, err)
	v := fleet.ReadVersion(read.Body)
	require.Equal(t, fleet.Succeeded, v.Provisioning)
	require.True(t, v.Excluded)
	require.Equal(t, map[string]string{"source": "aib", "baseline": "cis"}, map[string]string{"source": v.Tags["source"], "baseline": v.Tags["baseline"]})
	for name, replicas := range map[string]int{"eastus": 3, "westus3": 2} {
		require.Equal(t, replicas, v.Region(name).Replicas, name)
		require.Equal(t, fleet.Replicated, v.Region(name).State, name)
	}
}
