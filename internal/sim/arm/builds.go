package arm

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The types of Azure Image Builder.
const (
	templateType  = "Microsoft.VirtualMachineImages/imageTemplates"
	runOutputType = "Microsoft.VirtualMachineImages/imageTemplates/runOutputs"
)

// templates is the kind of image templates. What is wrong with the form is refused;
// anything else makes the template Failed, some time later, and it has to be deleted.
//
//	PUT ─▶ Creating ─▶ Succeeded ─run─▶ Running ─▶ Succeeded | PartiallySucceeded | Failed
//	          └─▶ Failed                   └cancel─▶ Canceling ─▶ Canceled
//
// Hidden has "run", the JSON of the run, and "submission", what becomes of a PUT.
func templates() kind {
	return kind{
		name:     templateType,
		complete: completeTemplate,
		takes:    templateTakes,
		patch:    patchTemplate,
		end:      endTemplate,
		remove: func(_ *txn, w *write) error {
			run := str(w.Body, "properties.lastRunStatus.runState")
			if w.Old.Busy != "" || run == runRunning || run == runCanceling {
				return conflict("Conflict", "The image template '%s' cannot be deleted while it is being created, run or canceled.", w.Target.name())
			}
			return nil
		},
		actions: map[string]handler{"run": runTemplate, "cancel": cancelTemplate},
		transitions: map[string]transition{
			"step": stepRun, "timeout": timeoutRun, "distributed": checkDistribution, "canceled": endCancel,
		},
	}
}

// runOutputs is the kind of what a run has made, which nobody writes.
func runOutputs() kind {
	readOnly := func(_ *txn, c *call) (answer, error) {
		return answer{}, errorf(http.StatusMethodNotAllowed, "HttpMethodNotSupported", "The http method %s is not supported for resource type '%s'.", c.Method, c.Target.kind())
	}
	return kind{name: runOutputType, bare: true, methods: map[string]handler{"PUT": readOnly, "PATCH": readOnly, "DELETE": readOnly}}
}

const noUpdate = "Update/Upgrade of image templates is currently not supported"

func patchTemplate(_ *txn, w *write, patch object) (object, error) {
	for name := range sub(patch, "properties") {
		if name != "distribute" && name != "vmProfile" {
			return nil, conflict("Conflict", noUpdate)
		}
	}
	return merge(w.Old.Body, patch), nil
}

func completeTemplate(tx *txn, w *write) error {
	if w.Method == http.MethodPatch {
		return nil
	}
	if w.Old != nil {
		return conflict("Conflict", noUpdate)
	}
	if err := needProvider(tx, "Microsoft.VirtualMachineImages"); err != nil {
		return err
	}
	if err := checkTemplate(w); err != nil {
		return err
	}
	for _, name := range []string{"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"} {
		remove(w.Body, "properties."+name)
	}
	fillIdentity(tx, w.Body)
	submission, err := tx.submit(w)
	w.Hidden = object{"submission": submission}
	return err
}

// fillIdentity writes the ids of the identities that are there, as Azure does.
func fillIdentity(tx *txn, body object) {
	all := sub(body, "identity.userAssignedIdentities")
	for id := range all {
		if r := tx.get(id); r != nil {
			all[id] = object{"clientId": str(r.Body, "properties.clientId"), "principalId": str(r.Body, "properties.principalId")}
		}
	}
}

// failsAfter is how long it takes Image Builder to find out what is wrong.
const failsAfter = 45 * time.Second

// submit decides what becomes of a template that is put: nothing special, or a code
// and a message, or how long it is stuck.
func (tx *txn) submit(w *write) (object, error) {
	name := w.Target.name()
	rule, err := tx.takeRule(name, submitting)
	if err != nil {
		return nil, err
	}
	creating := tx.buildTimes(name).Creating
	if rule != nil && rule.Fails == "stuck-creating" {
		if rule.For == 0 {
			return object{"takes": "-1ns"}, nil
		}
		return object{"takes": time.Duration(rule.For).String(), "publishes": rule.Publishes}, nil
	}
	if rule != nil {
		code := rule.Code
		if code == "" {
			code = buildFailures[rule.Fails].code
		}
		return object{"takes": failsAfter.String(), "code": code, "message": rule.text(location(str(w.Body, "location")), "st"+name), "gone": rule.Fails == "internal-error"}, nil
	}
	if f := tx.examine(w.Body); f != nil {
		return object{"takes": failsAfter.String(), "code": f.code, "message": f.message}, nil
	}
	return object{"takes": creating.String()}, nil
}

// templateTakes is how long a write of a template takes: a negative time is for ever.
func templateTakes(_ *txn, w *write) time.Duration {
	switch w.Method {
	case http.MethodPatch:
		return 0
	case http.MethodDelete:
		return time.Minute
	}
	d, err := time.ParseDuration(str(w.Hidden, "submission.takes"))
	if err != nil {
		return usualBuild.Creating
	}
	return d
}

// endTemplate ends the creation or the deletion of a template.
func endTemplate(tx *txn, o operation) error {
	r := tx.get(o.Resource)
	if r == nil {
		return nil
	}
	if o.Method == http.MethodDelete {
		tx.removeStaging(r)
		return nil
	}
	submission := sub(r.Hidden, "submission")
	if code := str(submission, "code"); code != "" {
		message := str(submission, "message")
		if boolean(submission, "gone") {
			tx.delete(r.ID)
		} else {
			tx.edit(r.ID, func(r *resource) {
				set(r.Body, "properties.provisioningError", object{"provisioningErrorCode": code, "message": message})
			})
		}
		return errorf(http.StatusBadRequest, code, "%s", message)
	}
	tx.stage(r)
	if str(r.Body, "properties.autoRun.state") != "Enabled" && !boolean(submission, "publishes") {
		return nil
	}
	_, err := tx.beginRun(r.ID)
	return err
}

// stagingGroup is the resource group of a template in which Image Builder works.
func stagingGroup(tx *txn, r *resource) string {
	if given := str(r.Body, "properties.stagingResourceGroup"); given != "" {
		return given
	}
	parts := strings.Split(r.ID, "/")
	group := "IT_" + parts[4] + "_" + r.name()
	tail := "_" + guid("staging", key(r.ID), r.Created.String())
	const maxGroup = 90
	return groupID(tx.server.cfg.Subscription, group[:min(len(group), maxGroup-len(tail))]+tail)
}

// stage makes the staging resource group of a template with its storage account, and
// returns the account. What is there already stays.
func (tx *txn) stage(template *resource) *resource {
	group := stagingGroup(tx, template)
	where := str(template.Body, "location")
	if tx.get(group) == nil {
		tags := object{"createdBy": "AzureVMImageBuilder", "imageTemplateName": template.name(), "imageTemplateResourceGroupName": strings.Split(template.ID, "/")[4]}
		if more := sub(template.Body, "properties.managedResourceTags"); more != nil {
			tags = merge(tags, more)
		}
		tx.put(resource{ID: group, Type: groupType, Body: object{"location": where, "tags": tags, "properties": object{"provisioningState": statusSucceeded}}})
	}
	if str(template.Body, "properties.exactStagingResourceGroup") == "" {
		tx.edit(template.ID, func(r *resource) { set(r.Body, "properties.exactStagingResourceGroup", group) })
	}
	name := strings.ReplaceAll(guid("account", key(template.ID), template.Created.String()), "-", "")[:24]
	id := group + "/providers/" + storageType + "/" + name
	if r := tx.get(id); r != nil {
		return r
	}
	body := object{"location": where, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}, "tags": object{"createdBy": "AzureVMImageBuilder"}}
	fillAccount(tx, body, name, where)
	return tx.put(resource{ID: id, Type: storageType, Body: body, Hidden: object{"blobs": tx.newBlobs()}})
}

// removeStaging takes away what stage made: of a group that the user gave, only the
// account.
func (tx *txn) removeStaging(template *resource) {
	group := str(template.Body, "properties.exactStagingResourceGroup")
	if group == "" {
		return
	}
	if str(template.Body, "properties.stagingResourceGroup") == "" {
		tx.delete(group)
		return
	}
	for _, r := range tx.list(storageType, group) {
		if str(r.Body, "tags.createdBy") == "AzureVMImageBuilder" {
			tx.delete(r.ID)
		}
	}
}

// nextVersion is the number of a version that a distributor does not name: the
// highest one with a patch more.
func (tx *txn) nextVersion(definition string) string {
	var best []int64
	for _, r := range tx.list(versionType, definition) {
		if n := versionNumbers(r.name()); best == nil || lessVersion(joinNumbers(best), r.name()) {
			best = n
		}
	}
	if best == nil {
		return "1.0.0"
	}
	best[2]++
	return joinNumbers(best)
}

func joinNumbers(n []int64) string {
	words := make([]string, len(n))
	for i := range n {
		words[i] = strconv.FormatInt(n[i], 10)
	}
	return strings.Join(words, ".")
}
