package azure

import (
	"context"
	"net/url"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// maxSecondLooks bounds the members of a set that are asked for one by one.
const maxSecondLooks = 2

// instanceView is the value of $expand that asks for the state of the moment.
const instanceView = "instanceView"

// Members returns the members of a Flexible scale set, by name. The set's own list
// says which model they have and what protects them, the list of virtual machines
// what they run and how they are; the two are read at the same time.
func (c *Client) Members(ctx context.Context, id fleet.ResourceID) ([]fleet.Member, error) {
	g, err := groupOf(id)
	if err != nil {
		return nil, err
	}
	var listed, machines []fleet.Member
	both, inner := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		own := g.id(typeSets, id.Name(), "virtualMachines")
		listed, err = list(inner, c, "list the members of "+id.Name(), own, nil, fleet.ReadListedMember)
		return err
	})
	both.Go(func() (err error) {
		query := url.Values{"$filter": {"'virtualMachineScaleSet/id' eq '" + string(id) + "'"}, "$expand": {instanceView}}
		machines, err = list(inner, c, "list the virtual machines of "+id.Name(), g.id(typeMachines), query, fleet.ReadMachine)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	members := fleet.JoinMembers(listed, machines)
	if err := c.lookAgain(ctx, g.subscription, members); err != nil {
		return nil, err
	}
	return members, nil
}

// lookAgain asks for the first members that look vanished: one that was born between
// the two lists looks the same.
func (c *Client) lookAgain(ctx context.Context, subscription string, members []fleet.Member) error {
	looks := 0
	for i := range members {
		m := &members[i]
		if !m.Vanished || looks == maxSecondLooks {
			continue
		}
		looks++
		op := "read virtual machine " + m.Name
		id := group{subscription, m.ID.ResourceGroup()}.id(typeMachines, m.Name)
		if err := told(op, id); err != nil {
			return err
		}
		d, _, err := c.read(ctx, op, id, instanceView)
		switch {
		case err == nil:
			m.Meet(fleet.ReadMachine(d))
		case !isNotFound(err):
			return err
		}
	}
	return nil
}
