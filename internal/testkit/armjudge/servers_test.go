package armjudge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unjudged are the tests that serve a simulated Azure without the judge, with the reason.
var unjudged = map[string]string{
	"internal/journal/kit_test.go":         "it speaks with Azure Storage alone",
	"internal/apply/sets_odd_test.go":      "it reads",
	"internal/apply/sets_test.go":          "it has a judge, which passes what a newer client has made",
	"internal/story/story_test.go":         "no fleetctl speaks with it",
	"internal/azure/appendblob_test.go":    "it speaks with Azure Storage alone",
	"internal/azure/clock_test.go":         "it asks for the time alone",
	"internal/azure/judge_test.go":         "it reads, and has a judge of the answers",
	"internal/azure/sim_test.go":           "it reads",
	"internal/azure/write_test.go":         "it sends what no command does",
	"internal/bake/boottest_agent_test.go": "an agent listens there",
	"internal/roll/thousand_test.go":       "it is of the time that a thousand members take",
}

// servers are the functions of the standard library that a test could serve with.
var servers = regexp.MustCompile(`^(httptest\.New(TLS|Unstarted)?Server|http\.(Serve|ServeTLS|ListenAndServe|ListenAndServeTLS)|net\.Listen(TCP|Unix)?)$`)

// TestEverySimulatorIsJudged: no test of fleetctl serves anything but through Serve, and
// no other test that has a simulated Azure does, but those with a reason.
func TestEverySimulatorIsJudged(t *testing.T) {
	const root = "../../.."
	used := make(map[string]bool)
	looked := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			if name == "internal/sim" || name == "bin" || strings.HasPrefix(entry.Name(), ".") && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		calls, simulates := servesOf(t, path)
		if !strings.HasPrefix(name, "cmd/fleetctl/") && !simulates {
			return nil
		}
		looked++
		for _, call := range calls {
			if _, ok := unjudged[name]; ok {
				used[name] = true
				continue
			}
			t.Errorf("%s: %s: start what fleetctl speaks with by armjudge.Serve", name, call)
		}
		return nil
	}))
	require.Greater(t, looked, 20)
	for name := range unjudged {
		require.True(t, used[name], "%s serves nothing without the judge any more", name)
	}
}

// servesOf lists the calls in a file that serve something, and says whether the file has
// to do with a simulated Azure.
func servesOf(t *testing.T, path string) (calls []string, simulates bool) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	require.NoError(t, err)
	for _, imported := range file.Imports {
		name, err := strconv.Unquote(imported.Path.Value)
		require.NoError(t, err)
		simulates = simulates || strings.HasSuffix(name, "/internal/sim/arm")
		if slices.Contains([]string{"net", "net/http", "net/http/httptest"}, name) && imported.Name != nil {
			calls = append(calls, "another name for "+name)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if in, ok := selector.X.(*ast.Ident); ok && servers.MatchString(in.Name+"."+selector.Sel.Name) {
				calls = append(calls, strconv.Itoa(set.Position(n.Pos()).Line)+": "+in.Name+"."+selector.Sel.Name)
			}
		}
		return true
	})
	return calls, simulates
}
