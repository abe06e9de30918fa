package examples

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
)

// A block is a fenced piece of a document.
type block struct{ language, text string }

func blocks(t *testing.T, document string) []block {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../docs", document))
	require.NoError(t, err)
	var list []block
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(data), -1) {
		list = append(list, block{m[1], m[2]})
	}
	require.NotEmpty(t, list)
	return list
}

// target is the file that a block belongs into, which its first line names.
var target = regexp.MustCompile(`^# (/etc/(?:fleet-agent|systemd/system)/[\w./-]+?)(?::.*)?\n`)

// TestDocuments loads every configuration that the documents show, and holds
// the settings of the extension to its limits.
func TestDocuments(t *testing.T) {
	examples := map[string]string{ // what is in examples/ is shown as it is there
		"/etc/fleet-agent/conf.d/50-hsm.yaml":                   "hsm/conf.d/50-hsm.yaml",
		"/etc/systemd/system/fleet-agent.service.d/50-hsm.conf": "hsm/systemd/50-hsm.conf",
	}
	shown := map[string]bool{}
	for _, document := range []string{"health.md", "hsm.md"} {
		for _, b := range blocks(t, document) {
			switch b.language {
			case "yaml", "ini":
				m := target.FindStringSubmatch(b.text)
				require.NotNil(t, m, "%s: a file begins with its path:\n%s", document, b.text)
				if b.language == "yaml" {
					loadBlock(t, m[1], b.text)
				}
				if example := examples[m[1]]; example != "" {
					shown[m[1]] = true
					text, err := os.ReadFile(filepath.Join("../../examples", example))
					require.NoError(t, err)
					require.Equal(t, string(text), b.text, document)
				}
			case "json":
				requireSettings(t, b.text)
			case "sh":
			default:
				require.Fail(t, "nobody checks this", "%s: %s", document, b.language)
			}
		}
	}
	require.Len(t, shown, len(examples))
}

func loadBlock(t *testing.T, path, text string) {
	t.Helper()
	dir := t.TempDir()
	below, ok := strings.CutPrefix(path, "/etc/fleet-agent/")
	require.True(t, ok, path)
	main := filepath.Join(dir, "config.yaml")
	writeFile(t, main, "") // as the package ships it: it has to be there
	writeFile(t, filepath.Join(dir, below), text)
	conf, err := config.Load(main)
	require.NoError(t, err, "%s", text)
	require.Contains(t, conf.Files(), filepath.Join(dir, below))
}

// requireSettings holds settings of version 2 of the Application Health
// extension to what the extension accepts.
func requireSettings(t *testing.T, text string) {
	t.Helper()
	var s struct {
		Protocol          string `json:"protocol"`
		Port              int    `json:"port"`
		RequestPath       string `json:"requestPath"`
		IntervalInSeconds int    `json:"intervalInSeconds"`
		NumberOfProbes    int    `json:"numberOfProbes"`
		GracePeriod       int    `json:"gracePeriod"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&s))
	require.Contains(t, []string{"http", "https"}, s.Protocol)
	require.Positive(t, s.Port)
	require.Equal(t, "/healthz", s.RequestPath)
	require.GreaterOrEqual(t, s.IntervalInSeconds, 5)
	require.LessOrEqual(t, s.IntervalInSeconds, 60)
	require.GreaterOrEqual(t, s.NumberOfProbes, 1)
	require.LessOrEqual(t, s.IntervalInSeconds*s.NumberOfProbes, 240)
	require.GreaterOrEqual(t, s.GracePeriod, s.IntervalInSeconds*s.NumberOfProbes)
	require.LessOrEqual(t, s.GracePeriod, 14400)
}

// TestFirstHealthExample: the first configuration of health.md means what the
// text around it says.
func TestFirstHealthExample(t *testing.T) {
	first := blocks(t, "health.md")[0]
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.yaml"), first.text)
	conf, err := config.Load(filepath.Join(dir, "config.yaml"))
	require.NoError(t, err)
	checks := map[string]config.Check{}
	for _, c := range conf.Checks {
		checks[c.Name] = c
	}
	require.Equal(t, []string{"api", "database"}, checks["orders"].DependsOn)
	require.Equal(t, []string{"dns"}, checks["database"].DependsOn)
	for _, c := range checks {
		for _, dep := range c.DependsOn {
			if c.Severity == "critical" && len(c.Gates) == 2 {
				require.Len(t, checks[dep].Gates, 2, "%s gates health and depends on %s, which all nodes share", c.Name, dep)
			}
		}
	}
}
