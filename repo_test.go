// Package repo holds the tests that guard the shape of the repository: what
// may import what, that every package says which question it answers, and that
// the documents name things that exist.
package repo

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/fleet-agent/fleet-agent"

// mayImport lists, for each package of the product, what it may import of the
// product. A pattern that ends in /... covers the packages below as well. The
// reasons are in ARCHITECTURE.md.
var mayImport = map[string][]string{
	"internal/graph":    {},
	"internal/safetext": {},
	"internal/imds":     {},
	"internal/systemd":  {"internal/safetext"},
	"internal/control":  {},
	"internal/cli":      {"internal/safetext"},
	"internal/command":  {"internal/cli", "internal/strict"},
	"internal/safefile": {},
	"internal/logqueue": {},
	"internal/child":    {},
	"internal/server":   {},

	"internal/systemd/systemdtest": {"internal/testkit"},
	"internal/health/probe":        {"internal/child"},

	"internal/strict":            {"internal/graph"},
	"internal/strict/stricttest": {"internal/strict"},

	"internal/config": {"internal/graph", "internal/safefile", "internal/strict"},
	"internal/health": {"internal/graph"},
	"internal/drain":  {"internal/child", "internal/graph", "internal/safefile", "internal/safetext"},

	"internal/scheduledevents": {"internal/imds", "internal/safetext"},

	"internal/adopt":     {"internal/systemd"},
	"internal/doctor":    {"internal/adopt", "internal/config", "internal/control", "internal/imds", "internal/systemd"},
	"internal/manual":    {},
	"internal/packaging": {"internal/config", "internal/manual"},
	"internal/examples":  {},
	"internal/aib":       {},

	"internal/agent": {
		"internal/config", "internal/control", "internal/drain", "internal/graph", "internal/health",
		"internal/health/probe", "internal/imds", "internal/safefile", "internal/safetext", "internal/scheduledevents",
		"internal/server", "internal/systemd",
	},

	"internal/apply":           {"internal/azure", "internal/fleet", "internal/node", "internal/safetext"},
	"internal/azure":           {"internal/fleet", "internal/safetext"},
	"internal/bake":            {"internal/azure", "internal/fleet", "internal/release", "internal/safetext"},
	"internal/fleet":           {},
	"internal/journal":         {"internal/azure", "internal/safefile"},
	"internal/fleet/fleettest": {"internal/fleet"},
	"internal/fleet/rollout":   {"internal/fleet"},
	"internal/fleetfile":       {"internal/fleet", "internal/graph", "internal/strict"},
	"internal/node":            {"internal/azure", "internal/fleet", "internal/safetext"},
	"internal/release":         {"internal/azure", "internal/fleet"},
	"internal/report":          {"internal/cli", "internal/fleet/rollout", "internal/safetext"},
	"internal/roll":            {"internal/azure", "internal/fleet", "internal/fleet/rollout", "internal/journal", "internal/node", "internal/release", "internal/safetext"},

	"internal/sim/strict": {},
	"internal/sim/steer":  {"internal/sim/strict"},
	"internal/sim/imds":   {"internal/sim/steer", "internal/sim/strict"},
	"internal/sim/arm":    {"internal/sim/blob", "internal/sim/steer", "internal/sim/strict"},
	"internal/sim/blob":   {},
	"internal/sim/nodes":  {"internal/child", "internal/control", "internal/sim/arm", "internal/sim/imds", "internal/sim/strict"},

	// Judges of the simulated control plane: for tests only.
	"internal/sim/arm/armtypes": {},
	"internal/sim/standstill":   {"internal/sim/arm"},
	"internal/sim/judgeproxy":   {"internal/sim/arm/armtypes"},

	"cmd/fleet-agent": {
		"internal/adopt", "internal/agent", "internal/cli", "internal/command", "internal/config", "internal/control", "internal/doctor", "internal/logqueue", "internal/manual",
		"internal/safefile", "internal/safetext", "internal/systemd",
	},
	"cmd/fleetctl": {"internal/apply", "internal/azure", "internal/bake", "internal/cli", "internal/command", "internal/fleet", "internal/fleet/rollout", "internal/fleetfile", "internal/graph", "internal/journal", "internal/manual", "internal/release", "internal/report", "internal/roll", "internal/strict"},
	"cmd/fleetsim": {"internal/cli", "internal/command", "internal/manual", "internal/server", "internal/sim/arm", "internal/sim/imds", "internal/sim/nodes", "internal/sim/steer"},

	// For tests and programs of the repository itself; nothing that ships imports them.
	"internal/testkit":         {},
	"internal/testkit/azurite": {"internal/testkit"},
	"internal/bench":           {},
	"internal/bench/static":    {},
	"internal/stage":           {"internal/control", "internal/sim/imds"},
	"internal/demo":            {"internal/control", "internal/sim/imds", "internal/stage"},
	"internal/fleetdemo":       {"internal/stage"},
	"internal/incident":        {"internal/sim/arm", "internal/stage"},
	"internal/soak":            {"internal/sim/imds", "internal/stage"},
	"internal/story":           {"internal/sim/arm", "internal/stage"},
	"internal/mutants":         {},
	"internal/docs":            {"internal/agent", "internal/config", "internal/fleet", "internal/fleetfile"},
	".":                        {},

	"internal/testkit/armjudge": {"internal/sim/arm/armtypes", "internal/sim/judgeproxy", "internal/testkit"},
}

type goPackage struct {
	ImportPath, Name, Doc string
	Imports               []string
	Deps                  []string
	GoFiles               []string
}

func packages(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Doc,Imports,Deps,GoFiles"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var list []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		list = append(list, p)
	}
	require.NotEmpty(t, list)
	return list
}

func relative(importPath string) (rel string, ours bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportRules(t *testing.T) {
	for _, p := range packages(t, "./...") {
		rel, _ := relative(p.ImportPath)
		allowed, known := mayImport[rel]
		if !known {
			t.Errorf("package %s is not in the table of import rules: add it with what it may import", rel)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := relative(imp)
			if ours && !slices.Contains(allowed, dep) {
				t.Errorf("%s imports %s, which the import rules do not allow", rel, dep)
			}
		}
	}
}

// TestOneCommandForTheSocket: two units in one systemctl restart are two jobs, of which
// the first fails; so every document has the command that works.
func TestOneCommandForTheSocket(t *testing.T) {
	restart := regexp.MustCompile(`systemctl restart fleet-agent\.socket[^\n` + "`" + `,.;]*`)
	found := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*", "aib/*", "aib/*/*", "packaging/deb/*", "internal/*/*.go", "cmd/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.IsDir() {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, command := range restart.FindAllString(string(text), -1) {
				require.Equal(t, "systemctl restart fleet-agent.socket", strings.TrimRight(command, `"`), file)
				found++
			}
		}
	}
	require.GreaterOrEqual(t, found, 4)
}

// TestCommandsAreLean: the daemon holds no Azure credentials and carries no test tool,
// and fleetctl carries none of the SDK's types of resources, which are large.
func TestCommandsAreLean(t *testing.T) {
	const sdk = "github.com/Azure/azure-sdk-for-go"
	for command, unwanted := range map[string]map[string]string{
		"fleet-agent": {
			sdk:                           "the agent holds no Azure credentials",
			"github.com/stretchr/testify": "a test dependency",
			"google.golang.org/grpc":      "a test dependency; see docs/adr",
			"testing":                     "a test dependency",
			module + "/internal/sim/imds": "the simulator is never in the image",
		},
		"fleetctl": {
			sdk + "/sdk/resourcemanager":  "resources are read as JSON; see docs/adr",
			"github.com/stretchr/testify": "a test dependency",
			"testing":                     "a test dependency",
		},
	} {
		for _, p := range packages(t, "./cmd/"+command) {
			for _, dep := range p.Deps {
				for bad, why := range unwanted {
					if dep == bad || strings.HasPrefix(dep, bad+"/") {
						t.Errorf("%s links %s: %s", command, dep, why)
					}
				}
			}
		}
	}
}

// TestPackageDocs: a library's package comment opens with the question that the
// package answers.
func TestPackageDocs(t *testing.T) {
	question := regexp.MustCompile(`^Package \w+ answers: [^?]+\?`)
	for _, p := range packages(t, "./...") {
		if len(p.GoFiles) == 0 {
			continue
		}
		rel, _ := relative(p.ImportPath)
		if p.Name == "main" {
			require.NotEmpty(t, p.Doc, "%s has no package comment", rel)
			continue
		}
		require.Regexp(t, question, strings.ReplaceAll(p.Doc, "\n", " "), "the package comment of %s", rel)
	}
}

// TestDocumentLinks: every relative link in a document leads to a file.
func TestDocumentLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "aib/*.md", "e2e/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		documents = append(documents, found...)
	}
	require.Contains(t, documents, "README.md")
	for _, doc := range documents {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := path.Join(path.Dir(doc), m[1])
			_, err := os.Stat(target)
			require.NoError(t, err, "%s links to %s", doc, m[1])
		}
	}
}

// TestLockedClients: the programs that judge ours are of exact versions, and their lock
// files name no registry: whoever has a mirror can use them.
func TestLockedClients(t *testing.T) {
	for _, dir := range []string{"e2e/clients", "e2e/azurite"} {
		var project struct{ Dependencies map[string]string }
		text, err := os.ReadFile(dir + "/package.json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &project))
		require.NotEmpty(t, project.Dependencies)

		var lock struct {
			Packages map[string]struct{ Version, Resolved, Integrity string }
		}
		text, err = os.ReadFile(dir + "/package-lock.json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &lock))
		require.Greater(t, len(lock.Packages), len(project.Dependencies))
		for name, version := range project.Dependencies {
			require.Regexp(t, `^\d+\.\d+\.\d+$`, version, name)
			require.Equal(t, version, lock.Packages["node_modules/"+name].Version, name)
		}
		for name, p := range lock.Packages {
			require.Empty(t, p.Resolved, name)
			if name != "" {
				require.Regexp(t, `^sha512-`, p.Integrity, name)
			}
		}
	}
}
