package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// A memberName is a member that a command line names: SET/VM.
type memberName struct {
	set fleet.ResourceID
	vm  string
}

// instance is the member as its scale set has it.
func (m memberName) instance() fleet.ResourceID {
	return m.set + fleet.ResourceID("/virtualMachines/"+m.vm)
}

// machine is the member as a virtual machine.
func (m memberName) machine() fleet.ResourceID {
	group, _, _ := strings.Cut(string(m.set), "/providers/")
	return fleet.ResourceID(group + "/providers/Microsoft.Compute/virtualMachines/" + m.vm)
}

// onMembers is what a command does something to: the members that it names, of scale sets
// of the file or of a resource group.
type onMembers struct {
	g      *globals
	client *azure.Client
	spec   *fleet.Spec // nil: there is no file
	names  []memberName
}

// onMembers opens what a command line names.
func (g *globals) onMembers(cmd *cobra.Command, args []string) (onMembers, error) {
	names, spec, err := g.memberNames(cmd, args)
	if err != nil {
		return onMembers{}, err
	}
	client, err := g.client()
	return onMembers{g: g, client: client, spec: spec, names: names}, err
}

// memberForm is what Azure lets scale sets and virtual machines be called.
var memberForm = regexp.MustCompile(`^([\w][\w.-]{0,79})/([\w][\w.-]{0,79})$`)

// memberNames are the members of a command line, each once: of scale sets of the file,
// or of the resource group of the flags. The file is returned, too, if there is one.
func (g *globals) memberNames(cmd *cobra.Command, args []string) ([]memberName, *fleet.Spec, error) {
	var want azure.Scope
	for _, arg := range args {
		if !memberForm.MatchString(arg) {
			return nil, nil, usage.Error(cmd, fmt.Errorf("%q is no member of a scale set, which is named as SET/VM: vmss-authz/vmss-authz_3", arg))
		}
	}
	spec, err := g.place(&want)
	if err != nil {
		return nil, nil, err
	}
	var names []memberName
	for _, arg := range args {
		set, vm, _ := strings.Cut(arg, "/")
		m := memberName{vm: vm}
		if m.set, err = g.setNamed(set, spec, &want); err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(names, func(n memberName) bool { return n.instance().Same(m.instance()) }) {
			names = append(names, m)
		}
	}
	return names, spec, nil
}

// setNamed is the id of a scale set that a command line names.
func (g *globals) setNamed(name string, spec *fleet.Spec, place *azure.Scope) (fleet.ResourceID, error) {
	if spec == nil {
		return fleet.ResourceID("/subscriptions/" + place.Subscription + "/resourceGroups/" + place.ResourceGroup +
			"/providers/Microsoft.Compute/virtualMachineScaleSets/" + name), nil
	}
	known := make([]string, 0, len(spec.ScaleSets))
	for declared := range spec.ScaleSets {
		if strings.EqualFold(declared, name) {
			return spec.SetID(declared), nil
		}
		known = append(known, declared)
	}
	slices.Sort(known)
	return "", unknownSet(name, known)
}

// notThere explains that a member was not found: which one may be meant.
func (o *onMembers) notThere(ctx context.Context, m memberName) error {
	set := m.set.Name()
	members, err := o.client.Members(ctx, m.set)
	switch {
	case errors.Is(err, &azure.Error{Kind: azure.NotFound}) && o.g.resourceGroup != "":
		sets, err := o.client.ScaleSets(ctx, o.g.subscription, o.g.resourceGroup)
		if err != nil {
			return err
		}
		var known []string
		for _, s := range sets {
			known = append(known, s.ID.Name())
		}
		return unknownSet(set, known)
	case err != nil:
		return err
	}
	known := make([]string, len(members))
	for i := range members {
		known[i] = members[i].Name
		if members[i].Vanished && strings.EqualFold(known[i], m.vm) {
			return fmt.Errorf("scale set %s lists %s, and the virtual machine is not there", set, m.vm)
		}
	}
	err = fmt.Errorf("scale set %s has no member %q", set, m.vm)
	switch near := graph.Nearest(m.vm, known); {
	case near != "":
		return cli.Hint(err, "did you mean %s/%s?", set, near)
	case len(known) == 0:
		return cli.Hint(err, "it has none at all")
	}
	return cli.Hint(err, "there are %s; fleetctl status %s lists them", andMore(known, 5), set)
}
