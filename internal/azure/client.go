package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// services are the SDK's clients for one subscription.
type services struct {
	sets        *armcompute.VirtualMachineScaleSetsClient
	setMembers  *armcompute.VirtualMachineScaleSetVMsClient
	machines    *armcompute.VirtualMachinesClient
	upgrades    *armcompute.VirtualMachineScaleSetRollingUpgradesClient
	galleries   *armcompute.GalleriesClient
	definitions *armcompute.GalleryImagesClient
	versions    *armcompute.GalleryImageVersionsClient
	autoscale   *armmonitor.AutoscaleSettingsClient
}

// in returns the clients for a subscription.
func (c *Client) in(subscription string) (*services, error) {
	key := strings.ToLower(subscription)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.services[key]; ok {
		return s, nil
	}
	compute, err := armcompute.NewClientFactory(subscription, c.cred, c.options)
	if err != nil {
		return nil, err
	}
	autoscale, err := armmonitor.NewAutoscaleSettingsClient(subscription, c.cred, c.options)
	if err != nil {
		return nil, err
	}
	s := &services{
		sets: compute.NewVirtualMachineScaleSetsClient(), setMembers: compute.NewVirtualMachineScaleSetVMsClient(),
		machines: compute.NewVirtualMachinesClient(), upgrades: compute.NewVirtualMachineScaleSetRollingUpgradesClient(),
		galleries: compute.NewGalleriesClient(), definitions: compute.NewGalleryImagesClient(), versions: compute.NewGalleryImageVersionsClient(),
		autoscale: autoscale,
	}
	c.services[key] = s
	return s, nil
}

// A page is the values of one page of a list, and the answer that they came in.
type page[T any] struct {
	values []*T
	raw    []byte
}

// list reads all pages of a list. What an answer holds in the place of a value and is
// none is left out. An error, of any page, is the list's; so is an answer that is no
// page, and a link back: what is shorter or longer than the list is not the list.
func list[P, T any](ctx context.Context, op string, pager *runtime.Pager[P], values func(P) []*T) ([]page[T], error) {
	var all []page[T]
	read := make(map[string]bool) // by URL
	for pager.More() {
		if len(all) == maxPages {
			return nil, &Error{Kind: Garbled, Op: op, Text: fmt.Sprintf("the list has no end: %d pages were read", maxPages)}
		}
		var answer capture
		p, err := pager.NextPage(answer.in(ctx))
		if err != nil {
			return nil, explain(op, err)
		}
		next := page[T]{raw: answer.body()}
		url := answer.url()
		switch {
		case !isPage(next.raw):
			return nil, &Error{Kind: Garbled, Op: op, Text: "the answer is no page of a list", Hint: "a proxy may answer in the place of Azure; look with --debug"}
		case read[url]:
			return nil, &Error{Kind: Garbled, Op: op, Text: "the list leads back to a page that was read", Hint: "a proxy may answer in the place of Azure; look with --debug"}
		}
		read[url] = true
		for _, v := range values(p) {
			if v != nil {
				next.values = append(next.values, v)
			}
		}
		all = append(all, next)
	}
	return all, nil
}

// mapped turns the values of all pages into those of another type.
func mapped[T, U any](pages []page[T], turn func(*T) U) []U {
	var all []U
	for _, p := range pages {
		for _, v := range p.values {
			all = append(all, turn(v))
		}
	}
	return all
}

// A group is a resource group.
type group struct{ subscription, name string }

func (g group) key() string { return strings.ToLower(g.subscription + "/" + g.name) }

// groupOf returns the group that a resource is in. The error says what is no id.
func groupOf(id fleet.ResourceID) (group, error) {
	g := group{id.Subscription(), id.ResourceGroup()}
	if g.subscription == "" || g.name == "" || id.Name() == "" {
		return g, usageError(fmt.Errorf("%q is not the id of a resource", string(id)), "an id begins with /subscriptions/ID/resourceGroups/NAME/providers/")
	}
	return g, nil
}

// told checks an id that Azure gave and that further questions need. One that is none
// is Azure's mistake, or of what answers in its place, not the caller's.
func told(op string, id fleet.ResourceID) error {
	if _, err := groupOf(id); err != nil {
		return &Error{Kind: Garbled, Op: op, Text: safetext.Line("the answer is not what Azure says: "+err.Error(), maxText), Hint: "a proxy may answer in the place of Azure; look with --debug"}
	}
	return nil
}
