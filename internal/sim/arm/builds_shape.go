package arm

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// A shape is what an object of an image template may have. Since API version
// 2024-02-01 Image Builder refuses other properties, with regard to case.
type shape struct {
	name string // of Image Builder's type
	// fields are the properties; nil is a value, or an object of any form.
	fields map[string]*shape
	// kinds are, for an object with a type, the shapes by type.
	kinds map[string]*shape
	// needs are the properties that have to be there.
	needs []string
}

// values is a shape with properties that hold values.
func values(name string, needs []string, fields ...string) *shape {
	s := &shape{name: name, needs: needs, fields: map[string]*shape{}}
	for _, f := range fields {
		s.fields[f] = nil
	}
	return s
}

// with adds a property that has a shape of its own.
func (s *shape) with(field string, inner *shape) *shape {
	s.fields[field] = inner
	return s
}

// templateShape is the shape of a template's properties.
var templateShape = values("ImageTemplateProperties", []string{"source", "distribute"},
	"buildTimeoutInMinutes", "stagingResourceGroup", "managedResourceTags",
	"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup", // read only
).
	with("source", &shape{name: "ImageTemplateSource", kinds: map[string]*shape{
		"PlatformImage":      values("ImageTemplatePlatformImageSource", []string{"publisher", "offer", "sku", "version"}, "type", "publisher", "offer", "sku", "version", "exactVersion", "planInfo"),
		"ManagedImage":       values("ImageTemplateManagedImageSource", []string{"imageId"}, "type", "imageId"),
		"SharedImageVersion": values("ImageTemplateSharedImageVersionSource", []string{"imageVersionId"}, "type", "imageVersionId", "exactVersion"),
	}}).
	with("customize", &shape{name: "ImageTemplateCustomizer", kinds: map[string]*shape{
		"Shell":          values("ImageTemplateShellCustomizer", nil, "type", "name", "inline", "scriptUri", "sha256Checksum"),
		"PowerShell":     values("ImageTemplatePowerShellCustomizer", nil, "type", "name", "inline", "scriptUri", "sha256Checksum", "runElevated", "runAsSystem", "validExitCodes"),
		"WindowsRestart": values("ImageTemplateRestartCustomizer", nil, "type", "name", "restartCommand", "restartCheckCommand", "restartTimeout"),
		"WindowsUpdate":  values("ImageTemplateWindowsUpdateCustomizer", nil, "type", "name", "searchCriteria", "filters", "updateLimit"),
		"File":           values("ImageTemplateFileCustomizer", []string{"sourceUri", "destination"}, "type", "name", "sourceUri", "destination", "sha256Checksum"),
	}}).
	with("optimize", values("ImageTemplatePropertiesOptimize", nil).
		with("vmBoot", values("ImageTemplatePropertiesOptimizeVmBoot", nil, "state")).
		with("workload", values("ImageTemplatePropertiesOptimizeWorkload", nil, "state", "scriptUri", "sha256Checksum"))).
	with("additionalDataDisks", values("DataDisk", []string{"sizeGB"}, "sizeGB")).
	with("validate", values("ImageTemplatePropertiesValidate", nil, "continueDistributeOnFailure", "sourceValidationOnly").
		with("inVMValidations", &shape{name: "ImageTemplateInVMValidator", kinds: map[string]*shape{
			"Shell":      values("ImageTemplateShellValidator", nil, "type", "name", "inline", "scriptUri", "sha256Checksum"),
			"PowerShell": values("ImageTemplatePowerShellValidator", nil, "type", "name", "inline", "scriptUri", "sha256Checksum", "runElevated", "runAsSystem", "validExitCodes"),
			"File":       values("ImageTemplateFileValidator", []string{"sourceUri", "destination"}, "type", "name", "sourceUri", "destination", "sha256Checksum"),
		}})).
	with("distribute", &shape{name: "ImageTemplateDistributor", kinds: map[string]*shape{
		"ManagedImage": values("ImageTemplateManagedImageDistributor", []string{"runOutputName", "imageId", "location"}, "type", "runOutputName", "artifactTags", "imageId", "location"),
		"SharedImage": values("ImageTemplateSharedImageDistributor", []string{"runOutputName", "galleryImageId"},
			"type", "runOutputName", "artifactTags", "galleryImageId", "replicationRegions", "excludeFromLatest", "storageAccountType", "replicationMode").
			with("targetRegions", values("TargetRegion", []string{"name"}, "name", "replicaCount", "storageAccountType")).
			with("versioning", values("DistributeVersioner", nil, "scheme", "major")),
		"VHD": values("ImageTemplateVhdDistributor", []string{"runOutputName"}, "type", "runOutputName", "artifactTags", "uri"),
	}}).
	with("errorHandling", values("ImageTemplatePropertiesErrorHandling", nil, "onCustomizerError", "onValidationError")).
	with("autoRun", values("ImageTemplateAutoRun", nil, "state")).
	with("vmProfile", values("ImageTemplateVmProfile", nil, "vmSize", "osDiskSizeGB", "userAssignedIdentities").
		with("vnetConfig", values("VirtualNetworkConfig", nil, "subnetId", "proxyVmSize", "containerInstanceSubnetId")))

// newer are the properties that came after 2024-02-01, with their API version.
var newer = map[string]string{"additionalDataDisks": "2025-10-01", "workload": "2025-10-01", "replicationMode": "2025-10-01"}

// strictSince is the API version that refuses what it does not know.
const strictSince = "2024-02-01"

// oneOf are the properties with few values.
var oneOf = map[string][]string{
	"onCustomizerError": {"cleanup", "abort"}, "onValidationError": {"cleanup", "abort"}, "state": {"Enabled", "Disabled"},
	"replicationMode": {"Full", "Shallow"},
}

// validationFailed is what Image Builder answers to a template that it does not take.
func validationFailed(format string, args ...any) error {
	return errorf(http.StatusBadRequest, "ValidationFailed", "Validation failed: "+format, args...)
}

// badValue names a field whose value is not taken.
func badValue(at, field string, value any) error {
	return validationFailed("'ImageTemplate.%s': Field '%s' has a bad value: '%v'. Please review http://aka.ms/azvmimagebuildertmplref "+
		"for details on fields requirements in the Image Builder Template.", at, field, value)
}

// checkShape says what is wrong with the form of a value for an API version.
func checkShape(v any, s *shape, at, version string) error {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		for i, item := range v {
			if err := checkShape(item, s, fmt.Sprintf("%s[%d]", at, i), version); err != nil {
				return err
			}
		}
		return nil
	case object:
		return checkObject(v, s, at, version)
	}
	return badValue(at, lastField(at), v)
}

func lastField(at string) string { return at[strings.LastIndexByte(at, '.')+1:] }

func checkObject(o object, s *shape, at, version string) error {
	if s.kinds != nil {
		kind := str(o, "type")
		inner := s.kinds[kind]
		if inner == nil {
			return badValue(at, "type", kind)
		}
		s = inner
	}
	for name, value := range o {
		inner, known := s.fields[name]
		if (!known || newer[name] > version) && version >= strictSince {
			return validationFailed("Could not find member '%s' on object of type '%s'. Path '%s'.", name, s.name, at)
		}
		if allowed := oneOf[name]; known && allowed != nil && !slices.Contains(allowed, fmt.Sprint(value)) {
			return badValue(at, name, value)
		}
		if inner != nil {
			if err := checkShape(value, inner, at+"."+name, version); err != nil {
				return err
			}
		}
	}
	for _, name := range s.needs {
		if v := o[name]; v == nil || v == "" {
			return validationFailed("'ImageTemplate.%s': Required field '%s' is missing. Please review http://aka.ms/azvmimagebuildertmplref "+
				"for details on fields requirements in the Image Builder Template.", at, name)
		}
	}
	return nil
}

// outputName is the rule for names of run outputs.
var outputName = regexp.MustCompile(`^[A-Za-z0-9-_.]{1,64}$`)

// checkTemplate says whether the form of a template is one that Image Builder takes.
func checkTemplate(w *write) error {
	if err := needLocation(w); err != nil {
		return err
	}
	if str(w.Body, "identity.type") != "UserAssigned" || len(sub(w.Body, "identity.userAssignedIdentities")) == 0 {
		return validationFailed("'ImageTemplate.identity': a user-assigned identity is required.")
	}
	properties := sub(w.Body, "properties")
	if properties == nil {
		properties = object{}
	}
	if err := checkShape(properties, templateShape, "properties", w.APIVersion); err != nil {
		return err
	}
	if minutes, given := integer(w.Body, "properties.buildTimeoutInMinutes"); given && minutes != 0 && (minutes < 6 || minutes > 960) {
		return validationFailed("buildTimeoutInMinutes is 0 or from 6 to 960.")
	}
	if err := checkDistributors(w.Body); err != nil {
		return err
	}
	return checkScripts(w.Body)
}

// checkDistributors checks what of a distributor is no matter of form.
func checkDistributors(body object) error {
	names := map[string]bool{}
	list := items(body, "properties.distribute")
	if len(list) == 0 {
		return badValue("properties", "distribute", "[]")
	}
	for i, d := range list {
		at := fmt.Sprintf("properties.distribute[%d]", i)
		name := str(d, "runOutputName")
		if !outputName.MatchString(name) || names[name] {
			return badValue(at, "runOutputName", name)
		}
		names[name] = true
		if str(d, "type") != "SharedImage" {
			continue
		}
		if definition, _, _ := cutFold(str(d, "galleryImageId"), "/versions/"); !isDefinition(definition) {
			return badValue(at, "galleryImageId", str(d, "galleryImageId"))
		}
	}
	return nil
}

// isDefinition says whether an id is that of an image definition.
func isDefinition(id string) bool {
	t, err := parsePath(id)
	return err == nil && strings.HasPrefix(id, "/subscriptions/") && strings.EqualFold(t.kind(), definitionType) && !t.collection()
}

// checkScripts checks that customizers and validators have something to do, and that
// files go where Image Builder can write.
func checkScripts(body object) error {
	for _, path := range []string{"properties.customize", "properties.validate.inVMValidations"} {
		for i, c := range items(body, path) {
			at := fmt.Sprintf("%s[%d]", path, i)
			switch str(c, "type") {
			case "Shell", "PowerShell":
				inline, _ := c["inline"].([]any)
				if (len(inline) > 0) == (str(c, "scriptUri") != "") {
					return validationFailed("'ImageTemplate.%s': exactly one of the fields 'inline' and 'scriptUri' is required.", at)
				}
			case "File":
				to := str(c, "destination")
				if strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/tmp/") {
					return badValue(at, "destination", to)
				}
			}
		}
	}
	return nil
}
