package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Mark is the edit that sets tags of a version, and keeps its others.
func Mark(tags map[string]string) VersionEdit {
	return func(version Document) (Document, error) {
		all, changed := withTags(version, tags)
		if !changed {
			return nil, nil
		}
		return Document{"tags": all}, nil
	}
}

// Seal is the edit that makes a baked version one that fleetctl keeps: tags are set,
// it has an end of life unless that is zero, and it may be deleted before.
func Seal(tags map[string]string, endOfLife time.Time) VersionEdit {
	return func(version Document) (Document, error) {
		patch, properties := Document{}, Document{"storageProfile": Document{}}
		if all, changed := withTags(version, tags); changed {
			patch["tags"] = all
		}
		end, err := time.Parse(time.RFC3339, textAt(version, "properties", "publishingProfile", "endOfLifeDate"))
		if !endOfLife.IsZero() && (err != nil || !end.Truncate(time.Second).Equal(endOfLife.Truncate(time.Second))) {
			properties["publishingProfile"] = Document{"endOfLifeDate": endOfLife.UTC().Format(time.RFC3339)}
		}
		if blocked, given := dig(version, "properties", "safetyProfile", "blockDeletionBeforeEndOfLife").(bool); blocked || !given {
			properties["safetyProfile"] = Document{"blockDeletionBeforeEndOfLife": false}
		}
		if len(properties) > 1 {
			patch["properties"] = properties
		}
		if len(patch) == 0 {
			return nil, nil
		}
		return patch, nil
	}
}

// ReplicateTo is the edit that adds a region to those that a version is in. It is
// excluded from latest there: nothing is released by being copied. A region that is
// there already stays as it is.
func ReplicateTo(region string, replicas int, storage string) VersionEdit {
	return func(version Document) (Document, error) {
		p, err := readExclusion(version)
		if err != nil {
			return nil, err
		}
		region := NormalLocation(region)
		if slices.Contains(p.names(), region) {
			return nil, nil
		}
		flags := make([]bool, len(p.regions))
		for i, r := range p.regions {
			flags[i] = r.excluded
		}
		target := Document{"name": region, "regionalReplicaCount": float64(max(replicas, 1)), "excludeFromLatest": true}
		if storage != "" {
			target["storageAccountType"] = storage
		}
		return versionPatch("publishingProfile", Document{"targetRegions": append(p.with(flags), target)}), nil
	}
}

// withTags are the tags of a version with some set, and whether that changes any. All
// are in a PATCH: whether Azure adds to the tags or replaces them, it is right.
func withTags(version Document, tags map[string]string) (all Document, changed bool) {
	all = Document{}
	if old, ok := dig(version, "tags").(Document); ok {
		all = maps.Clone(old)
	}
	for name, value := range tags {
		if is, ok := lookUp(all, name).(string); ok && is == value {
			continue
		}
		for old := range all {
			if strings.EqualFold(old, name) { // Azure does not tell them apart either
				delete(all, old)
			}
		}
		all[name], changed = value, true
	}
	return all, changed
}

// Unlike says where a version differs from what it should be, as far as want says it:
// "eastus: excludeFromLatest is true, not false". Regions are compared by their names.
func Unlike(version, want Document) []string {
	var list []string
	unlike(version, want, "", &list)
	return list
}

func unlike(got, want any, path string, list *[]string) {
	switch want := want.(type) {
	case Document:
		for _, key := range slices.Sorted(maps.Keys(want)) {
			unlike(dig(got, key), want[key], strings.TrimPrefix(path+"."+key, "."), list)
		}
	case []any:
		is, _ := got.([]any)
		for i, item := range want {
			name := NormalLocation(textAt(item, "name"))
			if name == "" {
				if i >= len(is) {
					*list = append(*list, fmt.Sprintf("%s has %d entries, not %d", path, len(is), len(want)))
					return
				}
				unlike(is[i], item, path, list)
				continue
			}
			j := slices.IndexFunc(is, func(v any) bool { return NormalLocation(textAt(v, "name")) == name })
			if j < 0 {
				*list = append(*list, name+" is not there any more")
				continue
			}
			unlikeRegion(is[j], item, name, list)
		}
	default:
		if !same(got, want) {
			key := path[strings.LastIndexByte(path, '.')+1:]
			*list = append(*list, fmt.Sprintf("%s is %s, not %s", key, shown(got), shown(want)))
		}
	}
}

// unlikeRegion compares an entry of a list that has a name, which is none to compare.
func unlikeRegion(got, want any, name string, list *[]string) {
	var found []string
	rest := maps.Clone(want.(Document)) // it has a name
	maps.DeleteFunc(rest, func(key string, _ any) bool { return strings.EqualFold(key, "name") })
	unlike(got, rest, "", &found)
	for _, f := range found {
		*list = append(*list, name+": "+f)
	}
}

// same says whether two values of JSON are one, a time in whatever form it has.
func same(a, b any) bool {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			s, err1 := time.Parse(time.RFC3339, x)
			t, err2 := time.Parse(time.RFC3339, y)
			return x == y || err1 == nil && err2 == nil && s.Equal(t)
		}
	}
	if x, ok := integer(a); ok {
		if y, ok := integer(b); ok {
			return x == y
		}
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func shown(v any) string {
	if v == nil {
		return "not there"
	}
	return fmt.Sprint(v)
}

// Patched is a version as it is after a PATCH: objects are merged, and all else takes
// the place of what was there (RFC 7396, without the removal).
func Patched(version, patch Document) Document {
	result := maps.Clone(version)
	if result == nil {
		result = Document{}
	}
	for key, value := range patch {
		if part, ok := value.(Document); ok {
			old, _ := lookUp(result, key).(Document)
			value = Patched(old, part)
		}
		for old := range result {
			if strings.EqualFold(old, key) {
				delete(result, old)
			}
		}
		result[key] = value
	}
	return result
}

// ProvisioningState is the state of a resource that was read.
func ProvisioningState(resource Document) string {
	return textAt(resource, "properties", "provisioningState")
}

// Written is what of a version can be written, and so what a second writer changes:
// its tags, and its publishing and safety profiles.
func Written(version Document) Document {
	profile, _ := dig(version, "properties", "publishingProfile").(Document)
	profile = maps.Clone(profile)
	delete(profile, "publishedDate")
	safety, _ := dig(version, "properties", "safetyProfile").(Document)
	safety = maps.Clone(safety)
	for _, readOnly := range []string{"reportedForPolicyViolation", "policyViolations"} {
		delete(safety, readOnly)
	}
	tags, _ := dig(version, "tags").(Document)
	return Document{"tags": tags, "properties": Document{"publishingProfile": profile, "safetyProfile": safety}}
}
