package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// version is set by the build of a release: -ldflags "-X main.version=1.2.3".
var version string

// versionInfo is the answer to `fleet-agent version`.
type versionInfo struct {
	Schema   int    `json:"version"` // of this document
	Release  string `json:"release"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from changed files
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readVersion says what this binary was built from.
func readVersion() versionInfo {
	v := versionInfo{
		Schema:   control.Version,
		Release:  version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
		if v.Release == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Release = info.Main.Version
		}
	}
	if v.Release == "" {
		v.Release = "devel"
	}
	return v
}

func (v versionInfo) String() string {
	text := "fleet-agent " + v.Release
	if v.Commit != "" {
		text += " (" + v.Commit[:min(len(v.Commit), 12)]
		if v.Modified {
			text += ", modified"
		}
		text += ")"
	}
	return text + " " + v.Go + " " + v.Platform
}

func newVersionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "say which release this is",
		Long: `Say which release this binary is, and what it was built from and for.

The release of the daemon that runs is in: fleet-agent status -o json

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent version
  fleet-agent version -o json | jq -r .release`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if g.format == formatJSON {
				return g.out.JSON(v)
			}
			_, err := fmt.Fprintln(g.out.Out, v)
			return err
		},
	}
}
