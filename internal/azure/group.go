package azure

import (
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// A group is a resource group.
type group struct{ subscription, name string }

func (g group) key() string { return strings.ToLower(g.subscription + "/" + g.name) }

// id is that of what is in the group: a resource type, then names and further types.
func (g group) id(path ...string) fleet.ResourceID {
	return fleet.ResourceID("/subscriptions/" + g.subscription + "/resourceGroups/" + g.name + "/providers/" + strings.Join(path, "/"))
}

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
	_, err := groupOf(id)
	if err == nil && (!plain(id) || strings.HasSuffix(string(id), "/")) { // a name is missing
		err = fmt.Errorf("%q is not the id of a resource", string(id))
	}
	if err != nil {
		return &Error{Kind: Garbled, Op: op, Text: safetext.Line("the answer is not what Azure says: "+err.Error(), maxText), Hint: hintProxy}
	}
	return nil
}
