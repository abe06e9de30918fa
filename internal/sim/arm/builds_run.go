package arm

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A run is a build of a template, kept as JSON in the template's Hidden.
type run struct {
	ID        string     `json:"id"` // also the folder of its log
	Operation string     `json:"operation"`
	Cancel    string     `json:"cancel,omitempty"` // the operation that cancels it
	Began     time.Time  `json:"began"`
	Account   string     `json:"account"` // id of the staging account
	Steps     []step     `json:"steps"`
	Rule      *buildRule `json:"rule,omitempty"`
	// Outside: somebody else performs the build; Handed: it was given out; Since is
	// when it became ready.
	Outside bool      `json:"outside,omitempty"`
	Handed  bool      `json:"handed,omitempty"`
	Ready   bool      `json:"ready,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Image   string    `json:"image,omitempty"` // what was made, in the words of who made it
	// Silent: it was canceled and goes on all the same, which nobody is told.
	Silent bool `json:"silent,omitempty"`
	// Writes are the operations of the versions that it distributes, by the id of what
	// they write.
	Writes map[string]string `json:"writes,omitempty"`
	Over   bool              `json:"over,omitempty"`
}

// runOf is the run of a template, or nil.
func runOf(r *resource) *run {
	text := str(r.Hidden, "run")
	if text == "" {
		return nil
	}
	var x run
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		return nil // which this program does not write
	}
	return &x
}

// keepRun stores the run of a template.
func (tx *txn) keepRun(template string, x *run) {
	text, _ := json.Marshal(x) // text, times and numbers encode
	tx.editHidden(template, func(h object) { h["run"] = string(text) })
}

// theRun is the run that a transition is about, while it is under way, or nil. When
// its template has gone with its resource group, nobody waits for it in vain.
func (tx *txn) theRun(template string, args object) (*resource, *run) {
	r := tx.get(template)
	if r == nil {
		tx.cancel(str(args, "operation"), errorf(http.StatusNotFound, "ResourceNotFound", "The image template is gone."))
		return nil, nil
	}
	if x := runOf(r); x != nil && x.ID == str(args, "run") && !x.Over {
		return r, x
	}
	return nil, nil
}

// args are those of a transition of the run.
func (x *run) args() object { return object{"run": x.ID, "operation": x.Operation} }

// next schedules a step of the run.
func (tx *txn) next(template string, x *run, n int) {
	args := x.args()
	args["step"] = whole(n)
	tx.schedule(x.Began.Add(x.Steps[n].At), templateType, template, "step", args)
}

// runTemplate is the action run: an operation that ends with the run.
func runTemplate(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	state := str(r.Body, "properties.lastRunStatus.runState")
	switch {
	case r.Busy != "" || r.state() != statusSucceeded:
		return answer{}, conflict("Conflict", "The image template '%s' cannot be run in the provisioning state '%s'.", r.name(), r.state())
	case state == runRunning || state == runCanceling:
		return answer{}, conflict("Conflict", "The image template '%s' is being run already: its run state is '%s'.", r.name(), state)
	}
	o, err := tx.beginRun(r.ID)
	if err != nil {
		return answer{}, err
	}
	return accepted(o), nil
}

// beginRun begins a run of a template that has none.
func (tx *txn) beginRun(id string) (*operation, error) {
	r := tx.get(id)
	rule, err := tx.takeRule(r.name(), running)
	if err != nil {
		return nil, err
	}
	if f := tx.providersFault(r.Body); rule == nil && f != nil {
		rule = &buildRule{Fails: "quota", Message: f.message}
	}
	if rule == nil {
		rule = tx.checksumFault(r.Body)
	}
	account := tx.stage(r)
	o := tx.start(operation{Kind: templateType, Resource: r.ID, Location: location(str(r.Body, "location")), Name: "run", Method: http.MethodPost}, -1)
	x := &run{
		ID: guid("run", o.ID), Operation: o.ID, Began: tx.now, Account: account.ID, Rule: rule, Outside: tx.server.cfg.Builder && rule == nil,
	}
	x.Steps = buildSteps(r.Body, tx.buildTimes(r.name()), rule, x.Outside, location(str(r.Body, "location")), account.name())
	exact := tx.exactSource(r.Body)
	tx.edit(id, func(r *resource) {
		if exact != "" {
			set(r.Body, "properties.source.exactVersion", exact)
		}
		set(r.Body, "properties.lastRunStatus", object{"startTime": stamp(tx.now), "runState": runRunning, "runSubState": stateQueued})
	})
	tx.keepRun(id, x)
	tx.next(id, x, 0)
	if !x.Outside {
		tx.schedule(tx.now.Add(buildTimeout(r.Body)), templateType, id, "timeout", x.args())
	}
	return o, nil
}

// exactSource is the version of the source that a build takes, or "".
func (tx *txn) exactSource(body object) string {
	source := sub(body, "properties.source")
	if id := str(source, "imageVersionId"); id != "" {
		source = object{"id": id}
	}
	image, err := tx.resolve(source, str(body, "location"))
	if err != nil {
		return "" // which was found out before, or changes while it is built
	}
	return image.exact
}

// buildTimeout is how long a build may take: four hours when the template does not say.
func buildTimeout(body object) time.Duration {
	if minutes, given := integer(body, "properties.buildTimeoutInMinutes"); given && minutes > 0 {
		return time.Duration(minutes) * time.Minute
	}
	return 4 * time.Hour
}

// stepRun is a step of a run, after which the next one is due.
func stepRun(tx *txn, id string, args object) {
	r, x := tx.theRun(id, args)
	n, ok := integer(args, "step")
	if r == nil || !ok || n >= len(x.Steps) {
		return
	}
	s := x.Steps[n]
	tx.logRun(x, s.Lines)
	if s.State != "" {
		tx.showStage(id, x, s.State)
	}
	switch {
	case s.Failed != "":
		tx.endRun(id, x, statusFailed, s.Failed+tx.seeLog(x))
	case s.Waits:
		if x.Outside {
			x.Ready, x.Since = true, tx.now
			tx.keepRun(id, x)
			tx.server.wake()
		}
	case s.State == stateDistributing:
		tx.distribute(id, x)
	case n+1 < len(x.Steps):
		tx.next(id, x, n+1)
	}
}

// showStage shows the sub-state of a run.
func (tx *txn) showStage(id string, x *run, state string) {
	if x.Silent {
		return
	}
	tx.edit(id, func(r *resource) { set(r.Body, "properties.lastRunStatus.runSubState", state) })
}

// The log of a run: where it is, and what its lines begin with.
const (
	logContainer = "packerlogs"
	logName      = "/customization.log"
)

// logRun appends lines to the log of a run, as long as there is a place for it.
func (tx *txn) logRun(x *run, lines []logLine) {
	account := tx.get(x.Account)
	if account == nil || len(lines) == 0 {
		return
	}
	var text strings.Builder
	for _, l := range lines {
		word := "OUT "
		if l.Err {
			word = "ERR " + tx.now.Format("2006/01/02 15:04:05") + " "
		}
		text.WriteString("[" + x.ID + "] PACKER " + word + l.Text + "\n")
	}
	if err := tx.blobs(account).Append(tx.server.contents, logContainer, x.ID+logName, []byte(text.String()), tx.now); err != nil {
		tx.server.log.Error("customization.log is not written", "run", x.ID, "err", err)
	}
}

// seeLog is the end of the message of a run that failed: it names the log.
func (tx *txn) seeLog(x *run) string {
	account := tx.get(x.Account)
	text := " During the image build, a failure has occurred, please review the build log to identify which build/customization step failed. " +
		"For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts."
	if account != nil && tx.blobs(account).Containers[logContainer] != nil {
		address := url.URL{Scheme: "https", Host: account.name() + ".blob.core.windows.net", Path: "/" + logContainer + "/" + x.ID + logName}
		text += " Image Build log location: " + address.String() + ". OperationId: " + x.ID + ". Use this operationId to search packer logs."
	}
	return text
}

// endRun ends a run and its operation.
func (tx *txn) endRun(id string, x *run, state, message string) {
	x.Over = true
	tx.keepRun(id, x)
	if x.Silent {
		return // it stays Canceling until that is over
	}
	tx.edit(id, func(r *resource) {
		status := sub(r.Body, "properties.lastRunStatus")
		status["runState"], status["endTime"] = state, stamp(tx.now)
		if state == statusSucceeded || state == runPartially {
			delete(status, "runSubState")
		}
		if message != "" {
			status["message"] = message
		}
	})
	switch state {
	case statusFailed:
		tx.finish(x.Operation, errorf(http.StatusBadRequest, "InternalOperationError", "%s", message))
	default:
		tx.finish(x.Operation, nil)
	}
}

// timeoutRun ends a run that takes longer than its template allows. What is being
// replicated goes on.
func timeoutRun(tx *txn, id string, args object) {
	r, x := tx.theRun(id, args)
	if r == nil || x.Silent {
		return
	}
	if len(x.Writes) > 0 {
		tx.endRun(id, x, statusFailed, distributionError(r.Body, "Error waiting on Azure Compute Gallery future: Future#WaitForCompletion: context has been cancelled: "+
			"StatusCode=200 -- Original Error: context deadline exceeded"))
		return
	}
	tx.endRun(id, x, statusFailed, "Failed in building/customizing image: Failed while waiting for packerizer: "+
		"Timeout waiting for microservice to complete: 'context deadline exceeded'."+tx.seeLog(x))
}

// distributionError is Image Builder's text for an image that could not be distributed.
func distributionError(body object, why string) string {
	list := items(body, "properties.distribute")
	where := ""
	if len(list) > 0 {
		where = str(list[0], "galleryImageId") + str(list[0], "imageId")
	}
	return fmt.Sprintf("Failed in distributing %d images out of total %d: {[Error 0] [Distribute 0] Error publishing MDI to Azure Compute Gallery: %s, Location: %s. Error: %s}",
		len(list), len(list), where, location(str(body, "location")), why)
}

// distribute begins to bring the image to where the template wants it.
func (tx *txn) distribute(id string, x *run) {
	r := tx.get(id)
	if x.Rule != nil && x.Rule.Fails == "distribution" {
		tx.endRun(id, x, statusFailed, distributionError(r.Body, x.Rule.text(location(str(r.Body, "location")), "")))
		return
	}
	x.Writes = map[string]string{}
	for _, d := range items(r.Body, "properties.distribute") {
		artifact, operation, err := tx.distributeTo(r, x, d)
		if err != nil {
			tx.endRun(id, x, statusFailed, distributionError(r.Body, err.Error()))
			return
		}
		if operation != "" {
			x.Writes[artifact] = operation
		}
		tx.output(r, d, artifact)
	}
	tx.keepRun(id, x)
	tx.schedule(tx.now.Add(time.Second), templateType, id, "distributed", x.args())
}

// output notes what a distributor has made.
func (tx *txn) output(template *resource, distributor object, artifact string) {
	properties := object{"provisioningState": statusSucceeded, "artifactId": artifact}
	if str(distributor, "type") == "VHD" {
		properties = object{"provisioningState": statusSucceeded, "artifactUri": artifact}
	}
	tx.put(resource{ID: template.ID + "/runOutputs/" + str(distributor, "runOutputName"), Type: runOutputType, Body: object{"properties": properties}})
}

// distributeTo begins one distribution: it returns what is made, and the operation
// that makes it, if it takes time.
func (tx *txn) distributeTo(template *resource, x *run, d object) (artifact, operation string, err error) {
	switch str(d, "type") {
	case "SharedImage":
		return tx.distributeVersion(template, x, d)
	case "ManagedImage":
		artifact = str(d, "imageId")
		if tx.mine(artifact) {
			tx.put(resource{ID: artifact, Type: "Microsoft.Compute/images", Body: object{
				"location": location(str(d, "location")), "tags": tagsOrNone(d), "properties": object{"provisioningState": statusSucceeded, "hyperVGeneration": "V2"},
			}})
		}
		return artifact, "", nil
	}
	account := tx.get(x.Account)
	if account == nil {
		return "", "", errorf(http.StatusNotFound, "ResourceNotFound", "The storage account of the staging resource group is gone.")
	}
	return "https://" + account.name() + ".blob.core.windows.net/vhds/" + x.ID + ".vhd", "", nil
}

func tagsOrNone(d object) object {
	if tags := sub(d, "artifactTags"); tags != nil {
		return clone(tags)
	}
	return object{}
}

// distributeVersion puts an image version, as the template's identity.
func (tx *txn) distributeVersion(template *resource, x *run, d object) (string, string, error) {
	definition, name, named := cutFold(str(d, "galleryImageId"), "/versions/")
	if !named {
		name = tx.nextVersion(definition)
	}
	if f := tx.lacks(template.Body, "", definition, galleryActions...); f != nil {
		return "", "", errorf(http.StatusForbidden, "AuthorizationFailed", "%s", f.message)
	}
	t, err := parsePath(definition + "/versions/" + name)
	if err != nil {
		return "", "", err
	}
	c := &call{Method: http.MethodPut, Target: t, ID: tx.canonical(t), APIVersion: "2025-12-03", Query: url.Values{}, Header: http.Header{}, Body: distributedVersion(template.Body, d)}
	if tx.get(c.ID) != nil {
		return "", "", errorf(http.StatusConflict, "Conflict", "The gallery image version '%s' exists already.", c.ID)
	}
	a, err := tx.server.putResource(tx, c, tx.server.kind(versionType))
	if err != nil {
		return "", "", err
	}
	tx.editHidden(c.ID, func(h object) {
		if x.Image != "" {
			h["image"] = x.Image
		}
		if x.Rule == nil || x.Rule.Fails != "region" {
			return
		}
		for _, region := range x.Rule.Regions {
			if sub(h, "regions."+location(region)) != nil {
				set(h, "regions."+location(region)+".fails", x.Rule.failedRegion())
			}
		}
	})
	if a.Operation == nil {
		return c.ID, "", nil
	}
	return c.ID, a.Operation.ID, nil
}

// failedRegion is why a region does not get a version.
func (r *buildRule) failedRegion() string {
	if r.Message != "" {
		return r.Message
	}
	return "the storage of the region is full"
}

// distributedVersion is the image version that a distributor means. Image Builder says
// replicaCount for what the gallery calls regionalReplicaCount.
func distributedVersion(template, d object) object {
	storage := str(d, "storageAccountType")
	var targets []any
	for _, r := range items(d, "targetRegions") {
		target := object{"name": str(r, "name")}
		if n, given := integer(r, "replicaCount"); given {
			target["regionalReplicaCount"] = whole(n)
		}
		if s := str(r, "storageAccountType"); s != "" {
			target["storageAccountType"] = s
		} else if storage != "" {
			target["storageAccountType"] = storage
		}
		targets = append(targets, target)
	}
	names := distributorRegions(template, d)
	if targets == nil {
		for _, name := range names {
			targets = append(targets, object{"name": name})
		}
	}
	home := location(str(template, "location"))
	if !slices.Contains(names, home) {
		home = names[0]
	}
	publishing := object{"targetRegions": targets, "excludeFromLatest": boolean(d, "excludeFromLatest")}
	if storage != "" {
		publishing["storageAccountType"] = storage
	}
	if mode := str(d, "replicationMode"); mode != "" {
		publishing["replicationMode"] = mode
	}
	body := object{"location": home, "properties": object{
		"publishingProfile": publishing,
		"storageProfile":    object{"source": object{"id": str(template, "properties.exactStagingResourceGroup") + "/providers/Microsoft.Compute/images/build"}},
	}}
	if tags := sub(d, "artifactTags"); tags != nil {
		body["tags"] = clone(tags)
	}
	return body
}

// checkDistribution ends a run when all that it distributes has arrived, or looks again
// later.
func checkDistribution(tx *txn, id string, args object) {
	r, x := tx.theRun(id, args)
	if r == nil {
		return
	}
	var failed []string
	arrived := len(items(r.Body, "properties.distribute")) - len(x.Writes)
	for _, artifact := range slices.Sorted(maps.Keys(x.Writes)) {
		o := tx.store.Operations[x.Writes[artifact]]
		switch {
		case o != nil && o.Status == statusInProgress:
			// What is due at the same instant and was scheduled before happens before.
			tx.schedule(later(tx.now, o.Due), templateType, id, "distributed", args)
			return
		case o != nil && o.Status == statusSucceeded:
			arrived++
		case o != nil && o.Error != nil:
			failed = append(failed, o.Error.Error())
			arrived += tx.arrivedSomewhere(artifact)
		default:
			failed = append(failed, "the operation on "+artifact+" was lost")
		}
	}
	switch {
	case len(failed) == 0:
		tx.endRun(id, x, statusSucceeded, "")
	case arrived > 0:
		tx.endRun(id, x, runPartially, distributionError(r.Body, strings.Join(failed, "; ")))
	default:
		tx.endRun(id, x, statusFailed, distributionError(r.Body, strings.Join(failed, "; ")))
	}
}

// later is an instant that is not now: an operation that does not end by time is
// looked at again.
func later(now, at time.Time) time.Time {
	if at.After(now) {
		return at
	}
	return now.Add(pollEvery)
}

// arrivedSomewhere is 1 for a version that at least one region has.
func (tx *txn) arrivedSomewhere(id string) int {
	r := tx.get(id)
	if r == nil {
		return 0
	}
	for region := range sub(r.Hidden, "regions") {
		if usable(r, region) {
			return 1
		}
	}
	return 0
}

// cancelTemplate is the action cancel: an operation that ends when the run has.
func cancelTemplate(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	if state := str(r.Body, "properties.lastRunStatus.runState"); state != runRunning {
		return answer{}, conflict("Conflict", "The image template '%s' is not being run: its run state is '%s'.", r.name(), state)
	}
	rule, err := tx.takeRule(r.name(), canceling)
	if err != nil {
		return answer{}, err
	}
	o := tx.start(operation{Kind: templateType, Resource: r.ID, Location: location(str(r.Body, "location")), Name: "cancel", Method: http.MethodPost}, -1)
	tx.edit(r.ID, func(r *resource) {
		set(r.Body, "properties.lastRunStatus.runState", runCanceling)
		remove(r.Body, "properties.lastRunStatus.runSubState")
	})
	x := runOf(r)
	if x == nil || x.Over {
		x = &run{ID: guid("run", o.ID), Began: tx.now} // of a scenario's template
	}
	x.Silent = true
	x.Over = x.Over || rule == nil || !rule.Publishes
	tx.keepRun(r.ID, x)
	after := tx.buildTimes(r.name()).Canceling
	if rule != nil {
		after = time.Duration(rule.For)
	}
	if rule == nil || rule.For > 0 {
		args := x.args()
		args["cancel"] = o.ID
		tx.schedule(tx.now.Add(after), templateType, r.ID, "canceled", args)
	}
	tx.server.wake()
	return accepted(o), nil
}

// endCancel ends a run that was canceled, and both operations.
func endCancel(tx *txn, id string, args object) {
	defer tx.finish(str(args, "cancel"), nil)
	r := tx.get(id)
	if r == nil {
		return
	}
	x := runOf(r)
	if x == nil || x.ID != str(args, "run") {
		return
	}
	x.Over = true
	tx.keepRun(id, x)
	tx.edit(id, func(r *resource) {
		status := sub(r.Body, "properties.lastRunStatus")
		status["runState"], status["endTime"] = runCanceled, stamp(tx.now)
		status["message"] = "The image build was canceled."
	})
	tx.cancel(x.Operation, errorf(http.StatusConflict, "OperationCanceled", "The image build was canceled."))
}
