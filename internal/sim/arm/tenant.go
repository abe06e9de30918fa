package arm

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
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
		takes: func(_ *txn, w *write) time.Duration {
			if w.Method == http.MethodDelete {
				return groupDeletion
			}
			return 0
		},
	}
}

// groupDeletion is how long a resource group takes to go.
const groupDeletion = 30 * time.Second

// fixed is the handler of what has a path of its own, or nil: tenants, subscriptions, resource
// groups, providers, operations and lists of resources.
func (s *Server) fixed(t target) handler {
	words := strings.Split(strings.Trim(strings.ToLower(t.id()), "/"), "/")
	if slices.Equal(words, []string{"tenants"}) {
		return readOnly(func(*txn, *call) (answer, error) {
			return ok(object{"value": []any{object{"id": "/tenants/" + tenantID, "tenantId": tenantID, "displayName": "fleetsim"}}}), nil
		})
	}
	if words[0] != "subscriptions" {
		return nil
	}
	rest := words[min(2, len(words)):]
	switch {
	case len(words) == 1:
		return readOnly(func(*txn, *call) (answer, error) {
			return ok(object{"value": []any{s.subscription()}, "count": object{"type": "Total", "value": 1}}), nil
		})
	case len(rest) == 0:
		return readOnly(func(*txn, *call) (answer, error) { return ok(s.subscription()), nil })
	case slices.Equal(rest, []string{"locations"}):
		return readOnly(func(*txn, *call) (answer, error) { return ok(object{"value": s.locations()}), nil })
	case slices.Equal(rest, []string{"resourcegroups"}):
		return readOnly(func(tx *txn, c *call) (answer, error) {
			return s.page(c, tx.list(groupType, "/subscriptions/"+s.cfg.Subscription), s.viewer(tx, c))
		})
	case len(rest) == 2 && rest[0] == "resourcegroups":
		return s.group
	case slices.Equal(rest, []string{"resources"}), len(rest) == 3 && rest[0] == "resourcegroups" && rest[2] == "resources":
		return readOnly(s.listEverything)
	case rest[0] == "providers":
		return s.provider(rest[1:])
	}
	return nil
}

// readOnly refuses other methods than GET.
func readOnly(h handler) handler {
	return func(tx *txn, c *call) (answer, error) {
		if c.Method != http.MethodGet {
			return answer{}, unknown("%s %s", c.Method, c.Target.id())
		}
		return h(tx, c)
	}
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
	{"eastus", "East US"},
	{"eastus2", "East US 2"},
	{"westus", "West US"},
	{"westus2", "West US 2"},
	{"westus3", "West US 3"},
	{"centralus", "Central US"},
	{"northcentralus", "North Central US"},
	{"southcentralus", "South Central US"},
	{"westcentralus", "West Central US"},
	{"northeurope", "North Europe"},
	{"westeurope", "West Europe"},
	{"germanywestcentral", "Germany West Central"},
	{"uksouth", "UK South"},
	{"francecentral", "France Central"},
	{"swedencentral", "Sweden Central"},
	{"switzerlandnorth", "Switzerland North"},
	{"southeastasia", "Southeast Asia"},
	{"eastasia", "East Asia"},
	{"japaneast", "Japan East"},
	{"australiaeast", "Australia East"},
	{"centralindia", "Central India"},
	{"canadacentral", "Canada Central"},
	{"brazilsouth", "Brazil South"},
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
	k := s.kind(groupType)
	c.ID = groupID(s.cfg.Subscription, c.Target.group)
	if r := tx.get(c.ID); r != nil {
		c.ID = r.ID
	} else if c.Method != http.MethodPut {
		return answer{}, s.checkScope(tx, c.Target)
	}
	switch c.Method {
	case http.MethodHead:
		return answer{Status: http.StatusNoContent}, nil
	case http.MethodGet:
		return s.getResource(tx, c, k)
	case http.MethodPut:
		return s.putResource(tx, c, k)
	case http.MethodPatch:
		return s.patchResource(tx, c, k)
	case http.MethodDelete:
		return s.deleteResource(tx, c, k)
	}
	return answer{}, unknown("%s %s", c.Method, c.Target.id())
}

// listEverything is the generic list of resources: $filter knows resourceType, name
// and location.
func (s *Server) listEverything(tx *txn, c *call) (answer, error) {
	scope := "/subscriptions/" + s.cfg.Subscription
	if c.Target.group != "" {
		scope = groupID(s.cfg.Subscription, c.Target.group)
	}
	if err := s.checkScope(tx, c.Target); err != nil {
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

// provider is the handler of what is below /subscriptions/S/providers and is no
// resource, or nil: the providers themselves and operations.
func (s *Server) provider(rest []string) handler {
	switch {
	case len(rest) == 0:
		return readOnly(func(tx *txn, _ *call) (answer, error) {
			var all []any
			for _, n := range namespaces {
				all = append(all, s.providerBody(tx, n))
			}
			return ok(object{"value": all}), nil
		})
	case len(rest) == 1:
		return readOnly(func(tx *txn, c *call) (answer, error) { return ok(s.providerBody(tx, c.Target.namespace)), nil })
	case len(rest) == 2 && rest[1] == "register":
		return s.register("Registered", "Registering")
	case len(rest) == 2 && rest[1] == "unregister":
		return s.register("NotRegistered", "Unregistering")
	case strings.Join(rest, "/") == "microsoft.insights/eventtypes/management/values":
		return readOnly(s.activityLog)
	case len(rest) == 5 && rest[1] == "locations" && (rest[3] == "operations" || rest[3] == "operationresults"):
		return readOnly(func(tx *txn, c *call) (answer, error) {
			return s.operationAnswer(tx, c, rest[4], rest[3] == "operations")
		})
	}
	return nil
}

// registering is how long a provider takes to be registered, or not any more.
const registering = 2 * time.Minute

// registrations is the kind of the hidden resources that hold the states of providers.
func registrations() kind {
	return kind{name: registration, transitions: map[string]transition{"registered": func(tx *txn, id string, args object) {
		if r := tx.get(id); r != nil && str(r.Hidden, "state") == str(args, "from") {
			tx.editHidden(id, func(h object) { h["state"] = str(args, "to") })
		}
	}}}
}

// register begins to bring a provider to a registration state.
func (s *Server) register(state, meanwhile string) handler {
	return func(tx *txn, c *call) (answer, error) {
		if c.Method != http.MethodPost {
			return answer{}, unknown("%s %s", c.Method, c.Target.id())
		}
		if tx.registered(c.Target.namespace) != state {
			id := s.registrationID(c.Target.namespace)
			tx.put(resource{ID: id, Type: registration, Hidden: object{"state": meanwhile}})
			tx.schedule(tx.now.Add(registering), registration, id, "registered", object{"from": meanwhile, "to": state})
		}
		return ok(s.providerBody(tx, c.Target.namespace)), nil
	}
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
