package arm

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// maxMembers bounds a scale set, as Azure does.
const maxMembers = 1000

// checkScenario collects what is wrong with a scenario that could be decoded.
func checkScenario(c *strict.Checker, f *scenarioFile) {
	checkTags(c, reflect.ValueOf(*f), nil)
	if math.IsNaN(f.Clock.Speed) || f.Clock.Speed < 0 || f.Clock.Speed > 1000 {
		c.Fail("it is 0 to 1000", "clock", "speed")
	}
	images := map[string]bool{}
	unique(c, f.Galleries, func(g gallerySpec) string { return g.Name }, "galleries")
	for i, g := range f.Galleries {
		unique(c, g.Definitions, func(d definitionSpec) string { return d.Name }, "galleries", i, "definitions")
		for j, d := range g.Definitions {
			images[strings.ToLower(g.Name+"/"+d.Name)] = true
			unique(c, d.Versions, func(v versionSpec) string { return v.Name }, "galleries", i, "definitions", j, "versions")
			for k, v := range d.Versions {
				images[strings.ToLower(g.Name+"/"+d.Name+"/"+v.Name)] = true
				if !versionName.MatchString(v.Name) {
					c.Fail(fmt.Sprintf("%q is no version: write it like 1.7.1", v.Name), "galleries", i, "definitions", j, "versions", k, "name")
				}
			}
		}
	}
	checkSets(c, f, images)
	sets := map[string]bool{}
	for _, set := range f.ScaleSets {
		sets[strings.ToLower(set.Name)] = true
	}
	unique(c, f.Autoscale, func(a autoscaleSpec) string { return a.Name }, "autoscale")
	for i, a := range f.Autoscale {
		if !sets[strings.ToLower(a.ScaleSet)] {
			c.Fail(fmt.Sprintf("there is no scale set %q in this file", a.ScaleSet), "autoscale", i, "scale_set")
		}
		for j, rule := range a.Rules {
			if (rule.Above == nil) == (rule.Below == nil) {
				c.Fail("a rule has one of above and below", "autoscale", i, "rules", j)
			}
		}
	}
	unique(c, f.Templates, func(t templateSpec) string { return t.Name }, "templates")
	for i, t := range f.Templates {
		if t.Image != "" {
			checkImage(c, t.Image, images, "templates", i, "image")
		}
	}
	checkBuilds(c, f)
	for i, p := range f.Policies {
		if !strings.Contains(p.Type, "/") {
			c.Fail(fmt.Sprintf("%q is no type of a resource: write it like %s", p.Type, setType), "policies", i, "type")
		}
	}
	for i, r := range f.Resources {
		if !strings.HasPrefix(r.ID, "/subscriptions/") && !strings.Contains(r.ID, "/") {
			c.Fail("an id begins with /subscriptions/ or, in the resource group, with a namespace like Microsoft.Network/", "resources", i, "id")
		}
	}
	f.checkMachines(c)
	f.checkPlatform(c)
	for i, fault := range f.Faults {
		f := fault.fault()
		c.Check(f.check(), "faults", i)
	}
}

func checkSets(c *strict.Checker, f *scenarioFile, images map[string]bool) {
	unique(c, f.ScaleSets, func(s setSpec) string {
		return cmp.Or(s.ResourceGroup, f.ResourceGroup) + "/" + s.Name
	}, "scale_sets")
	for i, set := range f.ScaleSets {
		if set.Image == "" {
			c.Fail("image is missing", "scale_sets", i)
		} else {
			checkImage(c, set.Image, images, "scale_sets", i, "image")
		}
		count := 0
		names := map[string]bool{}
		for j, m := range set.Members {
			at := []any{"scale_sets", i, "members", j}
			n := m.count()
			count += n
			if n < 0 || count > maxMembers {
				c.Fail(fmt.Sprintf("a scale set has at most %d members", maxMembers), at...)
			}
			if m.Name != "" {
				if n > 1 {
					c.Fail("members with a name are one each: leave out count or name", at...)
				}
				if names[strings.ToLower(m.Name)] {
					c.Fail(fmt.Sprintf("there are two members named %q", m.Name), append(at, "name")...)
				}
				names[strings.ToLower(m.Name)] = true
			}
			if m.Version != "" && !versionName.MatchString(m.Version) {
				c.Fail(fmt.Sprintf("%q is no version: write it like 1.7.1", m.Version), append(at, "version")...)
			}
			if m.Image != "" {
				checkImage(c, m.Image, images, append(at, "image")...)
			}
		}
		if set.Capacity != nil && (*set.Capacity < 0 || *set.Capacity > maxMembers) {
			c.Fail(fmt.Sprintf("it is 0 to %d", maxMembers), "scale_sets", i, "capacity")
		}
		for j, h := range set.History {
			if h.Target != "" {
				checkImage(c, h.Target, images, "scale_sets", i, "history", j, "target")
			}
		}
	}
}

func (m memberSpec) count() int {
	if m.Count == nil {
		return 1
	}
	return *m.Count
}

// checkImage checks a reference in one of its three forms.
func checkImage(c *strict.Checker, image string, known map[string]bool, at ...any) {
	switch {
	case strings.HasPrefix(image, "/subscriptions/"), strings.Count(image, ":") == 3:
	case !known[strings.ToLower(image)]:
		c.Fail(fmt.Sprintf("there is no image %q in this file: write GALLERY/DEFINITION[/VERSION], a resource id, or publisher:offer:sku:version", image), at...)
	}
}

// unique reports the second of two with the same name.
func unique[T any](c *strict.Checker, list []T, name func(T) string, at ...any) {
	seen := map[string]bool{}
	for i, item := range list {
		key := strings.ToLower(name(item))
		if seen[key] {
			c.Fail(fmt.Sprintf("there are two named %q", name(item)[strings.LastIndexByte(name(item), '/')+1:]), append(slices.Clone(at), i)...)
		}
		seen[key] = true
	}
}

// checkTags checks what the struct tags required and enum say, everywhere below v.
func checkTags(c *strict.Checker, v reflect.Value, at []any) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			checkTags(c, v.Elem(), at)
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkTags(c, v.Index(i), append(slices.Clone(at), i))
		}
	case reflect.Map:
		if v.Type().Elem().Kind() != reflect.Struct {
			return // raw ARM, or text
		}
		names := slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, name := range names {
			checkTags(c, v.MapIndex(name), append(slices.Clone(at), name.String()))
		}
	case reflect.Struct:
		for field := range v.Type().Fields() {
			key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			inner := v.FieldByIndex(field.Index)
			switch {
			case options == "inline":
				checkTags(c, inner, at)
			case key != "":
				checkField(c, field, key, inner, at)
			}
		}
	default: // a value
	}
}

func checkField(c *strict.Checker, field reflect.StructField, key string, v reflect.Value, at []any) {
	if field.Tag.Get("required") != "" && v.IsZero() {
		c.Fail(key+" is missing", at...)
	}
	at = append(slices.Clone(at), key)
	if allowed := field.Tag.Get("enum"); allowed != "" {
		for _, value := range texts(v) {
			if !slices.Contains(strings.Split(allowed, ","), value) {
				c.Fail(fmt.Sprintf("%q is not one of %s", value, strings.ReplaceAll(allowed, ",", ", ")), at...)
			}
		}
	}
	checkTags(c, v, at)
}

// texts returns the strings in a value, a list or a map.
func texts(v reflect.Value) []string {
	switch value := v.Interface().(type) {
	case string:
		if value == "" {
			return nil
		}
		return []string{value}
	case []string:
		return value
	case map[string]string:
		return slices.Sorted(maps.Values(value))
	}
	return nil
}
