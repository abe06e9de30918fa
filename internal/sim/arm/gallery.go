package arm

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The types of Compute Galleries.
const (
	galleryType    = "Microsoft.Compute/galleries"
	definitionType = "Microsoft.Compute/galleries/images"
	versionType    = "Microsoft.Compute/galleries/images/versions"
)

// Rules say how long things take and what fails, where Azure does not promise
// anything. The zero value of each is what is usual.
type Rules struct {
	// Write is how long a small write takes: 5 s.
	Write time.Duration
	// Replication is how long a version takes to a region: 10 minutes.
	Replication time.Duration
	// Regions are those where it is otherwise, by id: "westus3".
	Regions map[string]RegionRules
	// Machines say what stands behind virtual machines.
	Machines MachineRules
	// Platform says what the platform does by itself.
	Platform PlatformRules
}

// RegionRules are the Rules of one region.
type RegionRules struct {
	Replication time.Duration // 0: as everywhere
	// Lag is how long a region still lacks the version after its operation has
	// succeeded.
	Lag time.Duration
	// Fails is why replication to the region fails; "" means that it does not.
	Fails string
}

func (r *Rules) fill() {
	if r.Write == 0 {
		r.Write = 5 * time.Second
	}
	if r.Replication == 0 {
		r.Replication = 10 * time.Minute
	}
	if r.Platform.AutoOSDelay == 0 {
		r.Platform.AutoOSDelay = 30 * time.Minute
	}
}

// replication is how long a version takes to a region.
func (r *Rules) replication(region string) time.Duration {
	if d := r.Regions[region].Replication; d > 0 {
		return d
	}
	return r.Replication
}

// briefly is the takes of kinds whose writes are small.
func briefly(tx *txn, _ *write) time.Duration { return tx.server.rules.Write }

// entityName is the rule for the names of galleries and definitions.
var entityName = regexp.MustCompile(`^[^_\W][\w\-.]{0,79}$`)

// checkName says whether a gallery or a definition may have its name.
func checkName(w *write, what string) error {
	name := w.Target.name()
	if entityName.MatchString(name) && !strings.HasSuffix(name, "-") && !strings.HasSuffix(name, ".") {
		return nil
	}
	return invalid(what, `The entity name '%s' is invalid according to its validation rule: ^[^_\W][\w-._]{0,79}(?<![-.])$.`, what)
}

// galleries is the kind of Compute Galleries.
func galleries() kind {
	return kind{
		name:  galleryType,
		takes: briefly,
		complete: func(tx *txn, w *write) error {
			if err := checkName(w, "galleryName"); err != nil {
				return err
			}
			set(w.Body, "properties.identifier", object{"uniqueName": tx.server.cfg.Subscription + "-" + strings.ToUpper(w.Target.name())})
			return needLocation(w)
		},
		remove: childless,
	}
}

// needLocation refuses a resource without a location, and a change of it.
func needLocation(w *write) error {
	where := str(w.Body, "location")
	if where == "" {
		return errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	if w.Old != nil && location(str(w.Old.Body, "location")) != location(where) {
		return conflict("InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. "+
			"A resource with the same name cannot be created in location '%s'. Please select a new resource name.",
			w.Target.name(), location(str(w.Old.Body, "location")), w.Target.group, location(where))
	}
	return nil
}

// childless refuses to delete what has something of its own service below it. Role
// assignments and the like go with it.
func childless(tx *txn, w *write) error {
	child := func(r *resource) bool {
		return strings.HasPrefix(strings.ToLower(r.Type), strings.ToLower(w.Old.Type)+"/")
	}
	if slices.ContainsFunc(tx.list("", w.ID), child) {
		return conflict("CannotDeleteResource", "Can not delete resource before nested resources are deleted.")
	}
	return nil
}

// immutable refuses a change of a property that cannot be changed, in Azure's words.
// What is left out stays as it was. Ids and regions are compared without regard to
// case.
func immutable(w *write, entity string, paths ...string) error {
	if w.Old == nil {
		return nil
	}
	for _, path := range paths {
		was, is := dig(w.Old.Body, path), dig(w.Body, path)
		if is == nil {
			if was != nil {
				set(w.Body, path, cloneAny(was))
			}
			continue
		}
		if !same(was, is) {
			e := conflict("PropertyChangeNotAllowed", "Changing property '%s.%s' is not allowed.", entity, path)
			e.Target = entity + "." + path
			return e
		}
	}
	return nil
}

// same compares two JSON values, text without regard to case.
func same(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && strings.EqualFold(a, b)
	case object:
		b, ok := b.(object)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			if other, ok := b[key]; !ok || !same(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	}
	return a == b
}

// need refuses a body without one of the properties.
func need(body object, entity string, paths ...string) error {
	for _, path := range paths {
		if v := dig(body, path); v == nil || v == "" {
			name := path[strings.LastIndexByte(path, '.')+1:]
			return invalid(entity+"."+path, "Required parameter '%s.%s' is missing (null).", entity, name)
		}
	}
	return nil
}

// definitions is the kind of image definitions, which cannot be changed but for what
// describes them.
func definitions() kind {
	return kind{
		name:  definitionType,
		takes: briefly,
		complete: func(_ *txn, w *write) error {
			if err := checkName(w, "galleryImageName"); err != nil {
				return err
			}
			if err := immutable(w, "galleryImage", "properties.osType", "properties.osState", "properties.identifier",
				"properties.hyperVGeneration", "properties.architecture"); err != nil {
				return err
			}
			if err := needLocation(w); err != nil {
				return err
			}
			if err := need(w.Body, "galleryImage", "properties.osType", "properties.osState",
				"properties.identifier.publisher", "properties.identifier.offer", "properties.identifier.sku"); err != nil {
				return err
			}
			for path, values := range map[string][]string{"properties.osType": {"Linux", "Windows"}, "properties.osState": {"Generalized", "Specialized"}} {
				if !slices.Contains(values, str(w.Body, path)) {
					return invalid("galleryImage."+path, "The value '%s' of parameter 'galleryImage.%s' is not one of %s.", str(w.Body, path), path, strings.Join(values, ", "))
				}
			}
			if err := featuresFixed(w); err != nil {
				return err
			}
			defaultGeneration(w)
			return nil
		},
		remove: childless,
	}
}

// featuresFixed refuses a change of the features, unless allowUpdateImage says that
// they may be changed.
func featuresFixed(w *write) error {
	if boolean(w.Body, "properties.allowUpdateImage") {
		return nil
	}
	return immutable(w, "galleryImage", "properties.features")
}

// defaultGeneration adds what a definition is that does not say: since API version
// 2025-03-03 generation 2 with Trusted Launch supported.
func defaultGeneration(w *write) {
	if w.Old != nil {
		return
	}
	if w.APIVersion < "2025-03-03" {
		setDefault(w.Body, "properties.hyperVGeneration", "V1")
		return
	}
	given := dig(w.Body, "properties.hyperVGeneration") != nil
	setDefault(w.Body, "properties.hyperVGeneration", "V2")
	setDefault(w.Body, "properties.architecture", "x64")
	if !given {
		setDefault(w.Body, "properties.features", []any{object{"name": "SecurityType", "value": "TrustedLaunchSupported"}})
	}
}
