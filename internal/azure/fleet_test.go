package azure

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Every page of every list is read, whatever the size of a page is.
func TestFleetInPages(t *testing.T) {
	for _, size := range []int{1, 7, 50, 1000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			server := fleetOf(3, 51, 4, size)
			f, err := clientOf(t, server.start(t)).Fleet(t.Context(), everything())
			require.NoError(t, err)
			require.Len(t, f.Sets, 3)
			for n, s := range f.Sets {
				require.Equal(t, setID(n), s.Model.ID)
				require.Equal(t, map[string]any{"a": 1.0}, s.Model.Properties["newThing"], "what has no field")
				require.Len(t, s.Members, 51)
				require.Equal(t, fleet.Healthy, s.Members[50].Health)
				require.Equal(t, "1.0.0", s.Members[50].Image.ExactVersion)
				require.True(t, *s.Members[50].LatestModel)
				require.NotNil(t, s.Autoscale)
				require.Equal(t, 30, s.Autoscale.Max)
				require.Equal(t, "Completed", s.Rolling.Code)
				require.Empty(t, s.History)
			}
			require.Len(t, f.Galleries, 1)
			require.Len(t, f.Galleries[0].Definitions, 1)
			require.Len(t, f.Galleries[0].Definitions[0].Versions, 4)
			require.Equal(t, "Completed", f.Galleries[0].Definitions[0].Versions[3].Regions[0].State)
			require.Len(t, f.Templates, 1)
			require.Equal(t, "registered", f.Providers["microsoft.compute"])
			require.Empty(t, f.Missing)
			require.Empty(t, f.Notes)
			require.WithinDuration(t, time.Now(), f.At, time.Minute)
		})
	}
}

// The requests for 1,000 members in 10 sets are the pages of the lists and five a set.
func TestFleetInBudget(t *testing.T) {
	const sets, members, versions = 10, 100, 5
	for _, size := range []int{50, 100, 200} {
		server := fleetOf(sets, members, versions, size)
		scope := everything()
		scope.Templates, scope.Providers = false, false
		_, err := clientOf(t, server.start(t)).Fleet(t.Context(), scope)
		require.NoError(t, err)
		pages := 5 + sets*2*((members+size-1)/size) // of the lists: sets, autoscale, galleries, images, versions; members twice
		require.LessOrEqual(t, server.count(), pages+5*sets+3*versions, "pages of %d", size)
	}
}

// A page that fails fails the whole: a shorter list would look like a smaller fleet.
func TestFleetWithAPageThatFails(t *testing.T) {
	for page := 1; page <= 3; page++ {
		server := fleetOf(3, 3, 3, 1)
		server.failPage = page
		f, err := clientOf(t, server.start(t)).Fleet(t.Context(), everything())
		require.ErrorContains(t, err, "no such page")
		require.Empty(t, f)
	}
}

// So it is with the last page of any one list.
func TestFleetWithAListThatFails(t *testing.T) {
	for path, values := range fleetOf(2, 2, 2, 1).lists {
		server := fleetOf(2, 2, 2, 1)
		server.failList, server.failPage = path, max(len(values), 1)
		f, err := clientOf(t, server.start(t)).Fleet(t.Context(), everything())
		require.ErrorContains(t, err, "no such page", path)
		require.Empty(t, f)
	}
}

// Sets may be named; what is not there is told, and a group is not needed.
func TestFleetByID(t *testing.T) {
	server := fleetOf(3, 2, 1, 50)
	scope := Scope{Subscription: subscription, Sets: []fleet.ResourceID{setID(2), setID(0), setID(7)}, Members: true, Templates: true, TemplateGroup: "rg-pay-prod"}
	f, err := clientOf(t, server.start(t)).Fleet(t.Context(), scope)
	require.NoError(t, err)
	require.Len(t, f.Sets, 2)
	require.Equal(t, setID(0), f.Sets[0].Model.ID)
	require.Equal(t, []fleet.ResourceID{setID(7)}, f.Missing)
	require.Equal(t, map[string]any{"a": 1.0}, f.Sets[0].Model.Properties["newThing"])
	require.Len(t, f.Templates, 1)
	require.Equal(t, 3+2*2+1, server.count(), "three sets, two lists for each that is there, and the templates")

	_, err = clientOf(t, server.start(t)).Fleet(t.Context(), Scope{Sets: []fleet.ResourceID{"vmss-authz"}})
	require.ErrorIs(t, err, &Error{Kind: Usage})
}

// The members of a set in Uniform orchestration are not asked for.
func TestFleetLeavesUniform(t *testing.T) {
	server := fleetOf(1, 1, 0, 50)
	path := strings.ToLower(compute + "virtualMachineScaleSets")
	server.lists[path] = append(server.lists[path], fmt.Sprintf(`{"id":"%svirtualMachineScaleSets/vmss-old","name":"vmss-old","properties":{"orchestrationMode":"Uniform"}}`, compute), "null")
	f, err := clientOf(t, server.start(t)).Fleet(t.Context(), everything())
	require.NoError(t, err)
	require.Len(t, f.Sets, 2)
	require.False(t, f.Sets[1].Model.Flexible)
	require.Empty(t, f.Sets[1].Members)
	for _, r := range server.requests {
		require.NotContains(t, r, "vmss-old/")
	}
}

// A gallery that only a set refers to is read as far as the set does, and may be out
// of reach; one that was asked for may be missing.
func TestFleetOfOthersGalleries(t *testing.T) {
	server := fleetOf(1, 0, 2, 50)
	path := strings.ToLower(compute + "galleries/galProd/images")
	server.lists[path] = append(server.lists[path], fmt.Sprintf(`{"id":"%sgalleries/galProd/images/other","name":"other"}`, compute))
	scope := Scope{Sets: []fleet.ResourceID{setID(0)}, Images: true}
	f, err := clientOf(t, server.start(t)).Fleet(t.Context(), scope)
	require.NoError(t, err)
	require.Len(t, f.Galleries[0].Definitions, 1, "not the definition that no set refers to")
	require.Len(t, f.Galleries[0].Definitions[0].Versions, 2)

	delete(server.things, strings.ToLower(compute+"galleries/galProd"))
	f, err = clientOf(t, server.start(t)).Fleet(t.Context(), scope)
	require.NoError(t, err)
	require.Empty(t, f.Galleries)
	require.Len(t, f.Notes, 1)
	require.Contains(t, f.Notes[0], "gallery galProd, which vmss-00 refers to, was not read: ")

	scope.GalleryIDs = []fleet.ResourceID{compute + "galleries/galProd"}
	f, err = clientOf(t, server.start(t)).Fleet(t.Context(), scope)
	require.NoError(t, err)
	require.Equal(t, scope.GalleryIDs, f.Missing)
}

// A member in one list only has vanished, unless it was born between the two lists;
// one in the other only is listed, too.
func TestMembersInOneListOnly(t *testing.T) {
	server := fleetOf(1, 3, 0, 50)
	id := string(setID(0))
	machines := strings.ToLower(compute + "virtualMachines?'virtualMachineScaleSet/id' eq '" + id + "'")
	born := server.lists[machines][1]
	server.lists[machines] = append(server.lists[machines][2:], fmt.Sprintf(`{"id":"%svirtualMachines/attached","name":"attached","properties":{}}`, compute))
	server.things[strings.ToLower(compute+"virtualMachines/vmss-00_0001")] = born
	members, err := clientOf(t, server.start(t)).Members(t.Context(), setID(0))
	require.NoError(t, err)
	require.Len(t, members, 4)

	require.Equal(t, "attached", members[0].Name)
	require.Nil(t, members[0].LatestModel)
	require.Equal(t, fleet.HealthMissing, members[0].Health)
	require.True(t, members[1].Vanished)
	require.Equal(t, fleet.PowerState(""), members[1].Power)
	require.False(t, members[2].Vanished, "it was born between the lists")
	require.Equal(t, fleet.Healthy, members[2].Health)
	require.False(t, members[3].Vanished)
}
