package arm

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// machineKind is the kind of virtual machines: members of scale sets, and any
// other that is put. Hidden are
//
//	model       what of its set's model it was made from (see modelOf), or custom
//	boot        how many times it has booted
//	power       running, stopped, deallocated, starting or deallocating
//	down        its disk is being replaced
//	health      Healthy, Unhealthy, Unknown, Initializing or missing
//	healthAt    when that was seen
//	extensions  what runs on it: name, publisher, type, version, settings
//	event       the scheduled event that it is told of (see machines.go)
//	command     the operation of the last Run Command
//	failure     why it could not be allocated or upgraded: code and message
//	protection  protectionPolicy, which only the set's view of a member has
//	latest      what latestModelApplied says, when it lies
//	sick, ...   what automatic repairs know (see repairs.go)
//	before      the image reference of its old disk, after an upgrade of the OS
//	vanished    the set lists it and it is not there
func machineKind() kind {
	return kind{
		name: vmType, bodyETag: true, preempts: true,
		complete: completeVM,
		takes: func(_ *txn, w *write) time.Duration {
			if w.Method == http.MethodDelete {
				return deleteTime + noticeOfMember(w.Old)
			}
			return modelTime
		},
		remove: func(tx *txn, w *write) error {
			tx.leave(w.Old)
			if notice := noticeOfMember(w.Old); notice > 0 {
				tx.tell(w.ID, eventTerminate, notice)
			}
			return nil
		},
		end:   func(tx *txn, o operation) error { return tx.endMemberAction(o) },
		view:  viewVM,
		match: matchVMs,
		actions: map[string]handler{
			"deallocate":       ofMachine(powerOne("deallocate")),
			"poweroff":         ofMachine(powerOne("poweroff")),
			"restart":          ofMachine(powerOne("restart")),
			"start":            ofMachine(powerOne("start")),
			"reimage":          ofMachine(reimageOne),
			"simulateeviction": ofMachine(evictOne),
			"runcommand":       ofMachine(runCommand),
		},
		reads: map[string]handler{"instanceview": ofMachine(viewOne)},
		transitions: map[string]transition{
			"running":       func(tx *txn, id string, _ object) { tx.running(id) },
			"unallocated":   (*txn).unallocated,
			"reported":      func(tx *txn, id string, _ object) { tx.reported(id) },
			"gone":          func(tx *txn, id string, _ object) { tx.delete(id) },
			"repair":        (*txn).repair,
			"reimaged":      (*txn).reimaged,
			"restore":       (*txn).restart,
			"evicted":       func(tx *txn, id string, _ object) { tx.evicted(id) },
			"restored":      (*txn).restored,
			"command ended": (*txn).commandEnded,
		},
	}
}

// ofMachine answers with the machine that a call names.
func ofMachine(f func(tx *txn, c *call, r *resource) (answer, error)) handler {
	return func(tx *txn, c *call) (answer, error) {
		r := tx.get(c.ID)
		if boolean(r.Hidden, "vanished") {
			return answer{}, notFound(c.Target)
		}
		return f(tx, c, r)
	}
}

// byLocation is the kind of the lists of a type in one region.
func byLocation(typ string) kind {
	namespace, name, _ := strings.Cut(typ, "/")
	return kind{
		name: namespace + "/locations/" + name, orphan: true,
		methods: map[string]handler{"LIST": func(tx *txn, c *call) (answer, error) {
			region := location(c.Target.names[0])
			all := slices.DeleteFunc(tx.list(typ, c.Target.scope), func(r *resource) bool {
				return location(str(r.Body, "location")) != region || boolean(r.Hidden, "vanished")
			})
			return tx.server.page(c, all, tx.server.viewer(tx, c))
		}},
	}
}

// completeVM adds what Azure adds to a machine that a client puts. A member whose
// own model was written is not what its set's model says any more.
func completeVM(tx *txn, w *write) error {
	if err := needLocation(w); err != nil {
		return err
	}
	if w.Hidden == nil {
		w.Hidden = object{"power": "running", "health": "missing", "extensions": []any{}}
	}
	if w.Old == nil {
		set(w.Body, "properties.vmId", guid("machine", key(w.ID), stamp(tx.now)))
		set(w.Body, "properties.timeCreated", stamp(tx.now))
		return tx.attach(w)
	}
	for _, path := range []string{"properties.vmId", "properties.timeCreated", "properties.virtualMachineScaleSet"} {
		if known := dig(w.Old.Body, path); known != nil {
			set(w.Body, path, cloneAny(known))
		}
	}
	keepSecrets(w.Old.Body, w.Body, "properties.osProfile")
	if ownModelChanged(w.Old.Body, w.Body) {
		w.Hidden["model"] = customModel
	}
	return nil
}

// customModel is the model of a member that was written by itself.
const customModel = "custom"

// ownModel are the parts of a machine that come from its set's model.
var ownModel = []string{"hardwareProfile", "storageProfile", "osProfile", "networkProfile", "networkProfileConfiguration", "securityProfile"}

func ownModelChanged(old, body object) bool {
	return slices.ContainsFunc(ownModel, func(name string) bool {
		before, after := sub(old, "properties."+name), sub(body, "properties."+name)
		return after != nil && !slices.Equal(flat(before), flat(after))
	})
}

// attach makes a machine that is put with a scale set one of its members.
func (tx *txn) attach(w *write) error {
	id := str(w.Body, "properties.virtualMachineScaleSet.id")
	if id == "" {
		return nil
	}
	r := tx.get(id)
	if r == nil {
		return invalid("virtualMachineScaleSet.id", "The Virtual Machine Scale Set '%s' could not be found.", id)
	}
	w.Hidden["model"] = customModel
	tx.edit(id, func(r *resource) { set(r.Body, "sku.capacity", whole(capacityOf(r.Body)+1)) })
	return nil
}

// leave lowers the capacity of the set that a machine which is deleted belongs to.
func (tx *txn) leave(r *resource) {
	if r == nil || r.state() == "Deleting" {
		return
	}
	tx.edit(setOf(r), func(r *resource) { set(r.Body, "sku.capacity", whole(max(capacityOf(r.Body)-1, 0))) })
	tx.watchLoad(setOf(r))
}

// setOf is the id of the scale set that a machine belongs to, or "".
func setOf(r *resource) string { return str(r.Body, "properties.virtualMachineScaleSet.id") }

// scopeOf is the resource group of a resource's id.
func scopeOf(id string) string {
	scope, _, _ := strings.Cut(id, "/providers/")
	return scope
}

// listed returns the machines of a scale set, those that are being deleted too.
func (tx *txn) listed(setID string) []*resource {
	all := tx.list(vmType, scopeOf(setID))
	return slices.DeleteFunc(all, func(r *resource) bool { return key(setOf(r)) != key(setID) })
}

// members returns the machines of a scale set that stay.
func (tx *txn) members(setID string) []*resource {
	return slices.DeleteFunc(tx.listed(setID), func(r *resource) bool { return r.state() == "Deleting" })
}

// member returns the machine of a set with a name, or nil.
func (tx *txn) member(setID, name string) *resource {
	r := tx.get(scopeOf(setID) + "/providers/" + vmType + "/" + name)
	if r == nil || key(setOf(r)) != key(setID) {
		return nil
	}
	return r
}

// scale makes and deletes members until there are as many as sku.capacity says.
func (tx *txn) scale(setID string) error {
	r := tx.get(setID)
	if r == nil || r.Body["sku"] == nil || sub(r.Body, profile) == nil {
		return nil // a set without a model: machines are attached to it
	}
	leave := ids(r.Hidden, "roll.leave") // others have taken their places
	members := slices.DeleteFunc(tx.members(setID), func(m *resource) bool { return slices.Contains(leave, m.ID) })
	want := capacityOf(r.Body)
	for _, m := range victims(r.Body, members, len(members)-want) {
		tx.depart(m.ID)
	}
	if want <= len(members) {
		return nil
	}
	img, err := tx.resolve(sub(r.Body, imagePath), str(r.Body, "location"))
	if err != nil {
		return err
	}
	return tx.populate(r, birth{exact: img.exact}, want-len(members))
}

// depart lets a member go, which hears of it before when its model says so. It
// returns how long that takes.
func (tx *txn) depart(id string) time.Duration {
	r := tx.edit(id, func(r *resource) { set(r.Body, "properties.provisioningState", "Deleting") })
	notice := noticeOfMember(r)
	if notice > 0 {
		tx.tell(id, eventTerminate, notice)
	}
	tx.note(event{Operation: vmType + "/delete", Caller: cmp.Or(tx.by, platform), Resource: id})
	tx.schedule(tx.now.Add(deleteTime+notice), vmType, id, "gone", nil)
	return deleteTime + notice
}

// noticeOfMember is how long a member that is deleted hears of it before.
func noticeOfMember(r *resource) time.Duration {
	const notice = "properties.scheduledEventsProfile.terminateNotificationProfile"
	if !boolean(r.Body, notice+".enable") {
		return 0
	}
	d, _ := parseISO(str(r.Body, notice+".notBeforeTimeout"))
	return cmp.Or(d, 5*time.Minute)
}

// victims picks the n members that a scale-in deletes: never a protected one; from
// the zone with the most, the newest of them, or as scaleInPolicy says.
func victims(body object, members []*resource, n int) []*resource {
	left := slices.DeleteFunc(slices.Clone(members), func(r *resource) bool {
		return boolean(r.Hidden, "protection.protectFromScaleIn")
	})
	var rule string
	if rules, _ := dig(body, "properties.scaleInPolicy.rules").([]any); len(rules) > 0 {
		rule, _ = rules[0].(string)
	}
	var gone []*resource
	for len(gone) < n && len(left) > 0 {
		inZone := map[string]int{}
		for _, r := range left {
			inZone[zoneOf(r)]++
		}
		pick := slices.MaxFunc(left, func(a, b *resource) int {
			age := cmp.Or(cmp.Compare(str(a.Body, "properties.timeCreated"), str(b.Body, "properties.timeCreated")), cmp.Compare(a.ID, b.ID))
			if rule == "OldestVM" {
				age = -age
			}
			return cmp.Or(cmp.Compare(inZone[zoneOf(a)], inZone[zoneOf(b)]), age)
		})
		gone = append(gone, pick)
		left = slices.DeleteFunc(left, func(r *resource) bool { return r == pick })
	}
	return gone
}

func zoneOf(r *resource) string {
	zones, _ := r.Body["zones"].([]any)
	if len(zones) == 0 {
		return ""
	}
	zone, _ := zones[0].(string)
	return zone
}

// A birth says what a new member is, where its set's model leaves it open.
type birth struct {
	exact string // exact version of its image
	name  string // "" makes one
	zone  string // "" takes the zone with the fewest
	spot  *bool  // nil asks the set's mix

	repaired int // it takes the place of one that was repaired so many times in a row
}

// bear makes a member from its set's model, in creation.
func (tx *txn) bear(setID string, b birth) *resource {
	r := tx.get(setID)
	if b.name == "" {
		b.name = tx.newName(r)
		r = tx.get(setID)
	}
	if zones, _ := r.Body["zones"].([]any); b.zone == "" && len(zones) > 0 {
		b.zone = emptiest(r.Body, tx.members(setID))
	}
	if b.spot == nil {
		spot := nextIsSpot(r.Body, tx.members(setID))
		b.spot = &spot
	}
	id := scopeOf(r.ID) + "/providers/" + vmType + "/" + b.name
	hidden := object{"model": modelOf(r.Body), "power": "starting", "health": "missing", "extensions": installed(r.Body)}
	if b.repaired > 0 {
		hidden["repairing"], hidden["repaired"] = true, whole(b.repaired)
	}
	return tx.put(resource{ID: id, Type: vmType, Body: machineBody(r, b, id, tx.now), Hidden: hidden})
}

// newName is a name as Azure gives members of Flexible scale sets.
func (tx *txn) newName(r *resource) string {
	for {
		n, _ := integer(r.Hidden, "born")
		tx.editHidden(r.ID, func(hidden object) { hidden["born"] = whole(n + 1) })
		r = tx.get(r.ID)
		name := r.name() + "_" + guid("member", key(r.ID), whole(n).String())[:8]
		if tx.get(scopeOf(r.ID)+"/providers/"+vmType+"/"+name) == nil {
			return name
		}
	}
}

// emptiest is the zone of a set with the fewest members, or "".
func emptiest(body object, members []*resource) string {
	zones, _ := body["zones"].([]any)
	inZone := map[string]int{}
	for _, r := range members {
		inZone[zoneOf(r)]++
	}
	best := ""
	for _, z := range zones {
		if zone, ok := z.(string); ok && (best == "" || inZone[zone] < inZone[best]) {
			best = zone
		}
	}
	return best
}

// nextIsSpot says whether the next member of a set is a Spot machine, so that the
// mix comes out: a base of regular ones, and a percentage of those above it, which
// is rounded up (inferred).
func nextIsSpot(body object, members []*resource) bool {
	if str(body, profile+".priority") != "Spot" {
		return false
	}
	mix := sub(body, "properties.priorityMixPolicy")
	if mix == nil {
		return true
	}
	base, _ := integer(mix, "baseRegularPriorityCount")
	percent, _ := integer(mix, "regularPriorityPercentageAboveBase")
	regular := 0
	for _, r := range members {
		if str(r.Body, "properties.priority") != "Spot" {
			regular++
		}
	}
	return regular >= regularOf(len(members)+1, base, percent)
}

// regularOf is how many of n members are regular ones.
func regularOf(n, base, percent int) int {
	if n <= base {
		return n
	}
	return base + ((n-base)*percent+99)/100
}

// machineBody is the body of a member that is made from its set's model.
func machineBody(r *resource, b birth, id string, now time.Time) object {
	p := sub(r.Body, profile)
	body := object{
		"location": str(r.Body, "location"),
		"properties": object{
			"hardwareProfile":        object{"vmSize": str(r.Body, "sku.name")},
			"virtualMachineScaleSet": object{"id": r.ID},
			"provisioningState":      "Creating",
			"vmId":                   guid("machine", key(id), stamp(now)),
			"timeCreated":            stamp(now),
			"networkProfile": object{"networkInterfaces": []any{object{
				"id":         scopeOf(id) + "/providers/Microsoft.Network/networkInterfaces/" + b.name + "-nic",
				"properties": object{"primary": true, "deleteOption": "Delete"},
			}}},
			"priority": "Regular",
		},
	}
	for _, name := range []string{"tags", "identity", "plan"} {
		if v := r.Body[name]; v != nil {
			body[name] = cloneAny(v)
		}
	}
	if b.zone != "" {
		body["zones"] = []any{b.zone}
	}
	for _, name := range []string{"securityProfile", "diagnosticsProfile", "scheduledEventsProfile", "licenseType"} {
		if v := p[name]; v != nil {
			set(body, "properties."+name, cloneAny(v))
		}
	}
	if *b.spot {
		set(body, "properties.priority", "Spot")
		set(body, "properties.evictionPolicy", cmp.Or(str(p, "evictionPolicy"), "Deallocate"))
		set(body, "properties.billingProfile", object{"maxPrice": whole(-1)})
		remove(body, "properties.scheduledEventsProfile")
	}
	if os := sub(p, "osProfile"); os != nil {
		set(body, "properties.osProfile", machineOS(os, b.name))
	}
	applyImage(body, r, b.exact)
	return body
}

// machineOS is a machine's OS profile: its computer name is its own.
func machineOS(os object, name string) object {
	o := clone(os)
	for _, only := range []string{"computerNamePrefix", "adminPassword", "customData"} {
		delete(o, only)
	}
	prefix := cmp.Or(str(os, "computerNamePrefix"), name)
	o["computerName"] = prefix[:min(len(prefix), 9)] + strings.ToUpper(name[max(len(name)-6, 0):])
	return o
}

// applyImage makes the machine's disk from an exact version of its set's image.
func applyImage(body object, r *resource, exact string) {
	storage := clone(sub(r.Body, profile+".storageProfile"))
	if storage == nil {
		return
	}
	if ref := sub(storage, "imageReference"); ref != nil && exact != "" {
		ref["exactVersion"] = exact
	}
	if disk := sub(storage, "osDisk"); disk != nil {
		setDefault(disk, "osType", osOf(r.Body))
		setDefault(disk, "name", guid("disk", str(body, "properties.vmId"), exact)[:8]+"_OsDisk")
		setDefault(disk, "deleteOption", "Delete")
	}
	setDefault(storage, "dataDisks", []any{})
	set(body, "properties.storageProfile", storage)
}

func osOf(body object) string {
	if sub(body, profile+".osProfile.windowsConfiguration") != nil || str(body, profile+".storageProfile.osDisk.osType") == "Windows" {
		return "Windows"
	}
	return "Linux"
}

// installed are the extensions that a machine gets from its set's model.
func installed(body object) []any {
	all := []any{}
	for _, e := range items(body, extensionPath) {
		all = append(all, object{
			"name": str(e, "name"), "publisher": str(e, "properties.publisher"), "type": str(e, "properties.type"),
			"version": handlerVersion(str(e, "properties.typeHandlerVersion")), "settings": cloneAny(dig(e, "properties.settings")),
		})
	}
	return all
}

// handlerVersion is the version that is installed for one of a model, such as 2.0.1
// for 2.0.
func handlerVersion(version string) string {
	if strings.Count(version, ".") == 1 {
		return version + ".1"
	}
	return version
}

// modelVersion is the version of a model that an installed one comes from: 2.0 for
// 2.0.1.
func modelVersion(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// running is the end of a boot: the machine runs, its health is not known yet.
func (tx *txn) running(id string) {
	r := tx.edit(id, func(r *resource) {
		if r.state() != "Deleting" {
			set(r.Body, "properties.provisioningState", statusSucceeded)
		}
		r.Hidden["power"] = "running"
		boot, _ := integer(r.Hidden, "boot")
		r.Hidden["boot"] = whole(boot + 1)
		delete(r.Hidden, "failure")
		delete(r.Hidden, "down")
		if reportsHealth(r) {
			r.Hidden["health"], r.Hidden["healthAt"] = "Initializing", stamp(tx.now)
		} else {
			r.Hidden["health"] = "missing"
		}
	})
	if r != nil && reportsHealth(r) {
		tx.expectReport(r)
	}
	tx.watchRepair(id)
}

// expectReport lets the first health of a machine come after a while, unless there is
// a machine outside that reports its own.
func (tx *txn) expectReport(r *resource) {
	if tx.real(r) {
		return
	}
	tx.unschedule(r.ID, "reported")
	tx.schedule(tx.now.Add(reportTime), vmType, r.ID, "reported", nil)
}

// reportsHealth says whether the health extension is on a machine.
func reportsHealth(r *resource) bool {
	return slices.ContainsFunc(items(r.Hidden, "extensions"), func(e object) bool {
		return isHealth(str(e, "publisher"), str(e, "type"))
	})
}

// reported is the first health of a machine that has booted: that of its image.
func (tx *txn) reported(id string) {
	r := tx.get(id)
	if r == nil || str(r.Hidden, "power") != "running" {
		return
	}
	tx.editHidden(id, func(hidden object) {
		hidden["health"], hidden["healthAt"] = tx.healthOfImage(r), stamp(tx.now)
	})
	tx.watchRepair(id)
}

// healthOfImage is what becomes of machines that boot an image: Healthy, unless the
// scenario says otherwise of the version.
func (tx *txn) healthOfImage(r *resource) string {
	ref := sub(r.Body, "properties.storageProfile.imageReference")
	definition, _, _ := strings.Cut(str(ref, "id"), "/versions/")
	if v := tx.get(definition + "/versions/" + str(ref, "exactVersion")); v != nil {
		return cmp.Or(str(v.Hidden, "health"), "Healthy")
	}
	return "Healthy"
}

// evicted is the end of an eviction's notice.
func (tx *txn) evicted(id string) {
	r := tx.get(id)
	if r == nil {
		return
	}
	tx.note(event{Operation: vmType + "/evictSpotVM/action", Caller: platform, Resource: id})
	if str(r.Body, "properties.evictionPolicy") == "Delete" {
		tx.leave(r)
		tx.delete(id)
		return
	}
	tx.setPower(id, "deallocated")
	tx.editHidden(id, func(hidden object) { delete(hidden, "event") })
	tx.awaitRestore(id)
}

func (tx *txn) setPower(id, power string) {
	tx.editHidden(id, func(hidden object) {
		hidden["power"], hidden["health"] = power, "missing"
		delete(hidden, "healthAt")
	})
}

// viewVM adds the instance view where it was asked for.
func viewVM(tx *txn, c *call, r *resource, body object) (object, error) {
	if boolean(r.Hidden, "vanished") {
		return nil, notFound(c.Target)
	}
	if strings.EqualFold(c.query("$expand"), "instanceView") {
		set(body, "properties.instanceView", tx.instanceView(r))
	}
	hideSecrets(body, "properties.osProfile")
	return body, nil
}

var setFilter = regexp.MustCompile(`(?i)^\s*'?virtualMachineScaleSet/id'?\s+eq\s+'?([^'\s]+)'?\s*$`)

// matchVMs understands the one filter that Azure has here.
func matchVMs(_ *txn, c *call) (func(*resource) bool, error) {
	filter := c.query("$filter")
	if filter == "" {
		if c.query("$expand") != "" {
			return nil, invalid("$expand", "The $expand option can only be specified if a valid $filter option is specified.")
		}
		return func(r *resource) bool { return !boolean(r.Hidden, "vanished") }, nil
	}
	m := setFilter.FindStringSubmatch(filter)
	if m == nil {
		return nil, invalid("$filter", "The $filter option '%s' is not valid. It has the form 'virtualMachineScaleSet/id' eq '{id}'.", filter)
	}
	return func(r *resource) bool { return key(setOf(r)) == key(m[1]) && !boolean(r.Hidden, "vanished") }, nil
}
