package azure

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// maxSecondLooks bounds the members of a set that are asked for one by one.
const maxSecondLooks = 2

// Members returns the members of a Flexible scale set, by name. The set's own list
// says which model they have and what protects them, the list of virtual machines
// what they run and how they are; the two are read at the same time.
func (c *Client) Members(ctx context.Context, id fleet.ResourceID) ([]fleet.Member, error) {
	g, s, err := c.of(id)
	if err != nil {
		return nil, err
	}
	var listed []page[armcompute.VirtualMachineScaleSetVM]
	var running []page[armcompute.VirtualMachine]
	both, inner := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		listed, err = list(inner, "list the members of "+id.Name(), s.setMembers.NewListPager(g.name, id.Name(), nil),
			func(p armcompute.VirtualMachineScaleSetVMsClientListResponse) []*armcompute.VirtualMachineScaleSetVM {
				return p.Value
			})
		return err
	})
	both.Go(func() (err error) {
		options := &armcompute.VirtualMachinesClientListOptions{
			Filter: new("'virtualMachineScaleSet/id' eq '" + string(id) + "'"), Expand: new(armcompute.ExpandTypeForListVMsInstanceView),
		}
		running, err = list(inner, "list the virtual machines of "+id.Name(), s.machines.NewListPager(g.name, options),
			func(p armcompute.VirtualMachinesClientListResponse) []*armcompute.VirtualMachine { return p.Value })
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	members := join(flat(listed), flat(running))
	if err := c.lookAgain(ctx, s, members); err != nil {
		return nil, err
	}
	return members, nil
}

// lookAgain asks for the first members that look vanished: one that was born between
// the two lists looks the same.
func (c *Client) lookAgain(ctx context.Context, s *services, members []fleet.Member) error {
	looks := 0
	for i := range members {
		m := &members[i]
		if !m.Vanished || looks == maxSecondLooks {
			continue
		}
		looks++
		options := &armcompute.VirtualMachinesClientGetOptions{Expand: new(armcompute.InstanceViewTypesInstanceView)}
		v, err := s.machines.Get(ctx, m.ID.ResourceGroup(), m.Name, options)
		err = explain("read virtual machine "+m.Name, err)
		switch {
		case err == nil:
			m.Vanished = false
			machine(m, &v.VirtualMachine)
		case !isNotFound(err):
			return err
		}
	}
	return nil
}

func flat[T any](pages []page[T]) []*T { return mapped(pages, func(v *T) *T { return v }) }

// join makes members of a set's own list and of the list of virtual machines. Who is
// in the first only has vanished; who is in the second only has no model to compare.
func join(listed []*armcompute.VirtualMachineScaleSetVM, running []*armcompute.VirtualMachine) []fleet.Member {
	machines := make(map[string]*armcompute.VirtualMachine, len(running))
	for _, v := range running {
		machines[strings.ToLower(get(v.Name))] = v
	}
	members := make([]fleet.Member, 0, max(len(listed), len(running)))
	for _, v := range listed {
		m := listedMember(v)
		key := strings.ToLower(m.Name)
		if vm, ok := machines[key]; ok {
			machine(&m, vm)
			delete(machines, key)
		} else {
			m.Vanished = true
		}
		members = append(members, m)
	}
	for _, v := range machines {
		m := fleet.Member{Name: get(v.Name)}
		machine(&m, v)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b fleet.Member) int { return strings.Compare(a.Name, b.Name) })
	return members
}

// listedMember is what a set's own list says of a member. Its id is the virtual
// machine's, where the list gives it.
func listedMember(v *armcompute.VirtualMachineScaleSetVM) fleet.Member {
	p := get(v.Properties)
	protection := get(p.ProtectionPolicy)
	m := fleet.Member{
		Name: get(v.Name), ID: fleet.ResourceID(get(v.ID)), Created: get(p.TimeCreated), Provisioning: get(p.ProvisioningState),
		Image: imageReference(get(p.StorageProfile).ImageReference), LatestModel: p.LatestModelApplied, Health: fleet.HealthMissing,
		ProtectScaleIn: get(protection.ProtectFromScaleIn), ProtectSetActions: get(protection.ProtectFromScaleSetActions),
	}
	if zone := first(v.Zones); zone != nil {
		m.Zone = *zone
	}
	if id := get(p.VirtualMachineResourceID); id != "" {
		m.ID = fleet.ResourceID(id)
	}
	if m.Name == "" {
		m.Name = m.ID.Name()
	}
	return m
}

// machine adds what the virtual machine says of itself.
func machine(m *fleet.Member, v *armcompute.VirtualMachine) {
	p := get(v.Properties)
	m.ID = fleet.ResourceID(get(v.ID))
	m.Provisioning = get(p.ProvisioningState)
	m.Spot = get(p.Priority) == armcompute.VirtualMachinePriorityTypesSpot
	if p.TimeCreated != nil {
		m.Created = *p.TimeCreated
	}
	if zone := first(v.Zones); zone != nil {
		m.Zone = *zone
	}
	if r := get(p.StorageProfile).ImageReference; r != nil {
		m.Image = imageReference(r)
	}
	m.Health = fleet.HealthMissing
	if p.InstanceView != nil {
		instanceView(m, p.InstanceView)
	}
}

// instanceView adds the state of the moment.
func instanceView(m *fleet.Member, v *armcompute.VirtualMachineInstanceView) {
	for _, s := range v.Statuses {
		code := get(get(s).Code)
		if power, ok := strings.CutPrefix(code, "PowerState/"); ok {
			m.Power = fleet.PowerState(power)
		}
		if reason, ok := strings.CutPrefix(code, "ProvisioningState/failed"); ok && m.Provisioning == fleet.Failed {
			m.Failure = fleet.Failure{Code: strings.Trim(reason, "/"), Message: cmp.Or(get(s.Message), get(s.DisplayStatus))}
		}
	}
	if v.VMHealth != nil && v.VMHealth.Status != nil {
		m.Health, m.HealthAt = fleet.HealthOf(get(v.VMHealth.Status.Code)), get(v.VMHealth.Status.Time)
	}
	m.Extensions = make(map[string]string)
	for _, e := range v.Extensions {
		if e == nil {
			continue
		}
		kind := get(e.Type) // with its publisher in front: Microsoft.ManagedServices.ApplicationHealthLinux
		if kind == "" {
			kind = get(e.Name)
		}
		m.Extensions[kind[strings.LastIndexByte(kind, '.')+1:]] = get(e.TypeHandlerVersion)
	}
}
