package arm

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkSet says what Azure refuses in a scale set's model: what it refuses in any,
// and what it does not let change. The words are Azure's where they are known.
func checkSet(w *write) error {
	if mode := str(w.Body, "properties.orchestrationMode"); !strings.EqualFold(mode, "Flexible") {
		if w.Old != nil && mode != "" {
			return notChangeable("orchestrationMode")
		}
		return unknown("scale sets with Uniform orchestration: set properties.orchestrationMode to Flexible")
	}
	if err := needLocation(w); err != nil {
		return err
	}
	for _, rule := range setRules {
		if err := rule(w.Body); err != nil {
			return err
		}
	}
	if w.Old == nil {
		return nil
	}
	for _, rule := range changeRules {
		if err := rule(w.Old.Body, w.Body); err != nil {
			return err
		}
	}
	return nil
}

// setRules hold for every model. They return an untyped nil when all is well.
var setRules = []func(body object) error{
	checkFaultDomains, checkPlacement, checkSetIdentity, checkPriority, checkNotices, checkRepairs,
	checkRollingPolicy, checkHealthSource, checkAutoOS, checkCapacity,
}

func checkCapacity(body object) error {
	if n, given := number(body, "sku.capacity"); given && (n < 0 || n > maxMembers) {
		return invalid("sku.capacity", "The value '%v' of parameter 'sku.capacity' is out of range. The value must be between '0' and '%d', inclusive.", n, maxMembers)
	}
	return nil
}

func checkFaultDomains(body object) error {
	n, given := integer(body, "properties.platformFaultDomainCount")
	zones, _ := body["zones"].([]any)
	switch {
	case !given:
		return nil
	case len(zones) > 0 && n > 1:
		return errorf(http.StatusBadRequest, "BadRequest",
			"Specifying Availability Zones is not allowed when Virtual Machine Scale Set has platformFaultDomainCount higher than 1 with OrchestrationMode: 'Flexible'.")
	case n < 1 || n > 3:
		return invalid("platformFaultDomainCount", "The specified fault domain count %d must fall in the range 1 to 3.", n)
	}
	return nil
}

func checkPlacement(body object) error {
	if boolean(body, "properties.singlePlacementGroup") && sub(body, "properties.priorityMixPolicy") != nil {
		return invalid("priorityMixPolicy", "The property 'priorityMixPolicy' is not supported when 'singlePlacementGroup' is true.")
	}
	return nil
}

func checkSetIdentity(body object) error {
	if kind := str(body, "identity.type"); strings.Contains(kind, "SystemAssigned") {
		return invalid("identity", "The value '%s' of parameter 'identity' is not allowed. Allowed values are: UserAssigned, None.", kind)
	}
	return nil
}

func checkPriority(body object) error {
	spot := slices.Contains([]string{"Spot", "SpotPlus"}, str(body, profile+".priority"))
	mix := sub(body, "properties.priorityMixPolicy")
	if mix != nil && !spot {
		return invalid("priorityMixPolicy", "The property 'priorityMixPolicy' can only be set when 'virtualMachineProfile.priority' is Spot.")
	}
	if err := inRange(body, "properties.priorityMixPolicy.regularPriorityPercentageAboveBase", 0, 100); err != nil {
		return err
	}
	if n, given := integer(mix, "baseRegularPriorityCount"); given && n < 0 {
		return invalid("baseRegularPriorityCount", "The value '%d' of parameter 'baseRegularPriorityCount' is not allowed: it is at least 0.", n)
	}
	if str(body, profile+".evictionPolicy") != "" && !spot {
		return invalid("evictionPolicy", "Eviction policy can be set only on Azure Spot Virtual Machine Scale Sets.")
	}
	return nil
}

func checkNotices(body object) error {
	const notice = profile + ".scheduledEventsProfile.terminateNotificationProfile"
	if !boolean(body, notice+".enable") {
		return nil
	}
	if str(body, profile+".priority") == "Spot" {
		return invalid("terminateNotificationProfile", "Terminate notifications cannot be enabled on Spot instances.")
	}
	return spanInRange(body, notice+".notBeforeTimeout", 5*time.Minute, 15*time.Minute)
}

func checkRepairs(body object) error {
	if !boolean(body, repairsPath+".enabled") {
		return nil
	}
	if len(healthExtensions(body)) == 0 && str(body, profile+".networkProfile.healthProbe.id") == "" {
		return errorf(http.StatusBadRequest, "BadRequest",
			"Automatic repairs are not supported for this Virtual Machine Scale Set because a health probe or health extension was not provided.")
	}
	return spanInRange(body, repairsPath+".gracePeriod", 10*time.Minute, 90*time.Minute)
}

func checkRollingPolicy(body object) error {
	const policy = "properties.upgradePolicy.rollingUpgradePolicy."
	for name, least := range map[string]int{
		"maxBatchInstancePercent": 5, "maxUnhealthyInstancePercent": 5, "maxUnhealthyUpgradedInstancePercent": 0,
	} {
		if err := inRange(body, policy+name, least, 100); err != nil {
			return err
		}
	}
	if boolean(body, policy+"rollbackFailedInstancesOnPolicyBreach") {
		return invalid("rollbackFailedInstancesOnPolicyBreach",
			"The property 'rollbackFailedInstancesOnPolicyBreach' is not supported for Virtual Machine Scale Sets with OrchestrationMode: 'Flexible'.")
	}
	return spanInRange(body, policy+"pauseTimeBetweenBatches", 0, 24*time.Hour)
}

// checkHealthSource: what upgrades or repairs by health has one source of it.
func checkHealthSource(body object) error {
	rolling := str(body, "properties.upgradePolicy.mode") == "Rolling"
	acts := rolling || enablesAutoOS(body) || boolean(body, repairsPath+".enabled")
	if acts && len(healthExtensions(body)) > 0 && str(body, profile+".networkProfile.healthProbe.id") != "" {
		return errorf(http.StatusBadRequest, "BadRequest",
			"The Virtual Machine Scale Set has both a health probe and a health extension. Only one source of health is allowed: delete one of them.")
	}
	if rolling && len(healthExtensions(body)) == 0 {
		return errorf(http.StatusBadRequest, "BadRequest",
			"Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe or health extension was not provided.")
	}
	return nil
}

func checkAutoOS(body object) error {
	if !boolean(body, "properties.upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade") {
		return nil
	}
	image := sub(body, imagePath)
	latest := str(image, "version") == "latest"
	if id := str(image, "id"); id != "" {
		latest = strings.Contains(strings.ToLower(id), "/galleries/") && !strings.Contains(strings.ToLower(id), "/versions/")
	}
	switch {
	case !latest:
		return errorf(http.StatusBadRequest, "BadRequest",
			"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because it must use Platform or Gallery Image with version set to 'latest'.")
	case len(healthExtensions(body)) == 0:
		return errorf(http.StatusBadRequest, "BadRequest",
			"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because a health probe or health extension was not specified.")
	case boolean(body, rollingPolicyPath+".maxSurge"):
		return conflict("OperationNotAllowed",
			"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because maxSurge is true.")
	case boolean(body, profile+".osProfile.windowsConfiguration.enableAutomaticUpdates"):
		return conflict("OperationNotAllowed",
			"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because enableAutomaticUpdates is true.")
	}
	for _, os := range []string{"windowsConfiguration", "linuxConfiguration"} {
		if str(body, profile+".osProfile."+os+".patchSettings.patchMode") == "AutomaticByPlatform" {
			return conflict("OperationNotAllowed",
				"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because patchMode is AutomaticByPlatform.")
		}
	}
	return nil
}

// healthExtensions are the Application Health extensions of a model.
func healthExtensions(body object) []object {
	var found []object
	for _, e := range items(body, extensionPath) {
		if isHealth(str(e, "properties.publisher"), str(e, "properties.type")) {
			found = append(found, e)
		}
	}
	return found
}

func isHealth(publisher, typ string) bool {
	return strings.EqualFold(publisher, "Microsoft.ManagedServices") && strings.HasPrefix(strings.ToLower(typ), "applicationhealth")
}

// changeRules hold between a model and the one before.
var changeRules = []func(old, body object) error{checkImageType, checkFixed, checkSpread, checkRepairAction}

// checkRepairAction: another action is for repairs that were turned off before.
func checkRepairAction(old, body object) error {
	action := func(o object) string { return cmp.Or(str(o, repairsPath+".repairAction"), "Replace") }
	if boolean(old, repairsPath+".enabled") && boolean(body, repairsPath+".enabled") && action(old) != action(body) {
		return notChangeable("repairAction")
	}
	return nil
}

// checkImageType: a set made from the Marketplace stays there, and its offer too.
func checkImageType(old, body object) error {
	before, after := sub(old, imagePath), sub(body, imagePath)
	if before == nil || after == nil {
		return nil
	}
	if (str(before, "id") == "") != (str(after, "id") == "") || galleryImage(before) != galleryImage(after) {
		return conflict("OperationNotAllowed", "The Image type for a Virtual Machine Scale Set may not be changed.")
	}
	for _, name := range []string{"publisher", "offer", "sku"} {
		if !strings.EqualFold(str(before, name), str(after, name)) {
			return notChangeable("imageReference." + name)
		}
	}
	return nil
}

func galleryImage(ref object) bool {
	return strings.Contains(strings.ToLower(str(ref, "id")), "/galleries/")
}

// fixed are the properties that a set keeps for its life. One that is missing in a
// write is left as it is.
var fixed = []string{
	"properties.orchestrationMode",
	"properties.platformFaultDomainCount",
	profile + ".priority",
	profile + ".evictionPolicy",
	profile + ".osProfile.adminUsername",
	profile + ".osProfile.computerNamePrefix",
	profile + ".storageProfile.osDisk.osType",
}

func checkFixed(old, body object) error {
	for _, path := range fixed {
		before, after := dig(old, path), dig(body, path)
		if before == nil {
			continue
		}
		if after == nil {
			set(body, path, cloneAny(before))
		} else if !sameText(before, after) {
			return notChangeable(path[strings.LastIndexByte(path, '.')+1:])
		}
	}
	return nil
}

// sameText compares what may be written in two ways: names without regard to case,
// and regions with or without spaces.
func sameText(a, b any) bool {
	return location(fmt.Sprint(a)) == location(fmt.Sprint(b))
}

// checkSpread: zones may be added and not taken away; a set of more than one
// placement group stays one.
func checkSpread(old, body object) error {
	if boolean(body, "properties.singlePlacementGroup") && dig(old, "properties.singlePlacementGroup") == false {
		return notChangeable("singlePlacementGroup")
	}
	before, _ := old["zones"].([]any)
	if _, given := body["zones"]; !given && len(before) > 0 {
		body["zones"] = cloneAny(before)
	}
	after, _ := body["zones"].([]any)
	for _, zone := range before {
		if !slices.Contains(after, zone) {
			return notChangeable("zones")
		}
	}
	return nil
}

func notChangeable(name string) *armError {
	e := conflict("PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", name)
	e.Target = name
	return e
}

// inRange checks a number that may be missing.
func inRange(body object, path string, least, most int) error {
	name := path[strings.LastIndexByte(path, '.')+1:]
	n, given := number(body, path)
	if !given || n >= float64(least) && n <= float64(most) {
		return nil
	}
	return invalid(name, "The value '%v' of parameter '%s' is out of range. The value must be between '%d' and '%d', inclusive.", n, name, least, most)
}

// spanInRange checks an ISO 8601 duration that may be missing.
func spanInRange(body object, path string, least, most time.Duration) error {
	text := str(body, path)
	if text == "" {
		return nil
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	d, ok := parseISO(text)
	if ok && d >= least && d <= most {
		return nil
	}
	return invalid(name, "The value '%s' of parameter '%s' is not allowed. It is an ISO 8601 duration between '%s' and '%s', inclusive.", text, name, iso(least), iso(most))
}

var isoDuration = regexp.MustCompile(`^P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?$`)

// parseISO reads an ISO 8601 duration of days, hours, minutes and seconds.
func parseISO(text string) (time.Duration, bool) {
	m := isoDuration.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "T") || text == "P" {
		return 0, false
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			n, _ := strconv.ParseFloat(m[i+1], 64) // digits
			d += time.Duration(n * float64(unit))
		}
	}
	return d, true
}

// iso writes a duration as Azure does: PT30M, PT1H, PT0S.
func iso(d time.Duration) string {
	switch {
	case d == 0:
		return "PT0S"
	case d%time.Hour == 0:
		return fmt.Sprintf("PT%dH", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("PT%dM", d/time.Minute)
	}
	return "PT" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S"
}
