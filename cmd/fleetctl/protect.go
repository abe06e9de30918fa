package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// protectAtOnce are the members that are written at the same time.
	protectAtOnce = 8
	// maxProtects bounds the writes of one member: others write it as well.
	maxProtects = 3
)

func newProtectCommand(g *globals) *cobra.Command {
	return g.protectCommand(true, &cobra.Command{
		Use:   "protect SET/VM...",
		Short: "keep members from scale-in and from actions of their scale set",
		Long: `Protect members of scale sets: from scale-in, so that no scale-in deletes them,
and from actions of the scale set, so that no upgrade, reimage or repair of it
reaches them. Without --from it is both. SET is a scale set of the file, or with
--resource-group one that is there.

Azure has the second only with the first, so --from set-actions brings both.
Protection from scale-in alone does not stop upgrades, which is said.

The request holds the protection and nothing else of the member: with more in
it, Azure makes the member one with a model of its own. The member is read after
it, and a latestModelApplied that went from true to false is said.

A rollout leaves out members that are protected from actions of the scale set.
While one of the file is not over, they stay as they are: its journal is read
for that. Protection from scale-in can be changed at any time.

What is so already is not written. Someone who stops members by hand still
can: to delete one, or the whole scale set, is not prevented.

Exit codes: 0 done, or it was so already; 3 refused; 1 error, 2 wrong usage, 4
not authorised, 130 interrupted.`,
		Example: `  fleetctl protect vmss-authz/vmss-authz_3
  fleetctl protect vmss-authz/vmss-authz_3 vmss-web/vmss-web_1 --from scale-in
  fleetctl protect -g rg-pay-prod vmss-authz/vmss-authz_3 -o json`,
	})
}

func newUnprotectCommand(g *globals) *cobra.Command {
	return g.protectCommand(false, &cobra.Command{
		Use:   "unprotect SET/VM...",
		Short: "end the protection of members",
		Long: `End the protection of members of scale sets from scale-in and from actions of
the scale set, or from one of them with --from. SET is a scale set of the file,
or with --resource-group one that is there.

Azure does not have protection from actions without that from scale-in, so the
latter cannot be ended alone.

What passed a member by stays so: an upgrade that left it out does not come
back for it. Its model is compared after the request, and fleetctl status shows
who runs what.

While a rollout of the file is not over, a member stays protected from actions
of its scale set as it is. One that has ended as halted-incomplete waits for
just this, and lets it pass.

Exit codes: 0 done, or it was so already; 3 refused; 1 error, 2 wrong usage, 4
not authorised, 130 interrupted.`,
		Example: `  fleetctl unprotect vmss-authz/vmss-authz_3
  fleetctl unprotect vmss-authz/vmss-authz_3 --from set-actions
  fleetctl unprotect -g rg-pay-prod vmss-authz/vmss-authz_3 -o json`,
	})
}

// protectCommand completes a command that changes protections.
func (g *globals) protectCommand(on bool, cmd *cobra.Command) *cobra.Command {
	var from []string
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage.Arguments("SET/VM")(cmd, args)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what, err := protectionOf(from)
		if err != nil {
			return usage.Error(cmd, err)
		}
		ctx, cancel := g.within(cmd.Context())
		defer cancel()
		return g.protect(ctx, cmd, fleet.Protecting{From: what, On: on}, args)
	}
	g.scopeFlags(cmd)
	cmd.Flags().StringSliceVar(&from, "from", []string{fleet.FromScaleIn, setActions}, "from `WHAT`: scale-in, set-actions, or both with a\ncomma between")
	return cmd
}

// setActions is the short name of [fleet.FromSetActions].
const setActions = "set-actions"

// protectionOf reads --from.
func protectionOf(from []string) (p fleet.Protection, err error) {
	for _, name := range from {
		switch strings.TrimSpace(name) {
		case fleet.FromScaleIn:
			p.ScaleIn = true
		case setActions, fleet.FromSetActions:
			p.SetActions = true
		default:
			return p, fmt.Errorf("--from: %q is neither %s nor %s", name, fleet.FromScaleIn, setActions)
		}
	}
	if p == (fleet.Protection{}) {
		err = errors.New("--from is empty")
	}
	return p, err
}

// A protected is a member whose protection changes.
type protected struct {
	memberName
	before fleet.Instance
	etag   string
	want   fleet.Protection
	view   fleet.ProtectedMember
	err    error
}

// A protecting is a change of protections under way.
type protecting struct {
	onMembers
	do fleet.Protecting
}

// protect changes the protection of members. All of them are read before the first is
// written: a name that leads to nothing, or a refusal, leaves all as they are.
func (g *globals) protect(ctx context.Context, cmd *cobra.Command, do fleet.Protecting, args []string) error {
	on, err := g.onMembers(cmd, args)
	if err != nil {
		return err
	}
	p := protecting{on, do}
	members := make([]protected, len(on.names))
	err = each(ctx, members, func(ctx context.Context, i int) error {
		members[i].memberName = on.names[i]
		return p.read(ctx, &members[i])
	})
	if err != nil {
		return err
	}
	if err := p.unheld(ctx, members); err != nil {
		return err
	}
	var failed atomic.Int32
	_ = each(ctx, members, func(ctx context.Context, i int) error {
		if m := &members[i]; p.write(ctx, m) != nil {
			failed.Add(1)
		}
		return nil // the others go on
	})
	return g.protectDone(members, do, int(failed.Load()))
}

// each does something for each member, several at a time.
func each(ctx context.Context, members []protected, do func(ctx context.Context, i int) error) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(protectAtOnce)
	for i := range members {
		all.Go(func() error { return do(ctx, i) })
	}
	return all.Wait()
}

// read reads a member, and what it is to become.
func (p *protecting) read(ctx context.Context, m *protected) error {
	read, err := p.client.Resource(ctx, m.instance(), "")
	if errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		return p.notThere(ctx, m.memberName)
	}
	if err != nil {
		return err
	}
	m.before, m.etag = fleet.InstanceOf(read.Body), read.ETag
	m.view = fleet.ProtectedMember{ScaleSet: m.set.Name(), Name: m.vm, ID: m.instance(), Was: append([]string{}, m.before.Names()...)}
	m.want, err = p.do.Of(m.before.Protection)
	if refused, ok := errors.AsType[*fleet.RefusedError](err); ok {
		refused.Reasons = append([]string{m.set.Name() + "/" + m.vm + ": nothing was written"}, refused.Reasons...)
	}
	m.view.Shows(m.want, m.before, fleet.Instance{Protection: m.want, LatestModel: m.before.LatestModel})
	return err
}

// unheld refuses changes of what an unfinished rollout holds. Protection from scale-in is
// nothing to a rollout.
func (p *protecting) unheld(ctx context.Context, members []protected) error {
	acts := func(m protected) bool { return m.want.SetActions != m.before.SetActions }
	if p.spec == nil || !slices.ContainsFunc(members, acts) {
		return nil
	}
	h, err := p.g.holdToWrite(ctx, p.spec)
	for i := 0; err == nil && i < len(members); i++ {
		if acts(members[i]) {
			err = h.Protect(members[i].set, p.do.On)
		}
	}
	return err
}

// write writes a member, unless it is so already, and reads it again.
func (p *protecting) write(ctx context.Context, m *protected) error {
	m.err = p.tryWrite(ctx, m)
	if m.err != nil {
		m.view.Error = m.err.Error()
		if !m.view.Written {
			m.view.Protected, m.view.Warnings = m.view.Was, nil
		}
	}
	return m.err
}

// tryWrite is write as it went. When somebody else changed the member meanwhile, what to
// write is found anew, and a rollout may hold that.
func (p *protecting) tryWrite(ctx context.Context, m *protected) error {
	for try := 1; m.want != m.before.Protection; try++ {
		op, err := p.client.Send(ctx, m.want.Write(m.instance(), m.before.Location, m.etag))
		if err == nil {
			m.view.Written, m.view.Pending = true, p.g.noWait
			return p.after(ctx, op, m)
		}
		etag := m.etag
		if !errors.Is(err, &azure.Error{Kind: azure.Conflict}) || try == maxProtects {
			return err
		}
		if again := p.read(ctx, m); again != nil || m.etag == etag {
			return errors.Join(again, err)
		}
		if err := p.unheld(ctx, []protected{*m}); err != nil {
			return err
		}
	}
	return nil
}

// after waits for the end of a write, and looks what came of it.
func (p *protecting) after(ctx context.Context, op *azure.Operation, m *protected) error {
	if p.g.noWait {
		return nil
	}
	if _, err := op.Wait(ctx); err != nil {
		return err
	}
	read, err := p.client.Resource(ctx, m.instance(), "")
	if err != nil {
		return fmt.Errorf("it was written, and whether its model is the one of the scale set is not known: %w", err)
	}
	m.view.Shows(m.want, m.before, fleet.InstanceOf(read.Body))
	return nil
}

// protectDone tells what was done. The error is that of the first member that failed.
func (g *globals) protectDone(members []protected, do fleet.Protecting, failed int) error {
	view := fleet.ProtectView{Version: fleet.ViewVersion, Action: "unprotect"}
	if do.On {
		view.Action = "protect"
	}
	var first error
	for i := range members {
		view.Members = append(view.Members, members[i].view)
		if first == nil {
			first = members[i].err
		}
	}
	alone := first != nil && len(members) == 1 // its error says it all, but to programs
	if !alone || g.json() {
		if err := g.showProtect(&view); err != nil {
			return err
		}
	}
	if first == nil || alone {
		return first
	}
	return retold(first, fmt.Errorf("%d of %s failed: %w", failed, cli.Plural(len(members), "member"), first), "")
}

func (g *globals) showProtect(view *fleet.ProtectView) error {
	if g.json() {
		return g.out.JSON(view)
	}
	p := g.newPage(g.now())
	for i := range view.Members {
		p.protected(&view.Members[i])
	}
	return g.print(p)
}

// protected tells how a member is protected now.
func (p *page) protected(m *fleet.ProtectedMember) {
	mark, facts := markGood, []cli.Cell{painted(cli.Bold, p.cut(m.ScaleSet+"/"+m.Name, max(p.Width-2, minName)))}
	is := "protected from " + strings.Join(m.Protected, " and ")
	if len(m.Protected) == 0 {
		is = "not protected"
	}
	switch {
	case m.Error != "":
		mark = markBad
		facts = append(facts, plain("failed: "+m.Error))
	case m.Pending:
		facts = append(facts, plain("to be "+is), dim("its model was not compared"))
	case !m.Written:
		facts = append(facts, plain(is+" already"), dim("nothing was written"))
	default:
		facts = append(facts, plain(is))
		if m.Latest != nil && *m.Latest {
			facts = append(facts, dim("on the model of the scale set"))
		}
	}
	if m.Drifted {
		mark = markWarning
	}
	p.Flow(p.leading(0, mark), 2, facts...)
	for _, text := range m.Warnings {
		p.problem(2, fleet.Problem{Level: fleet.LevelWarning, Text: text})
	}
}
