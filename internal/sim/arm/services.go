package arm

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The types of the services around scale sets and galleries.
const (
	autoscaleType = "Microsoft.Insights/autoscalesettings"
	identityType  = "Microsoft.ManagedIdentity/userAssignedIdentities"
	networkType   = "Microsoft.Network/virtualNetworks"
	subnetType    = "Microsoft.Network/virtualNetworks/subnets"
)

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
		stored: func(tx *txn, _ *write, r *resource) error {
			tx.watchLoad(targetOf(r.Body))
			return nil
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
	if err := checkPredictive(body, mode, profiles); err != nil {
		return err
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

// checkPredictive: what is foretold is Percentage CPU, an hour ahead at most.
func checkPredictive(body object, mode string, profiles []object) error {
	ahead, given := parseISO(str(body, "properties.predictiveAutoscalePolicy.scaleLookAheadTime"))
	if given && (ahead < time.Minute || ahead > time.Hour) {
		return autoscaleError("The scaleLookAheadTime '%s' of the predictive autoscale policy is not between 'PT1M' and 'PT1H'.", iso(ahead))
	}
	if mode == "" || mode == "Disabled" {
		return nil
	}
	for _, p := range profiles {
		for _, r := range items(p, "rules") {
			if metric := str(r, "metricTrigger.metricName"); str(r, "scaleAction.direction") == "Increase" && metric != "Percentage CPU" {
				return autoscaleError("The predictive autoscale policy does not support the metricName '%s': it is 'Percentage CPU'.", metric)
			}
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
