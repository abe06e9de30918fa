package manual

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a command with all that a page shows.
func example() *cobra.Command {
	root := &cobra.Command{
		Use:   "node",
		Short: "look after a node",
		Long: `node looks after a node.
It says 'hello' in C:\temp, ~/.config and
.dotted lines.

Exit codes, of every command:
  0    done
  1    error

Environment:
  NODE_FILE  the file of --file`,
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringP("file", "f", "", "`FILE` to read")
	root.AddGroup(&cobra.Group{ID: "look", Title: "Look:"})
	status := &cobra.Command{
		Use:     "status [NAME...]",
		Short:   "say how it is",
		Example: "  node status --limit 3\n\n  node status -f 'a file' | grep -v \"x\"",
		RunE:    root.RunE,
		GroupID: "look",
	}
	status.Flags().Int("limit", 5, "list at most `N`")
	status.Flags().Bool("secret", false, "not for users")
	_ = status.Flags().MarkHidden("secret") // the flag exists
	hidden := &cobra.Command{Use: "hidden", Short: "not for users", Hidden: true, RunE: root.RunE, GroupID: "look"}
	root.AddCommand(status, hidden)
	return root
}

func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Generate([]string{dir, "1.2.3", "1700000000"}, example(), "node.yaml(5)"))

	pages, err := filepath.Glob(filepath.Join(dir, ManDir, "*"))
	require.NoError(t, err)
	require.Len(t, pages, 2, "hidden commands have no page")
	for _, page := range pages {
		got, err := os.ReadFile(page)
		require.NoError(t, err)
		golden := filepath.Join("testdata", filepath.Base(page))
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script, err := os.ReadFile(filepath.Join(dir, CompletionDir, "node."+shell))
		require.NoError(t, err)
		require.Contains(t, string(script), "node")
	}
}

func TestGenerateUsage(t *testing.T) {
	require.ErrorContains(t, Generate([]string{"dir"}, example()), "usage")
	require.ErrorContains(t, Generate([]string{t.TempDir(), "1", "today"}, example()), "read the time")
}

func TestPage(t *testing.T) {
	e := Edition{Project: "node", Version: "1", Date: time.Unix(0, 0)}
	p := NewPage(e, "node.yaml", 5, "how a node is set up")
	p.Section("KEYS")
	p.Item("listen", "host:port", "Where it answers: `localhost`, or .any.")
	p.Note(".dots, and a ` alone")
	p.Note("`.code` at the start, `--flags` and \\")
	p.Also("node(1)", "b(7)")
	require.Equal(t, `.TH "NODE.YAML" 5 "1970\-01\-01" "node 1"
.nh
.ad l
.SH "NAME"
node.yaml \- how a node is set up
.SH "KEYS"
.TP
\fBlisten\fR host:port
Where it answers: \fBlocalhost\fR, or .any.
.PP
\&.dots, and a \(ga alone
.PP
\fB.code\fR at the start, \fB\-\-flags\fR and \e
.SH "SEE ALSO"
.BR node (1),
.BR b (7)
`, p.String())
}

// TestGroffTakesIt renders the golden pages with every warning on.
func TestGroffTakesIt(t *testing.T) {
	groff := testkit.Tool(t, "groff", "groff-base")
	pages, err := filepath.Glob("testdata/*.1")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range pages {
		var warnings bytes.Buffer
		cmd := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-Tutf8", page)
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Empty(t, warnings.String())
		require.NotContains(t, string(out), `\(`)
	}
}
