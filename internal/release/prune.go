package release

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Pruner deletes image versions and image templates that nothing needs.
type Pruner struct {
	Azure *azure.Client
	Spec  *fleet.Spec
	Keep  int
	Now   func() time.Time
	// Hold says what a rollout holds that is not over, in every look; nil: none does.
	Hold func(context.Context) (*fleet.Hold, error)
	// NoWait leaves a deletion to Azure when it has accepted it.
	NoWait bool
}

// Plan reads everything that may need a version, and says what may go. It costs one
// list of the scale sets of the subscription and three requests for each of them, and
// what the gallery and the list of image templates cost. When anything cannot be read,
// that is an error.
func (p *Pruner) Plan(ctx context.Context) (fleet.PruneView, error) {
	look := fleet.PruneLook{Spec: p.Spec, Keep: p.Keep}
	subscription := fleet.ResourceID("/subscriptions/" + p.Spec.Subscription)
	sets, err := p.Azure.Resources(ctx, subscription+"/providers/Microsoft.Compute/virtualMachineScaleSets", "")
	if err != nil {
		return fleet.PruneView{}, err
	}
	scope := azure.Scope{Subscription: p.Spec.Subscription, Members: true}
	for _, set := range sets {
		id, _ := set["id"].(string)
		scope.Sets = append(scope.Sets, fleet.ResourceID(id)) // one that is none is an error there
	}
	if look.Fleet, err = p.Azure.Fleet(ctx, scope); err != nil {
		return fleet.PruneView{}, err
	}
	definition := p.Spec.DefinitionID()
	gallery, err := p.Azure.Gallery(ctx, p.Spec.GalleryID(), []string{definition.Name()})
	if err != nil {
		return fleet.PruneView{}, err
	}
	look.Fleet.Galleries = []fleet.Gallery{gallery}
	templates := fleet.ResourceID("/resourceGroups/" + p.Spec.ResourceGroup + "/providers/Microsoft.VirtualMachineImages/imageTemplates")
	if look.Templates, err = p.Azure.Resources(ctx, subscription+templates, ""); err != nil {
		return fleet.PruneView{}, err
	}
	if p.Hold != nil {
		if look.Hold, err = p.Hold(ctx); err != nil {
			return fleet.PruneView{}, err
		}
	}
	look.Now = p.Now()
	return fleet.Prune(look)
}

// Delete deletes one item of a plan, unless a look right before it says that it is
// needed by now. The item that is returned says what became of it: that Azure refuses
// to delete it is no error, but that something could not be read is, and that ctx ended.
func (p *Pruner) Delete(ctx context.Context, item fleet.PruneItem) (fleet.PruneItem, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxWait)
		defer cancel()
	}
	now, err := p.Plan(ctx)
	if err != nil {
		return item, err
	}
	found, deletable := now.Find(item.ID)
	switch {
	case found == nil:
		item.Outcome = fleet.PruneDeleted // by somebody else
		return item, nil
	case !deletable:
		item.Outcome, item.Why = fleet.PruneLeft, found.Why
		return item, nil
	}
	operation, err := p.Azure.Send(ctx, fleet.Write{Method: http.MethodDelete, ID: item.ID})
	if err == nil {
		item.Outcome = fleet.PruneDeleting
		if p.NoWait {
			return item, nil
		}
		_, err = operation.Wait(ctx)
	}
	switch {
	case err == nil, errors.Is(err, &azure.Error{Kind: azure.NotFound}):
		item.Outcome = fleet.PruneDeleted
		return item, nil
	case ctx.Err() != nil: // Azure goes on with what it has accepted
		return item, err
	}
	item.Outcome, item.Error = fleet.PruneRefused, err.Error()
	return item, nil
}
