package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return text
}

// bakeOfAll has a part of every sort.
func bakeOfAll(t *testing.T) (*Spec, *Content) {
	t.Helper()
	s := bakeSpec(
		CustomizeSpec{Name: "agent", File: "agent.deb", To: "/tmp/a/agent.deb"},
		CustomizeSpec{Name: "install", Script: "install.sh", Args: []string{"--stamp", "V={version}", "it's {image}", "$(date) && set -o pipefail", "[", "{a}]"}},
		CustomizeSpec{Name: "cis", Script: "https://st.blob.core.windows.net/s/cis.sh", SHA256: strings.Repeat("AB", 32)},
	)
	s.Bake.Artifacts = "https://st.blob.core.windows.net/a"
	return s, content(t, s, sourceFile("agent.deb", "deb\x00"), sourceFile("install.sh", "echo \"$@\"\n"))
}

// TestImageTemplateFits: Azure's own types have nothing to say about the body.
func TestImageTemplateFits(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	s, c := bakeOfAll(t)
	body, err := armtypes.Decode(jsonOf(t, ImageTemplate(s, c, "1.8.3")))
	require.NoError(t, err)
	id := s.TemplateID("1.8.3")
	require.Empty(t, types.Check(id.Type(), APIVersion(id), body, armtypes.Request))
	s.Bake.Validate = nil
	body, err = armtypes.Decode(jsonOf(t, ImageTemplate(s, content(t, s, sourceFile("agent.deb", "d"), sourceFile("install.sh", "true")), "1.8.3")))
	require.NoError(t, err)
	require.Empty(t, types.Check(id.Type(), APIVersion(id), body, armtypes.Request))
}

func TestImageTemplate(t *testing.T) {
	s, c := bakeOfAll(t)
	require.Equal(t, testGroup+"/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.8.3", string(s.TemplateID("1.8.3")))
	d := ImageTemplate(s, c, "1.8.3")
	require.Equal(t, Document{"owner": "payments", TagContent: c.Hash, TagFleet: "pay"}, d["tags"])
	require.Contains(t, dig(d, "identity", "userAssignedIdentities"), testGroup+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib")
	require.InDelta(t, 60, dig(d, "properties", "buildTimeoutInMinutes"), 0)
	to := listAt(d, "properties", "distribute")[0]
	require.Equal(t, Document{
		"type": "SharedImage", "runOutputName": RunOutput, "excludeFromLatest": true,
		"galleryImageId": testDefinition + "/versions/1.8.3",
		"artifactTags":   Document{"owner": "payments", "commit": "4f2a9c1", TagContent: c.Hash, TagFleet: "pay"},
		"targetRegions": []any{
			Document{"name": "eastus", "replicaCount": 3.0, "storageAccountType": "Standard_ZRS"},
			Document{"name": "westus3", "replicaCount": 2.0, "storageAccountType": "Standard_ZRS"},
		},
	}, to)
	require.NotContains(t, string(jsonOf(t, d)), "{version}")
	require.NotContains(t, string(jsonOf(t, d)), "endOfLife")

	// What fleetctl makes is what preflight asks for.
	live := Evidence{Now: testNow, Live: &Fleet{Templates: []Template{{ID: s.TemplateID("1.8.3"), Provisioning: Succeeded, Properties: d["properties"].(Document)}}}}
	require.Empty(t, Preflight(live))
}

func TestBakeRegions(t *testing.T) {
	s := cleanSpec()
	require.Equal(t, []TargetRegion{{"eastus", 3}, {"westus3", 2}}, s.BakeRegions())
	s.Gallery.Regions = map[string]int{"northeurope": 1}
	require.Equal(t, []TargetRegion{{"eastus", 3}, {"northeurope", 1}, {"westus3", 3}}, s.BakeRegions())
	s.Gallery.Replicate = ReplicateByWave
	require.Equal(t, []TargetRegion{{"eastus", 3}}, s.BakeRegions())
	s.Location = "westeurope" // no scale set is there, and the version has to be
	require.Equal(t, []TargetRegion{{"westeurope", 3}}, s.BakeRegions())
}

// TestDeploymentTemplate: it is what preflight asks for, and the same for the same
// content.
func TestDeploymentTemplate(t *testing.T) {
	s, c := bakeOfAll(t)
	text := DeploymentTemplate(s, c)
	require.Equal(t, string(text), string(DeploymentTemplate(s, c)))
	f, err := ReadTemplate("image.json", text)
	require.NoError(t, err)
	require.Empty(t, Preflight(Evidence{Now: testNow, Template: f}))
	for _, want := range []string{
		`bash -euo pipefail /tmp/fleetctl-install --stamp V={0} ''it''\\''''s ubuntu-app'' ''$(date) && set -o pipefail'' ''['' ''{{a}}]''`,
		`"sourceUri": "[format('{0}/{1}/agent.deb', parameters('artifactsUri'), parameters('checksums')['agent'])]"`,
		`"sha256Checksum": "` + strings.Repeat("ab", 32) + `"`,
		`"galleryImageId": "[format('{0}/versions/{1}', parameters('galleryImageId'), parameters('version'))]"`,
		`"[parameters('identityId')]": {}`,
		`"[ \"$rc\" -eq 0 ] || exit \"$rc\""`, // it does not end in a bracket
	} {
		require.Contains(t, string(text), want)
	}
	require.NotContains(t, string(text), `\u0000`)
	// Another package is the same template: its checksum is a parameter.
	other := content(t, s, sourceFile("agent.deb", "another"), sourceFile("install.sh", "echo \"$@\"\n"))
	require.NotEqual(t, c.Hash, other.Hash)
	require.Equal(t, string(text), string(DeploymentTemplate(s, other)))
}

func TestTemplateText(t *testing.T) {
	for text, want := range map[string]string{
		"a":                          "a",
		"[a]":                        "[[a]",
		"[a] b":                      "[a] b",
		"it's {0}":                   "it's {0}",
		hole("f()"):                  "[f()]",
		hole("f()") + hole("g()"):    "[format('{0}{1}', f(), g())]",
		"it's {0} " + hole("f('x')"): "[format('it''s {{0}} {0}', f('x'))]",
		"[" + hole("f()") + "]":      "[format('[{0}]', f())]",
	} {
		require.Equal(t, want, templateText(text))
	}
}

func TestShellQuote(t *testing.T) {
	words := []string{"", "a", "a b", "it's", `\`, "$HOME", "`id`", "*", "~", "-n", "a\nb", "ü", "{a,b}", "#", "&&", "!x", `"`, "a=b", "{version}", "x{version}y", "[", "é'\"\\$(id)"}
	for _, word := range words {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-ec", "printf %s "+shellQuote(word)).Output()
		require.NoError(t, err)
		require.Equal(t, word, string(out), shellQuote(word))
	}
	require.Equal(t, "V={version}", shellQuote("V={version}"))
}

// runTemplate does what Packer does with a list of customizers, on this machine: it
// copies files, and runs inline commands by `/bin/sh -e`. It stops at the first that
// fails, and returns what was printed.
func runTemplate(t *testing.T, steps []any, files map[string]string) (out string, code int) {
	t.Helper()
	var log bytes.Buffer
	for _, one := range steps {
		step := one.(Document)
		if step["type"] == "File" {
			text, known := files[step["sourceUri"].(string)]
			require.True(t, known, "%s", step["sourceUri"])
			require.Equal(t, sumOf(text), step["sha256Checksum"])
			require.NoError(t, os.WriteFile(step["destination"].(string), []byte(text), 0o600))
			continue
		}
		var lines []string
		for _, line := range step["inline"].([]any) {
			lines = append(lines, line.(string))
		}
		script := filepath.Join(t.TempDir(), "script.sh")
		require.NoError(t, os.WriteFile(script, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "dash", "dash"), "-e", script)
		cmd.Stdout, cmd.Stderr = &log, &log
		cmd.Stdin = strings.NewReader("nobody reads this\n")
		if err := cmd.Run(); err != nil {
			return log.String(), cmd.ProcessState.ExitCode()
		}
	}
	return log.String(), 0
}

// TestStepsRun: scripts and files of every sort reach the machine as they are, and
// run under bash with their arguments.
func TestStepsRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's")
	name := fmt.Sprintf("test-%d", os.Getpid()) // of a script, which stands in /tmp
	show := "printf '<%s>\\n' \"$@\"\n"
	for _, tt := range []struct {
		name, script string
		args         []string
		want         string
		code         int
	}{
		{"arguments", show, []string{"a b", "it's", "$(id)", "ü €", "", "V={version}", `back\slash`, "{image}"}, "<a b>\n<it's>\n<$(id)>\n<ü €>\n<>\n<V=1.8.3>\n<back\\slash>\n<ubuntu-app>\n", 0},
		{"quotes and unicode", "x='\"$HOME\" `id` ü'\nprintf '%s\\n' \"$x\" '\\'\n", nil, "\"$HOME\" `id` ü\n\\\n", 0},
		{"no final newline", "printf 'done\\n'", nil, "done\n", 0},
		{"empty", "", nil, "", 0},
		{"not UTF-8", "printf '\xff\\n'\n", nil, "\xff\n", 0},
		{"bash, whatever it says", "#!/bin/sh\n[[ -n ${BASH_VERSION} ]]\nset -o pipefail\na=(1 2)\necho ${#a[@]}\n", nil, "2\n", 0},
		{"no input", "read -r line || echo end\n", nil, "end\n", 0},
		{"exit 3", "echo in\nexit 3\n", nil, "in\n", 3},
		{"a command fails", "false\necho never\n", nil, "", 1},
		{"a command of a pipe fails", "false | cat\necho never\n", nil, "", 1},
		{"an unset variable", "echo ${unset_variable}\necho never\n", nil, "unset_variable: unbound variable\n", 1},
	} {
		for _, way := range []string{"inline", "artifacts", "url"} {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				customizer := CustomizeSpec{Name: name, Script: "s.sh", Args: tt.args}
				from := "https://st.blob.core.windows.net/s.sh"
				if way == "url" {
					customizer.Script, customizer.SHA256 = from, sumOf(tt.script)
				}
				s := bakeSpec(customizer, CustomizeSpec{Name: "next", Script: "next.sh"})
				c := content(t, s, sourceFile("s.sh", tt.script), sourceFile("next.sh", "echo next\n"))
				if way == "artifacts" {
					c.customize[0].upload, c.customize[0].data = true, nil
					s.Bake.Artifacts = "https://st.blob.core.windows.net"
					from = s.Bake.Artifacts + "/" + sumOf(tt.script) + "/s.sh"
				}
				out, code := runTemplate(t, listAt(ImageTemplate(s, c, "1.8.3"), "properties", "customize"), map[string]string{from: tt.script})
				require.Equal(t, tt.code, code, out)
				out = strings.ReplaceAll(out, "/tmp/fleetctl-"+name+": line 1: ", "")
				want := "fleetctl: customizer " + name + " begins\n/tmp/fleetctl-" + name + ": OK\n" + tt.want
				if tt.code == 0 {
					want += "fleetctl: customizer " + name + " ends\nfleetctl: customizer next begins\n/tmp/fleetctl-next: OK\nnext\nfleetctl: customizer next ends\n"
				}
				require.Equal(t, want, out)
				require.NoFileExists(t, "/tmp/fleetctl-"+name)
			})
		}
	}

	for _, way := range []string{"inline", "artifacts"} {
		t.Run("a file "+way, func(t *testing.T) {
			to := filepath.Join(dir, way, "fleet agent.deb")
			s := bakeSpec(CustomizeSpec{Name: name, File: "agent.deb", To: to})
			if way == "artifacts" {
				s.Bake.Artifacts = "https://st.blob.core.windows.net/a"
			}
			text := "!<arch>\n\x00\r\n\xff"
			c := content(t, s, sourceFile("agent.deb", text))
			from := "https://st.blob.core.windows.net/a/" + sumOf(text) + "/agent.deb"
			out, code := runTemplate(t, listAt(ImageTemplate(s, c, "1.8.3"), "properties", "customize"), map[string]string{from: text})
			require.Zero(t, code, out)
			require.Equal(t, "fleetctl: customizer "+name+" begins\n"+to+": OK\nfleetctl: customizer "+name+" ends\n", out)
			got, err := os.ReadFile(to)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			sidecar, err := os.ReadFile(to + ".sha256")
			require.NoError(t, err)
			require.Equal(t, sumOf(text)+"  "+to+"\n", string(sidecar))
		})
	}
}

// TestAlteredOnTheWay: what is not what it should be is not run.
func TestAlteredOnTheWay(t *testing.T) {
	s := bakeSpec(CustomizeSpec{Name: "altered", Script: "s.sh"})
	c := content(t, s, sourceFile("s.sh", "echo ran\n"))
	c.customize[0].data = []byte("echo altered\n")
	out, code := runTemplate(t, listAt(ImageTemplate(s, c, "1.8.3"), "properties", "customize"), nil)
	require.Equal(t, 1, code)
	require.Contains(t, out, "/tmp/fleetctl-altered: FAILED")
	require.NotContains(t, out, "echo")
	require.NoError(t, os.Remove("/tmp/fleetctl-altered"))
}

// TestTemplateFields: the table of fields is what Azure publishes: each of them passes,
// and what is published is in it.
func TestTemplateFields(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testkit.Published(t, "types"), "microsoft.virtualmachineimages-2024-02-01.json"))
	require.NoError(t, err)
	const readOnly = 2
	type property struct {
		Type struct {
			Ref string `json:"$ref"`
		}
		Flags int
	}
	var types []struct {
		Kind                       string `json:"$type"`
		Name                       string
		Properties, BaseProperties map[string]property
		Body, ItemType             struct {
			Ref string `json:"$ref"`
		}
		Elements json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &types))
	index := func(ref string) (i int) {
		_, err := fmt.Sscanf(ref, "#/%d", &i)
		require.NoError(t, err)
		return i
	}
	published := make(map[string]map[string]bool)
	var visit func(path, ref string)
	visit = func(path, ref string) {
		typ := types[index(ref)]
		for _, properties := range []map[string]property{typ.Properties, typ.BaseProperties} {
			for name, p := range properties {
				if p.Flags&readOnly != 0 && path != "" {
					continue
				}
				if published[path] == nil {
					published[path] = make(map[string]bool)
				}
				published[path][name] = true
				visit(strings.TrimPrefix(path+"."+name, "."), p.Type.Ref)
			}
		}
		if typ.Kind == "ArrayType" {
			visit(path+"[]", typ.ItemType.Ref)
		}
		if typ.Kind == "DiscriminatedObjectType" {
			var elements map[string]struct {
				Ref string `json:"$ref"`
			}
			require.NoError(t, json.Unmarshal(typ.Elements, &elements))
			for _, e := range elements {
				visit(path, e.Ref)
			}
		}
	}
	for _, typ := range types {
		if typ.Name == typeTemplate+"@"+templateAPI {
			visit("", typ.Body.Ref)
		}
	}
	delete(published[""], "id")
	delete(published[""], "systemData")
	delete(published, "systemData")
	table := make(map[string][]string)
	for path, fields := range published {
		table[path] = sortedKeys(fields)
	}
	for path, fields := range templateFields {
		require.ElementsMatch(t, table[path], fields, path)
		delete(table, path)
	}
	require.Empty(t, table)
}
