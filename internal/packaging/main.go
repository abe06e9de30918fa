// Command packaging builds the Debian packages of the project's commands, and
// beside each a list of what is in it (CycloneDX), for some an archive for other
// systems, and SHA256SUMS over all. `make
// deb` runs it, from the root of the repository, on binaries built before.
//
// Everything that ships comes from here and from packaging/deb: nfpm puts the
// parts together, this program makes the parts that are generated. The same
// commit gives the same bytes: all times are SOURCE_DATE_EPOCH, by default the
// time of the commit.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A command is one package: the command's binary, its manual pages and its
// completions.
type command struct {
	name string
	// config is the nfpm configuration in packaging/deb.
	config string
	// description is a line for lists of packages, then what the package is for.
	// Empty where config says it.
	description string
	// parts makes what only this package has.
	parts func(s *stage) error
	// tarball says that there is an archive beside the package, for other systems.
	tarball bool
}

// commands are what can be packaged; which of them are is told by -commands. A
// command that needs nothing but its binary and its documentation joins with a name
// in the Makefile and a description here.
var commands = []command{
	{name: "fleet-agent", config: "nfpm-fleet-agent.yaml", parts: agentParts},
	{name: "fleetctl", config: "nfpm-command.yaml", tarball: true, description: `scale sets of Azure and the images that they run
fleetctl shows what a fleet of Azure scale sets runs, tells what is wrong with
it, and brings new images to it. It belongs on workstations and in pipelines,
and needs nothing but credentials.`},
	{name: "fleetsim", config: "nfpm-command.yaml", description: `simulated Azure for trying out how nodes behave
fleetsim serves the instance metadata service of one or several machines over
real HTTP, with scheduled events from a scenario or on demand, and with the
faults that the real service has. It belongs on workstations and in pipelines,
never in an image.`},
}

func main() {
	var b build
	flag.StringVar(&b.bin, "bin", "bin", "directory of the built binaries, ARCH/NAME")
	flag.StringVar(&b.dist, "dist", "dist", "directory to build into")
	flag.StringVar(&b.nfpm, "nfpm", "nfpm", "the nfpm program")
	describe := flag.String("version", "dev", "what `git describe --tags --always --dirty` says")
	arches := flag.String("arches", "amd64 arm64", "architectures to build for")
	names := flag.String("commands", "", "commands to package")
	flag.Parse()
	b.arches = strings.Fields(*arches)
	b.names = strings.Fields(*names)
	if err := run(context.Background(), &b, *describe); err != nil {
		fmt.Fprintln(os.Stderr, "packaging: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *build, describe string) (err error) {
	if b.date, err = sourceDate(ctx); err != nil {
		return err
	}
	if b.version, err = debianVersion(describe, b.date); err != nil {
		return err
	}
	return b.run(ctx)
}

// sourceDate is the time that everything in the packages carries.
func sourceDate(ctx context.Context) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("read the time of the commit (or set SOURCE_DATE_EPOCH): %w", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
