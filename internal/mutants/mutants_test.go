package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	sound = "package p\n\n// Limit bounds n.\nfunc Limit(n int) int {\n\treturn min(n, 10)\n}\n"
	test  = "package p\n\nimport \"testing\"\n\nfunc TestLimit(t *testing.T) {\n\tif Limit(11) != 10 {\n\t\tt.Fatal()\n\t}\n}\n"
)

// TestRun: a mutant that is killed is said with the test that did it, and whatever
// else may be with a patch is a failure that names it.
func TestRun(t *testing.T) {
	diff := func(from, to string) string {
		return "--- a/p/p.go\n+++ b/p/p.go\n@@ -4,3 +4,3 @@\n func Limit(n int) int {\n-\treturn " + from + "\n+\treturn " + to + "\n }\n"
	}
	head := func(promise, tests string) string {
		return "Promise: " + promise + "\nPackage: ./p\nTests: " + tests + "\n\n"
	}
	bounded := diff("min(n, 10)", "n")
	for name, c := range map[string]struct {
		patch, want string
		ok          bool
	}{
		"killed":    {head("It is bounded.", "^TestLimit$"), "TestLimit\n1 of 1 mutants killed", true},
		"lived":     {head("It is bounded by 10.", "^TestLimit$"), "it lives, and nobody notices: It is bounded by 10.", false},
		"stale":     {head("It is bounded.", "^TestLimit$"), "the patch no longer applies", false},
		"no build":  {head("It is bounded.", "^TestLimit$"), "with the patch: it does not build", false},
		"no test":   {head("It is bounded.", "^TestLmit$"), "no test of ./p matches ^TestLmit$", false},
		"no header": {"Promise: It is bounded.\n\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "lived":
				c.patch += diff("min(n, 10)", "min(10, n)")
			case "stale":
				c.patch += diff("max(n, 10)", "n")
			case "no build":
				c.patch += diff("min(n, 10)", "m")
			default:
				c.patch += bounded
			}
			t.Chdir(t.TempDir())
			t.Setenv("GOFLAGS", "-mod=mod")
			for file, text := range map[string]string{
				"go.mod": "module m\n\ngo 1.26\n", "p/p.go": sound, "p/p_test.go": test, filepath.Join(folder, "a.patch"): c.patch,
			} {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			}
			out, err := exec.CommandContext(t.Context(), "git", "init", "-q").CombinedOutput()
			require.NoError(t, err, "%s", out)
			var said bytes.Buffer
			err = run(t.Context(), &said, "")
			require.Equal(t, c.ok, err == nil, "%v\n%s", err, said.String())
			require.Contains(t, said.String(), c.want)
			text, err := os.ReadFile("p/p.go")
			require.NoError(t, err)
			require.Equal(t, sound, string(text), "the tree itself is left alone")
		})
	}
}

// TestPatches: each can be read, says which promise it breaks, and applies to the tree
// as it is.
func TestPatches(t *testing.T) {
	t.Chdir("../..")
	mutants, err := readMutants(folder)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(mutants), 20)
	for _, m := range mutants {
		out, err := exec.CommandContext(t.Context(), "git", "apply", "--check", m.file).CombinedOutput()
		require.NoError(t, err, "%s: make it again: %s", m.name, out)
	}
}
