package arm

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// groupType is the type of resource groups, which are resources like others in the
// store.
const groupType = "Microsoft.Resources/resourceGroups"

func groupID(subscription, group string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group
}

// resourceGroups is the kind of resource groups.
func resourceGroups() kind {
	return kind{
		name:   groupType,
		orphan: true,
		complete: func(_ *txn, w *write) error {
			where := str(w.Body, "location")
			if where == "" {
				return errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
			}
			if w.Old != nil && location(str(w.Old.Body, "location")) != location(where) {
				return conflict("InvalidResourceGroupLocation",
					"Invalid resource group location '%s'. The Resource group already exists in location '%s'.", where, str(w.Old.Body, "location"))
			}
			return nil
		},
	}
}

// fixed answers what has a path of its own: subscriptions, resource groups,
// providers, operations and lists of resources.
func (s *Server) fixed(tx *txn, c *call) (answer, bool, error) {
	path := strings.Split(strings.Trim(strings.ToLower(c.Target.id()), "/"), "/")
	if path[0] != "subscriptions" {
		return answer{}, false, nil
	}
	if len(path) == 1 {
		a, err := only(c, ok(object{"value": []any{s.subscription()}, "count": object{"type": "Total", "value": 1}}), http.MethodGet)
		return a, true, err
	}
	if err := s.checkScope(tx, target{subscription: c.Target.subscription}); err != nil {
		return answer{}, true, err
	}
	rest := path[2:]
	switch {
	case len(rest) == 0:
		a, err := only(c, ok(s.subscription()), http.MethodGet)
		return a, true, err
	case slices.Equal(rest, []string{"locations"}):
		a, err := only(c, ok(object{"value": s.locations()}), http.MethodGet)
		return a, true, err
	case slices.Equal(rest, []string{"resourcegroups"}):
		if _, err := only(c, answer{}, http.MethodGet); err != nil {
			return answer{}, true, err
		}
		a, err := s.page(c, tx.list(groupType, "/subscriptions/"+s.cfg.Subscription), s.viewer(tx, c))
		return a, true, err
	case len(rest) == 2 && rest[0] == "resourcegroups":
		a, err := s.group(tx, c)
		return a, true, err
	case slices.Equal(rest, []string{"resources"}):
		a, err := s.listEverything(tx, c, "/subscriptions/"+s.cfg.Subscription)
		return a, true, err
	case len(rest) == 3 && rest[0] == "resourcegroups" && rest[2] == "resources":
		if err := s.checkScope(tx, c.Target); err != nil {
			return answer{}, true, err
		}
		a, err := s.listEverything(tx, c, groupID(c.Target.subscription, c.Target.group))
		return a, true, err
	case rest[0] == "providers":
		return s.provider(tx, c, rest[1:])
	}
	return answer{}, false, nil
}

// only refuses other methods than one.
func only(c *call, a answer, method string) (answer, error) {
	if c.Method != method {
		return answer{}, unknown("%s %s", c.Method, c.Target.id())
	}
	return a, nil
}

func (s *Server) subscription() object {
	id := s.cfg.Subscription
	return object{
		"id": "/subscriptions/" + id, "subscriptionId": id, "tenantId": tenantID, "displayName": "fleetsim",
		"state": "Enabled", "authorizationSource": "RoleBased",
		"subscriptionPolicies": object{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
	}
}

// tenantID is the one tenant that there is.
const tenantID = "22222222-2222-2222-2222-222222222222"

// regions are the regions that a subscription offers. A resource may be in any.
var regions = [][2]string{
	{"eastus", "East US"}, {"eastus2", "East US 2"}, {"westus", "West US"}, {"westus2", "West US 2"}, {"westus3", "West US 3"},
	{"centralus", "Central US"}, {"northcentralus", "North Central US"}, {"southcentralus", "South Central US"}, {"westcentralus", "West Central US"},
	{"northeurope", "North Europe"}, {"westeurope", "West Europe"}, {"germanywestcentral", "Germany West Central"}, {"uksouth", "UK South"},
	{"francecentral", "France Central"}, {"swedencentral", "Sweden Central"}, {"switzerlandnorth", "Switzerland North"},
	{"southeastasia", "Southeast Asia"}, {"eastasia", "East Asia"}, {"japaneast", "Japan East"}, {"australiaeast", "Australia East"},
	{"centralindia", "Central India"}, {"canadacentral", "Canada Central"}, {"brazilsouth", "Brazil South"},
}

func (s *Server) locations() []any {
	var all []any
	for _, r := range regions {
		all = append(all, object{
			"id": "/subscriptions/" + s.cfg.Subscription + "/locations/" + r[0], "name": r[0], "type": "Region", "displayName": r[1],
			"regionalDisplayName": r[1], "metadata": object{"regionType": "Physical", "regionCategory": "Recommended"},
		})
	}
	return all
}

// group answers for one resource group.
func (s *Server) group(tx *txn, c *call) (answer, error) {
	id := groupID(s.cfg.Subscription, c.Target.group)
	c.ID = id
	k := s.kind(groupType)
	r := tx.get(id)
	missing := errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", c.Target.group)
	if r != nil {
		c.ID = r.ID
	}
	switch c.Method {
	case http.MethodHead:
		if r == nil {
			return answer{}, missing
		}
		return answer{Status: http.StatusNoContent}, nil
	case http.MethodGet, http.MethodPatch:
		if r == nil {
			return answer{}, missing
		}
	}
	switch c.Method {
	case http.MethodGet:
		return s.getResource(tx, c, k)
	case http.MethodPut:
		return s.putResource(tx, c, k)
	case http.MethodPatch:
		return s.patchResource(tx, c, k)
	case http.MethodDelete:
		if r == nil {
			return answer{}, missing
		}
		return s.deleteResource(tx, c, k)
	}
	return answer{}, unknown("%s %s", c.Method, c.Target.id())
}

// listEverything is the generic list of resources: $filter knows resourceType, name
// and location.
func (s *Server) listEverything(tx *txn, c *call, scope string) (answer, error) {
	if _, err := only(c, answer{}, http.MethodGet); err != nil {
		return answer{}, err
	}
	keep, err := resourceFilter(c.query("$filter"))
	if err != nil {
		return answer{}, err
	}
	var all []*resource
	for _, r := range tx.list("", scope) {
		if r.Type != groupType && topLevel(r) && keep(r) {
			all = append(all, r)
		}
	}
	return s.page(c, all, func(r *resource) (object, error) {
		o := object{"id": r.ID, "name": r.name(), "type": r.Type}
		for _, name := range []string{"location", "tags", "sku", "kind", "identity", "zones", "plan", "managedBy"} {
			if v, ok := r.Body[name]; ok {
				o[name] = cloneAny(v)
			}
		}
		return o, nil
	})
}

// topLevel says whether the generic list shows a resource: those that have a
// location, below another one too, as image versions are.
func topLevel(r *resource) bool {
	return str(r.Body, "location") != "" || strings.Count(r.Type, "/") == 1
}

// resourceFilter understands "a eq 'x' and b eq 'y'" of the generic list.
func resourceFilter(filter string) (func(*resource) bool, error) {
	type condition struct{ name, value string }
	var all []condition
	for part := range splitWords(filter, " and ") {
		fields := strings.Fields(part)
		if len(fields) != 3 || !strings.EqualFold(fields[1], "eq") || len(fields[2]) < 2 || fields[2][0] != '\'' || fields[2][len(fields[2])-1] != '\'' {
			return nil, errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string: fleetsim knows NAME eq 'VALUE', joined by and.", filter)
		}
		c := condition{strings.ToLower(fields[0]), strings.Trim(fields[2], "'")}
		if !slices.Contains([]string{"resourcetype", "name", "location", "resourcegroup"}, c.name) {
			return nil, errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string: fleetsim does not know '%s' here.", filter, fields[0])
		}
		all = append(all, c)
	}
	return func(r *resource) bool {
		for _, c := range all {
			var is bool
			switch c.name {
			case "resourcetype":
				is = strings.EqualFold(r.Type, c.value)
			case "name":
				is = strings.EqualFold(r.name(), c.value)
			case "location":
				is = location(str(r.Body, "location")) == location(c.value)
			case "resourcegroup":
				is = strings.HasPrefix(key(r.ID), key(groupID(strings.Split(r.ID, "/")[2], c.value))+"/")
			}
			if !is {
				return false
			}
		}
		return true
	}, nil
}

// splitWords yields the parts of a filter; none of an empty one.
func splitWords(s, by string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for s != "" {
			i := strings.Index(strings.ToLower(s), by)
			part := s
			if i < 0 {
				s = ""
			} else {
				part, s = s[:i], s[i+len(by):]
			}
			if !yield(part) {
				return
			}
		}
	}
}

// namespaces are the resource providers that a subscription shows.
var namespaces = []string{
	"Microsoft.Authorization", "Microsoft.Compute", "Microsoft.ContainerInstance", "Microsoft.Insights", "Microsoft.KeyVault",
	"Microsoft.ManagedIdentity", "Microsoft.Network", "Microsoft.Resources", "Microsoft.Storage", "Microsoft.VirtualMachineImages",
}

// registration is the hidden resource that holds the state of a provider that is not
// registered any more; all are at the beginning.
const registration = "fleetsim/registrations"

// provider answers what is below /subscriptions/S/providers and is no resource: the
// providers themselves and operations.
func (s *Server) provider(tx *txn, c *call, rest []string) (answer, bool, error) {
	switch {
	case len(rest) == 0:
		if _, err := only(c, answer{}, http.MethodGet); err != nil {
			return answer{}, true, err
		}
		var all []any
		for _, n := range namespaces {
			all = append(all, s.providerBody(tx, n))
		}
		return ok(object{"value": all}), true, nil
	case len(rest) == 1:
		a, err := only(c, ok(s.providerBody(tx, c.Target.namespace)), http.MethodGet)
		return a, true, err
	case len(rest) == 2 && c.Method == http.MethodPost && (rest[1] == "register" || rest[1] == "unregister"):
		state := "Registered"
		if rest[1] == "unregister" {
			state = "NotRegistered"
		}
		tx.put(resource{ID: s.registrationID(c.Target.namespace), Type: registration, Hidden: object{"state": state}})
		return ok(s.providerBody(tx, c.Target.namespace)), true, nil
	case len(rest) == 5 && rest[1] == "locations" && (rest[3] == "operations" || rest[3] == "operationresults"):
		a, err := s.operationAnswer(tx, c, rest[4], rest[3] == "operations")
		return a, true, err
	}
	return answer{}, false, nil
}

// registrationID is outside of every scope, so that no list has it.
func (s *Server) registrationID(namespace string) string {
	return "/fleetsim/registrations/" + namespace
}

// registered is the registration state of a provider.
func (tx *txn) registered(namespace string) string {
	if r := tx.get(tx.server.registrationID(namespace)); r != nil {
		return str(r.Hidden, "state")
	}
	return "Registered"
}

func (s *Server) providerBody(tx *txn, namespace string) object {
	if i := slices.IndexFunc(namespaces, func(n string) bool { return strings.EqualFold(n, namespace) }); i >= 0 {
		namespace = namespaces[i]
	}
	types := []any{}
	for _, k := range s.kinds {
		if ns, typ, _ := strings.Cut(k.name, "/"); strings.EqualFold(ns, namespace) {
			types = append(types, object{"resourceType": typ, "locations": displayNames(), "apiVersions": []any{}, "capabilities": "SupportsTags, SupportsLocation"})
		}
	}
	slices.SortFunc(types, func(a, b any) int {
		return cmp.Compare(str(a.(object), "resourceType"), str(b.(object), "resourceType"))
	})
	return object{
		"id": "/subscriptions/" + s.cfg.Subscription + "/providers/" + namespace, "namespace": namespace,
		"registrationState": tx.registered(namespace), "registrationPolicy": "RegistrationRequired", "resourceTypes": types,
	}
}

func displayNames() []any {
	var all []any
	for _, r := range regions {
		all = append(all, r[1])
	}
	return all
}
