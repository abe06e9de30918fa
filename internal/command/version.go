package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

// A Version is what a binary was built from and for, and the answer to a program's
// command version.
type Version struct {
	Schema   int    `json:"version"` // of this document
	Release  string `json:"release"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from changed files
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ReadVersion says what this binary was built from. The release is what the linker
// was told; without one it is the module's version, or devel.
func ReadVersion(release string) Version {
	v := Version{Schema: 1, Release: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
		if v.Release == "" && info.Main.Version != "(devel)" {
			v.Release = info.Main.Version
		}
	}
	if v.Release == "" {
		v.Release = "devel"
	}
	return v
}

// String is the version in one line, without the program's name.
func (v Version) String() string {
	text := v.Release
	if v.Commit != "" {
		text += " (" + v.Commit[:min(len(v.Commit), 12)]
		if v.Modified {
			text += ", modified"
		}
		text += ")"
	}
	return text + " " + v.Go + " " + v.Platform
}

// Write writes the version of the program called name to out.
func (v Version) Write(out *cli.Output, format Format, name string) error {
	if format == JSON {
		return out.JSON(v)
	}
	_, err := fmt.Fprintln(out.Out, name, v)
	return err
}

// VersionCommand is the command version, without Args and Run.
func VersionCommand(program string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "say which release this is",
		Long:  "Say which release this binary is, and what it was built from and for.",
		Example: "  " + program + " version\n" +
			"  " + program + " version -o json | jq -r .release",
	}
}
