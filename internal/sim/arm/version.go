package arm

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// versionEntity is what Azure's errors call a version.
const versionEntity = "galleryImageVersion"

// versionName is what a version's name looks like.
var versionName = regexp.MustCompile(`^\d{1,10}\.\d{1,10}\.\d{1,10}$`)

// The states of a region of a version.
const (
	regionReplicating = "Replicating"
	regionCompleted   = "Completed"
	regionFailed      = "Failed"
)

// versions is the kind of image versions. Where a version is, region by region, is
// in Hidden under "regions": {"westus3": {"state", "from", "until", "progress",
// "details"}}, of which a region that is Completed needs the state only.
//
//	PUT, PATCH ─▶ Replicating ──until──▶ Completed | Failed      a region
//	   │
//	   └─▶ Creating, Updating ──the last until──▶ Succeeded | Failed   the version
func versions() kind {
	return kind{
		name:     versionType,
		complete: completeVersion,
		takes: func(tx *txn, w *write) time.Duration {
			longest := tx.server.rules.Write
			if w.Method == http.MethodDelete {
				return longest
			}
			for _, region := range newRegions(w) {
				longest = max(longest, tx.server.rules.replication(region))
			}
			return longest
		},
		stored:      replicate,
		end:         endVersion,
		remove:      removeVersion,
		view:        viewVersion,
		transitions: map[string]transition{"replicated": replicated},
	}
}

func completeVersion(tx *txn, w *write) error {
	if !versionName.MatchString(w.Target.name()) {
		return invalid("galleryImageVersionName", "The value of parameter galleryImageVersionName is invalid.")
	}
	if len(sub(w.Body, "properties.storageProfile")) == 0 {
		remove(w.Body, "properties.storageProfile")
	}
	if err := immutable(w, versionEntity, "properties.storageProfile.source", "properties.storageProfile.osDiskImage", "properties.storageProfile.dataDiskImages",
		"properties.publishingProfile.replicationMode", "properties.publishingProfile.storageAccountType",
		"properties.publishingProfile.storageAccountStrategy"); err != nil {
		return err
	}
	if err := needLocation(w); err != nil {
		return err
	}
	if err := checkSource(tx, w); err != nil {
		return err
	}
	profile := "properties.publishingProfile."
	setDefault(w.Body, profile+"replicaCount", whole(1))
	setDefault(w.Body, profile+"excludeFromLatest", false)
	setDefault(w.Body, profile+"replicationMode", "Full")
	setDefault(w.Body, profile+"storageAccountType", defaultStorage(w))
	set(w.Body, profile+"publishedDate", published(tx, w)) // read only, as the next
	remove(w.Body, "properties.replicationStatus")
	if w.create() && w.APIVersion >= "2026-03-03" {
		setDefault(w.Body, profile+"endOfLifeDate", stamp(tx.now.AddDate(0, 6, 0)))
		setDefault(w.Body, "properties.safetyProfile.blockDeletionBeforeEndOfLife", true)
	}
	if err := completeRegions(w); err != nil {
		return err
	}
	return keptRegions(w)
}

func defaultStorage(w *write) string {
	if str(w.Body, "properties.publishingProfile.storageAccountStrategy") == "PreferStandard_ZRS" {
		return "Standard_ZRS"
	}
	return "Standard_LRS"
}

// published is when a version was published: a PUT that leaves it out does not
// change it.
func published(tx *txn, w *write) any {
	if w.Old != nil {
		return dig(w.Old.Body, "properties.publishingProfile.publishedDate")
	}
	return stamp(tx.now)
}

// checkSource says whether a version's source is given and, as far as it is known
// here, in the version's region.
func checkSource(tx *txn, w *write) error {
	profile := sub(w.Body, "properties.storageProfile")
	if len(profile) == 0 {
		return invalid(versionEntity+".properties.storageProfile.source", "Required parameter '%s.properties.storageProfile.source' is missing (null).", versionEntity)
	}
	for _, path := range []string{"source.id", "source.virtualMachineId"} {
		source := tx.get(str(profile, path))
		if source == nil || strings.EqualFold(source.Type, versionType) {
			continue
		}
		if home := location(str(w.Body, "location")); location(str(source.Body, "location")) != home {
			return invalid(versionEntity+".properties.storageProfile.source", "The source '%s' must be in the region '%s' of the gallery image version.", source.ID, home)
		}
	}
	return nil
}

// completeRegions checks the target regions and writes them as Azure returns them.
func completeRegions(w *write) error {
	const path = "properties.publishingProfile.targetRegions"
	home := str(w.Body, "location")
	if dig(w.Body, path) == nil {
		set(w.Body, path, []any{object{"name": home}})
	}
	var names []string
	for _, r := range items(w.Body, path) {
		name := location(str(r, "name"))
		if name == "" {
			return invalid(versionEntity+"."+path, "Required parameter 'name' is missing (null).")
		}
		if slices.Contains(names, name) {
			return invalid(versionEntity+"."+path, "Duplicate regions are not allowed in target publishing regions.")
		}
		names = append(names, name)
		r["name"] = displayName(str(r, "name"))
		setDefault(r, "regionalReplicaCount", dig(w.Body, "properties.publishingProfile.replicaCount"))
		setDefault(r, "storageAccountType", dig(w.Body, "properties.publishingProfile.storageAccountType"))
		setDefault(r, "excludeFromLatest", false)
		if n, ok := integer(r, "regionalReplicaCount"); !ok || n < 1 || n > 100 {
			return invalid(versionEntity+"."+path, "The value of parameter regionalReplicaCount is invalid: it is at least 1 and at most 100.")
		}
	}
	if !slices.Contains(names, location(home)) {
		return invalid(versionEntity+"."+path, "Gallery image version publishing profile regions '%s' must contain the location of image version '%s'.",
			strings.Join(names, ", "), location(home))
	}
	return storageKept(w, path)
}

// storageKept refuses another storage type for a region that has the version.
func storageKept(w *write, path string) error {
	if w.Old == nil {
		return nil
	}
	for _, was := range items(w.Old.Body, path) {
		for _, is := range items(w.Body, path) {
			if location(str(was, "name")) == location(str(is, "name")) && !strings.EqualFold(str(was, "storageAccountType"), str(is, "storageAccountType")) {
				e := conflict("PropertyChangeNotAllowed", "Changing property '%s.%s.storageAccountType' is not allowed.", versionEntity, path)
				e.Target = versionEntity + "." + path
				return e
			}
		}
	}
	return nil
}

// keptRegions refuses to take a version away from a region when its safety profile
// forbids that.
func keptRegions(w *write) error {
	if w.Old == nil || dig(w.Body, "properties.safetyProfile.allowDeletionOfReplicatedLocations") != false {
		return nil
	}
	now := targetRegions(w.Body)
	for region := range sub(w.Old.Hidden, "regions") {
		if !slices.Contains(now, region) {
			return conflict("OperationNotAllowed", "Removing the replicated location '%s' from target regions is not allowed "+
				"because 'allowDeletionOfReplicatedLocations' of the safety profile is false.", region)
		}
	}
	return nil
}

// displayName writes a region as Azure returns it in target regions.
func displayName(name string) string {
	for _, r := range regions {
		if r[0] == location(name) {
			return r[1]
		}
	}
	return name
}

// targetRegions are the regions of a version's body, by id.
func targetRegions(body object) []string {
	var names []string
	for _, r := range items(body, "properties.publishingProfile.targetRegions") {
		names = append(names, location(str(r, "name")))
	}
	return names
}

// newRegions are those that do not have the version yet, or failed to get it.
func newRegions(w *write) []string {
	return slices.DeleteFunc(targetRegions(w.Body), func(region string) bool {
		if w.Old == nil {
			return false
		}
		state := str(w.Old.Hidden, "regions."+region+".state")
		return state != "" && state != regionFailed
	})
}

// replicate begins to bring the version to its new regions, and forgets those that
// are no target any more.
func replicate(tx *txn, w *write, r *resource) error {
	fresh := newRegions(w)
	targets := targetRegions(r.Body)
	tx.edit(r.ID, func(r *resource) {
		if r.Hidden == nil {
			r.Hidden = object{}
		}
		all := sub(r.Hidden, "regions")
		if all == nil {
			all = object{}
			r.Hidden["regions"] = all
		}
		for region := range all {
			if !slices.Contains(targets, region) {
				delete(all, region)
			}
		}
		for _, region := range fresh {
			rules := tx.server.rules.Regions[region]
			until := tx.now.Add(tx.server.rules.replication(region) + rules.Lag)
			all[region] = object{"state": regionReplicating, "from": tx.now.Format(time.RFC3339Nano), "until": until.Format(time.RFC3339Nano), "fails": rules.Fails}
			tx.schedule(until, versionType, r.ID, "replicated", object{"region": region, "until": until.Format(time.RFC3339Nano)})
		}
	})
	return nil
}

// replicated is the end of one region's replication, unless it was begun anew.
func replicated(tx *txn, id string, args object) {
	region := "regions." + str(args, "region")
	r := tx.get(id)
	if r == nil || str(r.Hidden, region+".until") != str(args, "until") {
		return
	}
	tx.editHidden(id, func(hidden object) {
		if why := str(hidden, region+".fails"); why != "" {
			set(hidden, region, object{"state": regionFailed, "details": why})
			return
		}
		set(hidden, region, object{"state": regionCompleted})
	})
}

// endVersion says how a write of a version ends: with an error when a region failed.
func endVersion(tx *txn, o operation) error {
	r := tx.get(o.Resource)
	if r == nil || o.Method == http.MethodDelete {
		return nil
	}
	var failed []string
	for _, region := range targetRegions(r.Body) {
		if str(r.Hidden, "regions."+region+".fails") != "" || str(r.Hidden, "regions."+region+".state") == regionFailed {
			failed = append(failed, displayName(region))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	first := "regions." + location(failed[0])
	why := str(r.Hidden, first+".fails")
	if why == "" {
		why = str(r.Hidden, first+".details")
	}
	return conflict("ReplicationJobsNotCompleted", "The replication jobs have not completed at regions '%s': %s", strings.Join(failed, ", "), why)
}

func removeVersion(tx *txn, w *write) error {
	if !boolean(w.Body, "properties.safetyProfile.blockDeletionBeforeEndOfLife") {
		return nil
	}
	end := str(w.Body, "properties.publishingProfile.endOfLifeDate")
	t, err := time.Parse(time.RFC3339, end)
	if err != nil || !t.After(tx.now) {
		return nil //nolint:nilerr // without a date that reads there is nothing to wait for
	}
	return conflict("OperationNotAllowed", "Deletion of the gallery image version '%s' is blocked until its end of life date '%s', "+
		"because 'blockDeletionBeforeEndOfLife' of the safety profile is true.", w.Target.name(), end)
}

// viewVersion adds the replication status when it was asked for.
func viewVersion(tx *txn, c *call, r *resource, body object) (object, error) {
	for part := range strings.SplitSeq(c.query("$expand"), ",") {
		switch strings.ToLower(strings.TrimSpace(part)) {
		case "", "uefisettings", "validationprofile": // nothing of these is simulated
		case "replicationstatus":
			set(body, "properties.replicationStatus", replicationStatus(tx, r))
		default:
			return nil, invalid("$expand", "The value '%s' of parameter '$expand' is invalid. The allowed values are 'ReplicationStatus,UefiSettings,ValidationProfile'.", part)
		}
	}
	return body, nil
}

func replicationStatus(tx *txn, r *resource) object {
	aggregated := regionCompleted
	summary := []any{}
	for _, region := range targetRegions(r.Body) {
		entry := sub(r.Hidden, "regions."+region)
		state := str(entry, "state")
		if state == "" {
			state = "Unknown"
		}
		switch {
		case state == regionFailed:
			aggregated = regionFailed
		case aggregated == regionFailed:
		case state == regionReplicating:
			aggregated = statusInProgress
		case state == "Unknown" && aggregated == regionCompleted:
			aggregated = "Unknown"
		}
		summary = append(summary, object{"region": displayName(region), "state": state, "progress": progress(tx.now, entry), "details": str(entry, "details")})
	}
	return object{"aggregatedState": aggregated, "summary": summary}
}

// progress is how far a region is, in percent.
func progress(now time.Time, entry object) int {
	if str(entry, "state") == regionCompleted {
		return 100
	}
	if n, ok := integer(entry, "progress"); ok {
		return n
	}
	from, err1 := time.Parse(time.RFC3339Nano, str(entry, "from"))
	until, err2 := time.Parse(time.RFC3339Nano, str(entry, "until"))
	if err1 != nil || err2 != nil || !until.After(from) {
		return 0
	}
	return min(99, int(100*now.Sub(from)/until.Sub(from)))
}

// An image is what an image reference means at one moment in one region.
type image struct {
	version *resource // nil when it is not of a Compute Gallery
	exact   string    // exactVersion; "" when there are no versions
}

// resolve says what an image reference means now in a region: the version that it
// names, or the latest one of its definition. The error is Azure's
// GalleryImageNotFound.
func (tx *txn) resolve(ref object, region string) (image, error) {
	id := strings.TrimRight(str(ref, "id"), "/")
	if id == "" {
		return tx.resolveOther(ref)
	}
	definition, name, versioned := cutFold(id, "/versions/")
	if !strings.Contains(strings.ToLower(id), "/galleries/") {
		return image{}, nil // a managed image
	}
	if versioned && !strings.EqualFold(name, "latest") {
		r := tx.get(id)
		if r == nil || !usable(r, region) {
			return image{}, imageNotFound(id, region)
		}
		return image{version: r, exact: r.name()}, nil
	}
	if r := tx.latest(definition, region); r != nil {
		return image{version: r, exact: r.name()}, nil
	}
	return image{}, imageNotFound(id, region)
}

// resolveOther resolves what is not in a gallery of this subscription: the Marketplace
// says which version is its latest, which here is always the same.
func (tx *txn) resolveOther(ref object) (image, error) {
	version := str(ref, "version")
	switch {
	case str(ref, "communityGalleryImageId") != "" || str(ref, "sharedGalleryImageId") != "":
		return image{}, unknown("what images community galleries and shared galleries have")
	case version == "":
		return image{}, nil
	case strings.EqualFold(version, "latest"):
		return image{exact: "22.04.202611010"}, nil
	}
	return image{exact: version}, nil
}

// latest is the highest version of a definition that is not excluded, was provisioned
// and is in a region, or nil.
func (tx *txn) latest(definition, region string) *resource {
	var best *resource
	for _, r := range tx.list(versionType, definition) {
		if r.state() == statusSucceeded && usable(r, region) && !excluded(r, region) && (best == nil || lessVersion(best.name(), r.name())) {
			best = r
		}
	}
	return best
}

// usable says whether a version can be deployed in a region.
func usable(r *resource, region string) bool {
	return str(r.Hidden, "regions."+location(region)+".state") == regionCompleted
}

// excluded says whether a version is never the latest one in a region.
func excluded(r *resource, region string) bool {
	if boolean(r.Body, "properties.publishingProfile.excludeFromLatest") {
		return true
	}
	for _, target := range items(r.Body, "properties.publishingProfile.targetRegions") {
		if location(str(target, "name")) == location(region) {
			return boolean(target, "excludeFromLatest")
		}
	}
	return false
}

// lessVersion compares versions by their numbers.
func lessVersion(a, b string) bool {
	return slices.Compare(versionNumbers(a), versionNumbers(b)) < 0
}

func versionNumbers(name string) []int64 {
	var numbers []int64
	for part := range strings.SplitSeq(name, ".") {
		n, _ := strconv.ParseInt(part, 10, 64) // the name was checked
		numbers = append(numbers, n)
	}
	return numbers
}

func imageNotFound(id, region string) error {
	e := errorf(http.StatusNotFound, "GalleryImageNotFound", "%s", fmt.Sprintf("The gallery image %s is not available in %s region. "+
		"Please contact image owner to replicate to this region, or change your requested region.", id, location(region)))
	e.Target = "imageReference"
	return e
}

// cutFold is strings.Cut without regard to case.
func cutFold(s, sep string) (before, after string, found bool) {
	if i := strings.Index(strings.ToLower(s), strings.ToLower(sep)); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
