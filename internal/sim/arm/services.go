package arm

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The types of the services around scale sets and galleries.
const (
	templateType       = "Microsoft.VirtualMachineImages/imageTemplates"
	autoscaleType      = "Microsoft.Insights/autoscalesettings"
	identityType       = "Microsoft.ManagedIdentity/userAssignedIdentities"
	networkType        = "Microsoft.Network/virtualNetworks"
	subnetType         = "Microsoft.Network/virtualNetworks/subnets"
	roleAssignmentType = "Microsoft.Authorization/roleAssignments"
)

// templateProperties are those that Image Builder knows; since API version
// 2024-02-01 it refuses others, with regard to case.
var templateProperties = []string{
	"source", "customize", "optimize", "validate", "distribute", "errorHandling", "buildTimeoutInMinutes", "vmProfile",
	"stagingResourceGroup", "autoRun", "managedResourceTags",
	"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup", // read only
}

// templates is the kind of image templates: they are stored, and never built.
func templates() kind {
	notBuilt := func(*txn, *call) (answer, error) {
		return answer{}, errorf(http.StatusNotImplemented, "NotSimulated", "fleetsim does not build images yet")
	}
	return kind{
		name:     templateType,
		complete: completeTemplate,
		takes: func(tx *txn, w *write) time.Duration {
			if w.Method == http.MethodPatch {
				return 0
			}
			return tx.server.rules.Write
		},
		patch: func(_ *txn, w *write, patch object) (object, error) {
			for name := range sub(patch, "properties") {
				if name != "distribute" && name != "vmProfile" {
					return nil, conflict("Conflict", "Update/Upgrade of image templates is currently not supported")
				}
			}
			return merge(w.Old.Body, patch), nil
		},
		remove: func(_ *txn, w *write) error {
			run := str(w.Body, "properties.lastRunStatus.runState")
			if w.Old.Busy != "" || run == "Running" || run == "Canceling" {
				return conflict("Conflict", "The image template '%s' cannot be deleted while it is being created, run or canceled.", w.Target.name())
			}
			return nil
		},
		actions: map[string]handler{"run": notBuilt, "cancel": notBuilt},
	}
}

func completeTemplate(_ *txn, w *write) error {
	if w.Method == http.MethodPut && w.Old != nil {
		return conflict("Conflict", "Update/Upgrade of image templates is currently not supported")
	}
	if err := needLocation(w); err != nil {
		return err
	}
	if w.APIVersion >= "2024-02-01" {
		for name := range sub(w.Body, "properties") {
			if !slices.Contains(templateProperties, name) {
				return errorf(http.StatusBadRequest, "ValidationFailed", "Validation failed: Could not find member '%s' on object of type 'ImageTemplateProperties'.", name)
			}
		}
	}
	if err := need(w.Body, "imageTemplate", "properties.source", "properties.distribute"); err != nil {
		return err
	}
	if minutes, given := integer(w.Body, "properties.buildTimeoutInMinutes"); given && minutes != 0 && (minutes < 6 || minutes > 960) {
		return errorf(http.StatusBadRequest, "ValidationFailed", "Validation failed: buildTimeoutInMinutes is 0 or from 6 to 960.")
	}
	return nil
}

// autoscaleSettings is the kind of autoscale settings.
func autoscaleSettings() kind {
	return kind{
		name: autoscaleType,
		bare: true,
		complete: func(_ *txn, w *write) error {
			if err := needLocation(w); err != nil {
				return err
			}
			setDefault(w.Body, "properties.name", w.Target.name())
			setDefault(w.Body, "properties.enabled", false)
			return checkAutoscale(w.Body)
		},
	}
}

// maxProfiles is how many profiles a setting may have.
const maxProfiles = 20

func checkAutoscale(body object) error {
	profiles := items(body, "properties.profiles")
	if len(profiles) == 0 || len(profiles) > maxProfiles {
		return autoscaleError("An autoscale setting has at least one profile and at most %d.", maxProfiles)
	}
	mode := str(body, "properties.predictiveAutoscalePolicy.scaleMode")
	if sub(body, "properties.predictiveAutoscalePolicy") != nil && !slices.Contains([]string{"Disabled", "ForecastOnly", "Enabled"}, mode) {
		return autoscaleError("The scaleMode '%s' of the predictive autoscale policy is none of Disabled, ForecastOnly, Enabled.", mode)
	}
	for _, p := range profiles {
		name := str(p, "name")
		if name == "" {
			return autoscaleError("A profile has no name.")
		}
		var bounds [3]int
		for i, bound := range []string{"minimum", "default", "maximum"} {
			n, err := strconv.Atoi(str(p, "capacity."+bound))
			if err != nil || n < 0 {
				return autoscaleError("The capacity.%s of profile '%s' is no whole number in a string.", bound, name)
			}
			bounds[i] = n
		}
		if bounds[0] > bounds[1] || bounds[1] > bounds[2] {
			return autoscaleError("The capacity of profile '%s' is not minimum <= default <= maximum.", name)
		}
	}
	return nil
}

func autoscaleError(format string, args ...any) error {
	return errorf(http.StatusBadRequest, "InvalidAutoscaleSetting", format, args...)
}

// identities is the kind of user-assigned identities. Their ids follow from theirs.
func identities() kind {
	return kind{
		name: identityType,
		bare: true,
		complete: func(_ *txn, w *write) error {
			set(w.Body, "properties.tenantId", tenantID)
			set(w.Body, "properties.principalId", guid("principal", key(w.ID)))
			set(w.Body, "properties.clientId", guid("client", key(w.ID)))
			return needLocation(w)
		},
	}
}

// networks is the kind of virtual networks, whose subnets are resources of their own
// and also a property.
func networks() kind {
	return kind{
		name: networkType,
		complete: func(_ *txn, w *write) error {
			if err := needLocation(w); err != nil {
				return err
			}
			for _, s := range items(w.Body, "properties.subnets") {
				if str(s, "name") == "" {
					return errorf(http.StatusBadRequest, "InvalidRequestFormat", "A subnet of the virtual network '%s' has no name.", w.Target.name())
				}
			}
			return nil
		},
		stored: func(tx *txn, _ *write, r *resource) error {
			return storeSubnets(tx, r)
		},
		view: func(tx *txn, _ *call, r *resource, body object) (object, error) {
			if dig(body, "properties.subnets") != nil {
				return body, nil // as a scenario wrote it
			}
			subnets := []any{}
			for _, s := range tx.list(subnetType, r.ID) {
				o := clone(s.Body)
				o["id"], o["name"], o["type"], o["etag"] = s.ID, s.name(), s.Type, s.ETag
				subnets = append(subnets, o)
			}
			set(body, "properties.subnets", subnets)
			return body, nil
		},
		bodyETag: true,
	}
}

// storeSubnets makes resources of a network's property subnets, in place of those
// that were there. A network that was put without the property keeps them.
func storeSubnets(tx *txn, network *resource) error {
	if dig(network.Body, "properties.subnets") == nil {
		return nil
	}
	kept := map[string]bool{}
	for _, s := range items(network.Body, "properties.subnets") {
		id := network.ID + "/subnets/" + str(s, "name")
		body := clone(s)
		for _, name := range []string{"id", "name", "type", "etag"} {
			delete(body, name)
		}
		set(body, "properties.provisioningState", statusSucceeded)
		tx.put(resource{ID: id, Type: subnetType, Body: body})
		kept[key(id)] = true
	}
	for _, old := range tx.list(subnetType, network.ID) {
		if !kept[key(old.ID)] {
			tx.delete(old.ID)
		}
	}
	tx.edit(network.ID, func(r *resource) { remove(r.Body, "properties.subnets") })
	return nil
}

// subnets is the kind of subnets.
func subnets() kind {
	return kind{name: subnetType, bodyETag: true}
}

// guidName is what the name of a role assignment looks like.
var guidName = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// roleAssignments is the kind of role assignments, at any scope. Nothing is refused
// for lack of one.
func roleAssignments() kind {
	return kind{
		name: roleAssignmentType,
		bare: true,
		complete: func(tx *txn, w *write) error {
			if !guidName.MatchString(w.Target.name()) {
				return errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", w.Target.name())
			}
			if err := need(w.Body, "roleAssignment", "properties.roleDefinitionId", "properties.principalId"); err != nil {
				return err
			}
			if w.Old != nil {
				for _, path := range []string{"properties.roleDefinitionId", "properties.principalId"} {
					if !same(dig(w.Old.Body, path), dig(w.Body, path)) {
						return errorf(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
					}
				}
			}
			for _, other := range tx.list(roleAssignmentType, w.Target.scope) {
				if w.Old == nil && assignmentScope(other) == key(tx.canonicalScope(w.Target)) && same(sub(other.Body, "properties")["principalId"], dig(w.Body, "properties.principalId")) &&
					same(sub(other.Body, "properties")["roleDefinitionId"], dig(w.Body, "properties.roleDefinitionId")) {
					return conflict("RoleAssignmentExists", "The role assignment already exists.")
				}
			}
			setDefault(w.Body, "properties.principalType", "ServicePrincipal")
			set(w.Body, "properties.scope", tx.canonicalScope(w.Target))
			set(w.Body, "properties.updatedOn", stamp(tx.now))
			setDefault(w.Body, "properties.createdOn", stamp(tx.now))
			return nil
		},
		methods: map[string]handler{"LIST": listRoleAssignments},
	}
}

// assignmentScope is the scope of a role assignment, as the store knows it.
func assignmentScope(r *resource) string {
	scope, _, _ := cutFold(r.ID, "/providers/"+roleAssignmentType)
	return key(scope)
}

// listRoleAssignments lists those that count at a scope: at it, above it and, without
// the filter atScope(), below it.
func listRoleAssignments(tx *txn, c *call) (answer, error) {
	filter := strings.TrimSpace(c.query("$filter"))
	principal := ""
	var onlyAbove bool
	switch fields := strings.Fields(filter); {
	case filter == "":
	case strings.EqualFold(filter, "atScope()"):
		onlyAbove = true
	case len(fields) == 3 && strings.EqualFold(fields[0], "principalId") && strings.EqualFold(fields[1], "eq"):
		principal = strings.Trim(fields[2], "'")
	case strings.HasPrefix(strings.ToLower(filter), "assignedto("):
		principal = strings.Trim(filter[len("assignedto("):], "'()")
	default:
		return answer{}, unknown("the $filter '%s' of role assignments", filter)
	}
	at := key(c.Target.scope) + "/"
	var all []*resource
	for _, r := range tx.list(roleAssignmentType, "/subscriptions/"+tx.server.cfg.Subscription) {
		scope := assignmentScope(r) + "/"
		above, below := strings.HasPrefix(at, scope), strings.HasPrefix(scope, at)
		if (above || below && !onlyAbove) && (principal == "" || strings.EqualFold(principal, str(r.Body, "properties.principalId"))) {
			all = append(all, r)
		}
	}
	return tx.server.page(c, all, tx.server.viewer(tx, c))
}

// permissions is the kind of what a caller may do at a scope: everything.
func permissions() kind {
	return kind{
		name: "Microsoft.Authorization/permissions", orphan: true,
		methods: map[string]handler{"LIST": func(*txn, *call) (answer, error) {
			return ok(object{"value": []any{object{"actions": []any{"*"}, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{}}}}), nil
		}},
	}
}
