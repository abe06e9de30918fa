package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

func newConfigCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "validate, show or describe the configuration",
		Long: `Validate, show or describe the configuration: the main file, then the files of
conf.d beside it in the order of their names. These commands read the files; the
daemon may still run with what it read before (systemctl reload fleet-agent).`,
		Example: `  fleet-agent config validate
  fleet-agent config show --origin
  fleet-agent config schema > fleet-agent.schema.json`,
		Args: usage.Known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigValidateCommand(g), newConfigShowCommand(g), newConfigSchemaCommand(g))
	return cmd
}

// agentUser is the user that the package runs the daemon as.
const agentUser = "fleet-agent"

// readConfig reads the configuration for a command that runs nothing of what it
// says: it takes what the daemon takes, which is files of the daemon's user too.
func readConfig(path, daemon string) (*config.Config, error) {
	var owners []int
	if u, err := user.Lookup(daemon); err == nil {
		if uid, err := strconv.Atoi(u.Uid); err == nil {
			owners = append(owners, uid)
		}
	}
	return config.Load(path, owners...)
}

// loadConfig is readConfig for a command that needs it.
func (g *globals) loadConfig() (*config.Config, error) {
	return explained(readConfig(g.configPath, agentUser))
}

// explained tells the faults of a configuration one by one.
func explained(cfg *config.Config, err error) (*config.Config, error) {
	return cfg, command.Faults(err)
}

// validation is the answer to `fleet-agent config validate`.
type validation struct {
	Version int               `json:"version"`
	Valid   bool              `json:"valid"`
	Files   []string          `json:"files"`
	Errors  []validationError `json:"errors"`
}

type validationError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func newConfigValidateCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "say whether the configuration is right, and if not, where",
		Long: `Say whether the configuration is right. All faults are reported at once, each
with its file, line and field and with what to write instead.

You want it before systemctl reload, and in the pipeline that builds an image.

Exit codes:
  0    valid
  1    not valid; or error, or wrong usage`,
		Example: `  fleet-agent config validate
  fleet-agent --config ./config.yaml config validate -o json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if g.format == command.JSON {
				return g.validateJSON()
			}
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			files := strings.Join(cfg.Files(), ", ")
			if files == "" {
				files = "no file, so the defaults"
			}
			p := &page{Page: cli.Page{Style: g.out.Style}}
			p.Width, _ = g.out.Size()
			p.Flow(p.leading(0, markGood), 2, plain("valid"), plain(cli.Plural(len(cfg.Checks), "check")), plain(cli.Plural(len(cfg.Drain.Plan), "step")), painted(cli.Dim, files))
			_, err = p.WriteTo(g.out.Out)
			return err
		},
	}
}

func (g *globals) validateJSON() error {
	answer := validation{Version: control.Version, Valid: true, Files: []string{}, Errors: []validationError{}}
	cfg, err := readConfig(g.configPath, agentUser)
	if err == nil {
		answer.Files = append(answer.Files, cfg.Files()...)
		return g.out.JSON(answer)
	}
	answer.Valid = false
	if faults, ok := errors.AsType[config.Errors](err); ok {
		for _, f := range faults {
			answer.Errors = append(answer.Errors, validationError{f.File, f.Line, f.Column, f.Field, f.Message, f.Hint})
		}
	} else {
		answer.Errors = append(answer.Errors, validationError{Message: err.Error()})
	}
	if err := g.out.JSON(answer); err != nil {
		return err
	}
	return cli.Exit(cli.ExitError)
}

func newConfigShowCommand(g *globals) *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "print the effective configuration",
		Long: `Print the effective configuration: all files merged, defaults filled in.

You want it to see what a conf.d file really changed: --origin says for every
value which file and line it comes from, or that it is a default.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent config show --origin
  fleet-agent config show -o json | jq .checks`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if origin && g.format == command.JSON {
				return usage.Error(cmd, errors.New("--origin is written as comments, which JSON has none of"))
			}
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			if g.format == command.Text {
				return cfg.Marshal(g.out.Out, origin)
			}
			var text bytes.Buffer
			if err := cfg.Marshal(&text, false); err != nil {
				return err
			}
			value := map[string]any{}
			if err := yaml.Unmarshal(text.Bytes(), &value); err != nil {
				return fmt.Errorf("convert the configuration to JSON: %w", err)
			}
			value["version"] = control.Version
			return g.out.JSON(value)
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	return cmd
}

func newConfigSchemaCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print a JSON Schema of the configuration, for editors",
		Long: `Print a JSON Schema (draft 2020-12) of the configuration, with which an editor
completes and checks config.yaml as you type.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent config schema > fleet-agent.schema.json
  # in config.yaml: # yaml-language-server: $schema=./fleet-agent.schema.json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := g.out.Out.Write(config.Schema())
			return err
		},
	}
}
