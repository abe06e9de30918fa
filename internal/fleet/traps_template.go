package fleet

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The traps that the content of a bake is looked through for, by id.
const (
	trapFileCustomizer   = "file-customizer"
	trapHomelessFile     = "homeless-file"
	trapUnreadableScript = "unreadable-script"
)

// findContent finds the faults of the file's content that are of one trap.
func findContent(trap string) func(*scene) []Finding {
	return func(s *scene) []Finding {
		if s.spec == nil || s.spec.Bake == nil {
			return nil
		}
		_, faults := s.spec.content(s.files, false)
		var all []Finding
		for _, f := range faults {
			if f.trap == trap {
				all = append(all, Finding{Resource: Resource{Kind: kindBake, Name: s.spec.Name}, Key: f.Key, Seen: f.Text, Fix: f.Fix})
			}
		}
		return all
	}
}

// inFiles looks at every image template of a file.
func (s *scene) inFiles(look func(*build) []Finding) []Finding {
	var all []Finding
	for i := range s.builds {
		if b := &s.builds[i]; b.file != nil {
			all = append(all, look(b)...)
		}
	}
	return all
}

func findBareTemplate(s *scene) []Finding {
	return s.inFiles(func(b *build) []Finding {
		if len(b.file.missing) == 0 {
			return nil
		}
		missing := b.file.missing
		list := missing[0]
		if n := len(missing); n > 1 {
			list = strings.Join(missing[:n-1], ", ") + " and " + missing[n-1]
		}
		if b.file.deployment {
			return one(b.say("", "the file lacks "+list, "add it"))
		}
		return one(b.say("", "the file is one resource: it lacks "+list,
			"put it into a template for deployments, as fleetctl bake --print-template writes one"))
	})
}

// placeholder is what somebody was to fill in.
var placeholder = regexp.MustCompile(`<[A-Za-z][A-Za-z0-9 _.-]*>`)

func findPlaceholder(s *scene) []Finding {
	return s.inFiles(func(b *build) []Finding {
		var all []Finding
		eachText(b.body, "", 0, func(path, text string) {
			if found := placeholder.FindString(text); found != "" {
				all = append(all, b.say(path, found+" was to be filled in", "write what it stands for"))
			}
		})
		return all
	})
}

// eachText visits the keys and texts of a document, but not commands, where < is the
// shell's.
func eachText(v any, path string, depth int, visit func(path, text string)) {
	switch v := v.(type) {
	case string:
		visit(path, v)
	case []any:
		for i := range v {
			eachText(v[i], path+"["+strconv.Itoa(i)+"]", depth+1, visit)
		}
	case Document:
		for _, key := range sortedKeys(v) {
			below := strings.TrimPrefix(path+"."+key, ".")
			visit(below, key)
			if key != "inline" {
				eachText(v[key], below, depth+1, visit)
			}
		}
	}
}

var findUnchecked = eachStep(func(_ *scene, b *build, st *step) []Finding {
	if b.template == nil && b.file == nil || st.checked {
		return nil
	}
	key, address := st.key+".scriptUri", st.script
	if address == "" {
		key, address = st.key+".sourceUri", st.file
	}
	if address == "" {
		return nil
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(address, "https://"), "/")
	return one(b.say(key, st.label()+" fetches from "+host+" without sha256Checksum",
		"add sha256Checksum: what sha256sum says of the file"))
})

var findAndList = eachStep(func(_ *scene, b *build, st *step) []Finding {
	line, command := andList(strings.Join(st.inline, "\n"))
	if line == 0 {
		return nil
	}
	return one(b.say(st.inlineKey(line), fmt.Sprintf("line %d of %s goes on when %s fails", line, st.label(), command),
		"write each command on a line of its own"))
})

// templateAPI is the API version that templateFields is of. From it on, letters count.
const templateAPI = "2024-02-01"

// templateFields are the fields of an image template, by the path of what holds them.
// Where the type of a customizer or another part decides, those of all types stand
// together.
var templateFields = map[string][]string{
	"":                                        {"type", "apiVersion", "name", "location", "tags", "identity", "properties"},
	"identity":                                {"type", "userAssignedIdentities"},
	"properties":                              {"source", "customize", "optimize", "validate", "distribute", "errorHandling", "buildTimeoutInMinutes", "vmProfile", "stagingResourceGroup", "autoRun", "managedResourceTags"},
	"properties.source":                       {"type", "imageId", "publisher", "offer", "sku", "version", "planInfo", "imageVersionId"},
	"properties.source.planInfo":              {"planName", "planProduct", "planPublisher"},
	"properties.customize[]":                  append(stepFields, "restartCommand", "restartCheckCommand", "restartTimeout", "searchCriteria", "filters", "updateLimit"),
	"properties.validate":                     {"continueDistributeOnFailure", "sourceValidationOnly", "inVMValidations"},
	"properties.validate.inVMValidations[]":   stepFields,
	"properties.optimize":                     {"vmBoot"},
	"properties.optimize.vmBoot":              {"state"},
	"properties.distribute[]":                 {"type", "runOutputName", "artifactTags", "imageId", "location", "galleryImageId", "replicationRegions", "excludeFromLatest", "storageAccountType", "targetRegions", "versioning", "uri"},
	"properties.distribute[].targetRegions[]": {"name", "replicaCount", "storageAccountType"},
	"properties.distribute[].versioning":      {"scheme", "major"},
	"properties.errorHandling":                {"onCustomizerError", "onValidationError"},
	"properties.vmProfile":                    {"vmSize", "osDiskSizeGB", "userAssignedIdentities", "vnetConfig"},
	"properties.vmProfile.vnetConfig":         {"subnetId", "containerInstanceSubnetId", "proxyVmSize"},
	"properties.autoRun":                      {"state"},
}

var stepFields = []string{"type", "name", "sourceUri", "sha256Checksum", "destination", "scriptUri", "inline", "runElevated", "runAsSystem", "validExitCodes"}

// deploymentFields are what a resource of a template for deployments may have besides.
var deploymentFields = []string{"comments", "condition", "copy", "dependsOn", "existing", "metadata", "scope"}

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

func findTemplateFields(s *scene) []Finding {
	return s.inFiles(func(b *build) []Finding {
		api := textAt(b.body, "apiVersion")
		if api < templateAPI {
			return nil // older ones take what they do not know; so does what cannot be read
		}
		var all []Finding
		eachText(b.body, "", 0, func(path, key string) {
			holder, last := "", path
			if i := strings.LastIndexByte(path, '.'); i >= 0 {
				holder, last = path[:i], path[i+1:]
			}
			known, told := templateFields[listIndex.ReplaceAllString(holder, "[]")]
			if last != key || !told || slices.Contains(known, key) || holder == "" && slices.Contains(deploymentFields, key) {
				return
			}
			if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) }); i >= 0 {
				all = append(all, b.say(path, key+" is in the wrong letters", "write "+known[i]))
			} else if api == templateAPI {
				all = append(all, b.say(path, "there is no "+key+" here at API "+api, "write one of "+strings.Join(known, ", ")))
			}
		})
		return all
	})
}
