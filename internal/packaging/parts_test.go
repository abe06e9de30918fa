package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/manual"
)

var someDay = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestEveryCommandHasAPackage: what is in cmd ships.
func TestEveryCommandHasAPackage(t *testing.T) {
	folders, err := os.ReadDir("../../cmd")
	require.NoError(t, err)
	var want, got []string
	for _, f := range folders {
		want = append(want, f.Name())
	}
	for _, c := range commands {
		got = append(got, c.name)
	}
	require.ElementsMatch(t, want, got)
}

func TestDebianVersion(t *testing.T) {
	tests := map[string]string{
		"v1.2.3":                      "1.2.3",
		"1.2.3":                       "1.2.3",
		"v1.2.3-dirty":                "1.2.3+dirty",
		"v1.3.0-rc.1":                 "1.3.0~rc.1",
		"v1.2.3-5-gabc1234":           "1.2.3+5.gabc1234",
		"v1.3.0-rc.1-12-gabc1234":     "1.3.0~rc.1+12.gabc1234",
		"v1.2.3-5-gabc1234-dirty":     "1.2.3+5.gabc1234+dirty",
		"abc1234":                     "0.0.0~git20260102030405.abc1234",
		"abc1234-dirty":               "0.0.0~git20260102030405.abc1234+dirty",
		"dev":                         "0.0.0~dev",
		"":                            "",
		"release":                     "",
		"v1.2":                        "",
		"v1.2.3 ; rm -rf /":           "",
		"v1.2.3-rc_1":                 "",
		"v1.2.3-rc.1-rc.2-g1":         "",
		"v1.2.3-5-gabc1234-dirty-bar": "",
	}
	for describe, want := range tests {
		t.Run(describe, func(t *testing.T) {
			got, err := debianVersion(describe, someDay)
			if want == "" {
				require.ErrorContains(t, err, "is not a version")
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

// TestDebianVersionsSort: dpkg sorts versions as their commits follow each other.
func TestDebianVersionsSort(t *testing.T) {
	testkit.Tool(t, "dpkg", "dpkg")
	inOrder := []string{"abc1234", "v1.2.3-rc.1", "v1.2.3-rc.1-2-gabc1234", "v1.2.3-rc.2", "v1.2.3", "v1.2.3-4-gabc1234", "v1.2.3-11-g0bc1234", "v1.2.4"}
	for i, describe := range inOrder[1:] {
		before, err := debianVersion(inOrder[i], someDay)
		require.NoError(t, err)
		after, err := debianVersion(describe, someDay)
		require.NoError(t, err)
		require.NoError(t, exec.CommandContext(t.Context(), "dpkg", "--compare-versions", before, "lt", after).Run(), "%s before %s", before, after)
	}
}

const exampleChangelog = `# Changelog

Words about it.

## [Unreleased]

### Added
- ` + "`status`" + ` says more, and goes on about it for so long that the line has to be broken
  somewhere.

## [1.1.0] - 2025-12-01
### Fixed
- A thing.

## [1.0.0] - 2025-11-01

[1.1.0]: https://example/1.1.0
`

func TestDebianChangelog(t *testing.T) {
	const (
		earlier = `fleet-agent (1.0.0-1) unstable; urgency=medium

  * No change that users notice.

 -- ` + maintainer + `  Sat, 01 Nov 2025 00:00:00 +0000
`
		fixed = `fleet-agent (1.1.0-1) unstable; urgency=medium

  * A thing.

 -- ` + maintainer + `  Mon, 01 Dec 2025 00:00:00 +0000

`
	)
	got, err := debianChangelog(exampleChangelog, "fleet-agent", "1.1.0+3.gabc1234", someDay)
	require.NoError(t, err)
	require.Equal(t, `fleet-agent (1.1.0+3.gabc1234-1) unstable; urgency=medium

  * status says more, and goes on about it for so long that the line has to be
    broken somewhere.

 -- `+maintainer+`  Fri, 02 Jan 2026 03:04:05 +0000

`+fixed+earlier, got)

	released := strings.Replace(exampleChangelog, "- `status`", "nothing: `status`", 1)
	got, err = debianChangelog(released, "fleet-agent", "1.1.0", someDay)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(fixed, "Mon, 01 Dec 2025 00:00:00", "Fri, 02 Jan 2026 03:04:05", 1)+earlier, got)

	_, err = debianChangelog("# Changelog\n", "fleet-agent", "1", someDay)
	require.ErrorContains(t, err, "no section")
	_, err = debianChangelog("## [1.0.0]\n", "fleet-agent", "1", someDay)
	require.ErrorContains(t, err, "section 1.0.0")
}

// TestProjectChangelog: the one that ships can be read.
func TestProjectChangelog(t *testing.T) {
	markdown, err := os.ReadFile("../../CHANGELOG.md")
	require.NoError(t, err)
	_, err = debianChangelog(string(markdown), "fleet-agent", "1.0.0", someDay)
	require.NoError(t, err)
}

// TestConfigFile: the installed file settles nothing, and says every section.
func TestConfigFile(t *testing.T) {
	example, err := os.ReadFile("../../" + exampleConfig)
	require.NoError(t, err)
	text, err := configFile(string(example))
	require.NoError(t, err)

	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	got, err := config.Load(file)
	require.NoError(t, err)
	var loaded, defaults strings.Builder
	require.NoError(t, got.Marshal(&loaded, false))
	require.NoError(t, config.Default().Marshal(&defaults, false))
	require.Equal(t, defaults.String(), loaded.String())
	for line := range strings.Lines(text) {
		require.True(t, line == "\n" || strings.HasPrefix(line, "#"), "sets something: %s", line)
	}
	for _, key := range []string{"listen", "health", "checks", "imds", "scheduled_events", "drain", "notify", "state_dir", "run_dir"} {
		require.Regexp(t, `(?m)^#`+key+`:`, text)
	}

	_, err = configFile("listen: {}\n")
	require.ErrorContains(t, err, "paragraph")
}

// TestConfigPage: every key is on the page, and groff takes it without a warning.
func TestConfigPage(t *testing.T) {
	page := configPage(manual.Edition{Project: "fleet-agent", Version: "1.2.3", Date: someDay})
	for _, row := range config.Reference() {
		require.Contains(t, page, `\fB`+strings.ReplaceAll(row.Path, "-", `\-`)+`\fR`)
	}
	require.NotContains(t, page, "](")
	groff := testkit.Tool(t, "groff", "groff-base")
	cmd := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-Tutf8", "-z")
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(out))
}

func TestBillOfMaterials(t *testing.T) {
	info := &buildinfo.BuildInfo{
		GoVersion: "go1.26.0",
		Deps: []*debug.Module{
			{Path: "github.com/Example/b", Version: "v1.0.0+incompatible", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			{Path: "example.org/old", Version: "v0.1.0", Replace: &debug.Module{Path: "example.org/new", Version: "v0.2.0", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}},
		},
	}
	p := shipped{name: "fleet-agent", version: "1.2.3+4.gabc-1", arch: "arm64", date: someDay, deb: []byte("deb"), binary: []byte{}, info: info}
	got, err := billOfMaterials(p)
	require.NoError(t, err)
	checkBOM(t, got)
	again, err := billOfMaterials(p)
	require.NoError(t, err)
	require.Equal(t, got, again)

	golden := "testdata/bom.json"
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	info.Deps[0].Sum = ""
	_, err = billOfMaterials(p)
	require.ErrorContains(t, err, "no sum")
	info.Deps[0].Sum = "h1:!"
	_, err = billOfMaterials(p)
	require.ErrorContains(t, err, "sum of module github.com/Example/b")
}

// checkBOM holds a document against what CycloneDX 1.6 asks of one: required
// fields, allowed values, unique references, and references that exist.
func checkBOM(t *testing.T, data []byte) {
	t.Helper()
	var doc struct {
		Format       string `json:"bomFormat"`
		SpecVersion  string `json:"specVersion"`
		SerialNumber string `json:"serialNumber"`
		Version      int    `json:"version"`
		Metadata     struct {
			Timestamp string         `json:"timestamp"`
			Component map[string]any `json:"component"`
		} `json:"metadata"`
		Components   []map[string]any `json:"components"`
		Dependencies []struct {
			Ref       string   `json:"ref"`
			DependsOn []string `json:"dependsOn"`
		} `json:"dependencies"`
	}
	require.NoError(t, json.Unmarshal(data, &doc))
	require.Equal(t, "CycloneDX", doc.Format)
	require.Equal(t, "1.6", doc.SpecVersion)
	require.Positive(t, doc.Version)
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`, doc.SerialNumber)
	_, err := time.Parse(time.RFC3339, doc.Metadata.Timestamp)
	require.NoError(t, err)

	refs := make(map[string]bool)
	purl := regexp.MustCompile(`^pkg:(deb|golang)/[a-z0-9.~_/-]+@[A-Za-z0-9.~%-]+(\?arch=(amd64|arm64))?$`)
	for _, c := range append(doc.Components, doc.Metadata.Component) {
		require.Contains(t, []string{"application", "library", "file"}, c["type"])
		require.NotEmpty(t, c["name"])
		ref, ok := c["bom-ref"].(string)
		require.True(t, ok)
		require.False(t, refs[ref], "%s is there twice", ref)
		refs[ref] = true
		if p, ok := c["purl"].(string); ok {
			require.Regexp(t, purl, p)
		}
		hashes, _ := c["hashes"].([]any)
		if c["name"] != "std" {
			require.NotEmpty(t, hashes, "%s has no hash", ref)
		}
		for _, h := range hashes {
			hash, ok := h.(map[string]any)
			require.True(t, ok)
			require.Equal(t, "SHA-256", hash["alg"])
			require.Regexp(t, `^[0-9a-f]{64}$`, hash["content"])
		}
	}
	for _, d := range doc.Dependencies {
		require.True(t, refs[d.Ref], d.Ref)
		for _, on := range d.DependsOn {
			require.True(t, refs[on], on)
		}
	}
}
