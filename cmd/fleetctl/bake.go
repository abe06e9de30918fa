package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

// bakeFlags are the flags of bake.
type bakeFlags struct {
	follow        bool
	cancel        bool
	noBootTest    bool
	printTemplate bool
	exitCode      bool
}

func newBakeCommand(g *globals) *cobra.Command {
	var f bakeFlags
	cmd := &cobra.Command{
		Use:   "bake",
		Short: "bake an image, boot it once, and keep it from being the latest",
		Long: `Bake the image of the file with Azure Image Builder: reserve the next number of
the version, build, wait until the version is in its regions, and boot one
instance of it that is thrown away. What comes out is a version that is proven,
and excluded from latest until fleetctl promote makes it available.

All that is known of a bake is in Azure. A call goes on with the unfinished bake
of the same content if there is one, wherever the last call ended. Otherwise it
takes the next number, also when nothing has changed: the source image may have.
Two calls at once take two numbers. A number is never used twice: what hangs is
left behind and named, and the bake goes on under the next one.

An interrupt leaves the build to Azure; with --cancel it cancels it. A second
interrupt ends the command at once.

Needed: the foundation that fleetctl apply makes, and for you the role
Contributor on the resource group and on the gallery.

Exit codes: 0 the version is proven, or complete where no boot test is made; 1
error, a build that failed, or a boot test that is inconclusive; 3 the boot test
failed, or preflight or a missing foundation refuse the bake; 8 with --exit-code
when --no-wait left it unfinished; 2 wrong usage, 4 not authorised, 130
interrupted.`,
		Example: `  fleetctl bake
  fleetctl bake --follow
  fleetctl bake --no-wait --exit-code
  fleetctl bake --print-template > template.json
  fleetctl bake -o json | jq -r .image_version`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.exitCode && !g.noWait:
				return usage.Error(cmd, errors.New("--exit-code is for --no-wait: otherwise a bake ends finished or failed"))
			case f.cancel && g.noWait:
				return usage.Error(cmd, errors.New("--cancel and --no-wait exclude each other"))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.bake(ctx, f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.follow, "follow", false, "show the build's log as it comes")
	flags.BoolVar(&f.cancel, "cancel", false, "cancel the build on an interrupt")
	flags.BoolVar(&f.noBootTest, "no-boot-test", false, "leave the boot test to a later bake")
	flags.BoolVar(&f.printTemplate, "print-template", false, "print the image template for deployments")
	flags.BoolVar(&f.exitCode, "exit-code", false, "exit with 8 when --no-wait leaves it unfinished")
	return cmd
}

// bake bakes the image of the file.
func (g *globals) bake(ctx context.Context, f bakeFlags) error {
	file, err := g.loadFile()
	if err != nil {
		return err
	}
	if f.printTemplate {
		return g.printTemplate(file)
	}
	r, err := g.newRunner(file, f)
	if err != nil {
		return err
	}
	if err := g.ready(ctx, r.Azure, file); err != nil {
		return err
	}
	display := g.newBakeDisplay(r.Spec, f.follow)
	r.Tell, r.Wait = display.take, display.wait
	result, err := r.Run(ctx)
	failure, failed := errors.AsType[*fleet.BakeError](err)
	display.end(failed)
	switch {
	case failed:
		return g.bakeFailed(r, failure)
	case err != nil:
		return g.bakeLeft(ctx, r, f, err)
	}
	if err := g.bakeDone(r, result); err != nil {
		return err
	}
	if result.Outcome == bake.Started && f.exitCode {
		return cli.Exit(exitChanges)
	}
	return nil
}

// newRunner reads what the bake is made of.
func (g *globals) newRunner(file *fleetfile.File, f bakeFlags) (*bake.Runner, error) {
	content, err := bakeContent(file)
	if err != nil {
		return nil, err
	}
	if file.Spec.Gallery == nil {
		return nil, g.noGallery()
	}
	client, err := g.client()
	if err != nil {
		return nil, err
	}
	return &bake.Runner{
		Azure: client, Spec: file.Spec, Content: content, Now: g.now, Call: callID(),
		NoBootTest: f.noBootTest, NoWait: g.noWait, Follow: f.follow,
	}, nil
}

// callID is the random id of this call.
func callID() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}

// ready refuses a bake that cannot go well: before anything is written.
func (g *globals) ready(ctx context.Context, client *azure.Client, file *fleetfile.File) error {
	if err := g.bakeTraps(file); err != nil {
		return err
	}
	live, err := apply.Read(ctx, client, file.Spec)
	if err != nil {
		return err
	}
	if missing := fleet.FoundationMissing(file.Spec, live); len(missing) > 0 {
		return &cli.Error{
			Code: exitRefused, Err: fmt.Errorf("a bake needs what is not there yet:\n  %s", strings.Join(missing, "\n  ")),
			Hint: "run fleetctl apply; fleetctl plan shows what it would do",
		}
	}
	return nil
}

// bakeTraps refuses a file whose bake has an error that preflight knows.
func (g *globals) bakeTraps(file *fleetfile.File) error {
	var lines []string
	for _, found := range fleet.Preflight(fleet.Evidence{Spec: file.Spec, Now: g.now()}) {
		if found.Severity == fleet.SeverityError && strings.HasPrefix(found.Key, "bake.") {
			lines = append(lines, found.Key+": "+found.Seen+"; "+found.Fix)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &cli.Error{Code: exitRefused, Err: errors.New(strings.Join(lines, "\n")), Hint: "fleetctl preflight says more"}
}

// cancelWithin bounds the wait for a build to be canceled.
const cancelWithin = 15 * time.Minute

// bakeLeft says what becomes of a bake whose call ends before it does.
func (g *globals) bakeLeft(ctx context.Context, r *bake.Runner, f bakeFlags, err error) error {
	if r.Version() == "" {
		return err // nothing was begun
	}
	name := r.Spec.Gallery.Image.Name + " " + r.Version()
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	if !interrupted || !f.cancel {
		g.out.Say("fleetctl: %s is left to Azure, unfinished; fleetctl bake goes on with it", name)
		return err
	}
	g.out.Say("fleetctl: canceling the build of %s; another interrupt leaves that to Azure", name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer cancel()
	r.Wait = g.sleep
	switch cancelErr := r.Cancel(ctx); {
	case errors.Is(cancelErr, &azure.Error{Kind: azure.Conflict}):
		g.out.Say("fleetctl: no build of %s runs that could be canceled; fleetctl bake goes on with it", name)
	case errors.Is(cancelErr, context.DeadlineExceeded):
		g.out.Say("fleetctl: the build of %s is still being canceled after %s; the next bake leaves it behind", name, cli.Countdown(cancelWithin))
	case cancelErr != nil:
		g.out.Say("fleetctl: the build of %s was not seen to end: %v", name, cancelErr)
	default:
		g.out.Say("fleetctl: the build of %s is canceled; the next bake takes another number", name)
	}
	return err
}
