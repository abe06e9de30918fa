package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A keyTrace says which keys of the file a property of a body comes from.
type keyTrace map[string]*origin

// An origin are the keys that a property comes from: those that give it its value, and
// those that decide whether it is there.
type origin struct {
	value, presence []string
	there           bool // the body has it now
}

func (o *origin) keys() []string {
	if len(o.value) > 0 {
		return innermost(o.value)
	}
	return innermost(o.presence)
}

// at is the origin of a property, made when it is not known.
func (t keyTrace) at(path string) *origin {
	if t[path] == nil {
		t[path] = &origin{}
	}
	return t[path]
}

// trace finds it out by trying: each key of the file is changed in a copy, and what then
// differs in the body comes from it. So the code that makes the bodies is all that knows
// how keys and properties go together.
func (about *subject) trace(s *Spec) keyTrace {
	c := copied(reflect.ValueOf(s)).Interface().(*Spec)
	was, found := flat(about.body(c)), keyTrace{}
	tried := func(key string) {
		is := flat(about.body(c))
		for path := range changed(was, is) {
			o := found.at(path)
			_, before := was[path]
			_, after := is[path]
			o.there = before
			if before && after {
				o.value = appendNew(o.value, key)
			} else {
				o.presence = appendNew(o.presence, key)
			}
		}
	}
	for _, part := range []struct {
		key   string
		value any
	}{{"location", &c.Location}, {"name", &c.Name}, {"resource_group", &c.ResourceGroup}, {"tags", &c.Tags}, {"gallery", c.Gallery}, {"bake", c.Bake}} {
		if v := reflect.ValueOf(part.value); !v.IsNil() { // of a section that is there; others count on it
			vary(v.Elem(), part.key, tried)
		}
	}
	if set, ok := c.ScaleSets[about.set]; ok {
		vary(reflect.ValueOf(&set).Elem(), about.section, func(key string) {
			before := c.ScaleSets[about.set]
			c.ScaleSets[about.set] = set
			tried(key)
			c.ScaleSets[about.set] = before
		})
		if set.Location == NormalLocation(s.Location) { // it may be the file's
			o := found.at("location")
			o.value = appendNew(o.value, "location")
		}
		if set.Create != nil {
			for path := range flat(set.Create.Extra) {
				found[path] = &origin{value: []string{about.section + ".create.extra." + path}, there: true}
			}
		}
	}
	return found
}

// innermost leaves out the keys that others are below of.
func innermost(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(outer string) bool {
		return slices.ContainsFunc(keys, func(key string) bool {
			return strings.HasPrefix(key, outer+".") || strings.HasPrefix(key, outer+"[")
		})
	})
}

// keys returns the keys of the file behind a property as Azure names it: whole or in part,
// with the name of what it is in ("galleryImage.properties.identifier"), or one of the tags
// ("tags['owner']").
func (t keyTrace) keys(property string) []string {
	names := segments(property)
	if len(names) > 1 && names[0] == "tags" {
		names = names[:1] // a tag that the file does not have
	}
	for first := range names {
		if found := t.behind(names[first:]); len(found) > 0 {
			return found
		}
	}
	return nil
}

// behind returns the keys behind the properties in whose path these names stand in a row.
// Those that the body has count first.
func (t keyTrace) behind(names []string) []string {
	for _, there := range []bool{true, false} {
		var exact, all []string
		for _, path := range slices.Sorted(maps.Keys(t)) {
			at := segments(path)
			i := indexOf(at, names)
			if i < 0 || t[path].there != there {
				continue
			}
			all = appendNew(all, t[path].keys()...)
			if i+len(names) == len(at) {
				exact = appendNew(exact, t[path].keys()...)
			}
		}
		if len(exact) > 0 && len(exact) <= maxKeys {
			return exact
		}
		if len(all) > 0 {
			return sections(all)
		}
	}
	return nil
}

// segments are the names of a property's path, in lower case and without indices.
func segments(path string) []string {
	var names []string
	for name := range strings.FieldsFuncSeq(strings.ToLower(path), func(r rune) bool { return r == '.' || r == '/' }) {
		name, _, _ = strings.Cut(name, "[")
		names = append(names, name)
	}
	return names
}

// indexOf is where names stand in a row in at, or -1.
func indexOf(at, names []string) int {
	for i := 0; i+len(names) <= len(at); i++ {
		if slices.Equal(at[i:i+len(names)], names) {
			return i
		}
	}
	return -1
}

// sections are the smallest sections of the file that hold the keys, one of each part.
func sections(keys []string) []string {
	var parts []string
	shared := map[string][]string{}
	for _, key := range keys {
		names := strings.Split(key, ".")
		was, known := shared[names[0]]
		if !known {
			parts, was = append(parts, names[0]), names
		}
		n := 0
		for n < min(len(was), len(names)) && was[n] == names[n] {
			n++
		}
		shared[names[0]] = was[:n]
	}
	for i, part := range parts {
		parts[i] = strings.Join(shared[part], ".")
	}
	return parts
}

// body is what the file makes of a subject, with its name as a property.
func (about *subject) body(s *Spec) Document {
	switch about.kind {
	case ofSet, ofExtension, ofAutoscale, ofMember:
		return about.bodyOfSet(s)
	case ofTemplate:
		if s.Bake == nil || s.Gallery == nil {
			return nil
		}
		parts, _ := s.content(nil, false)
		n := len(s.Bake.Customize)
		body := ImageTemplate(s, &Content{customize: parts[:n], validate: parts[n:]}, s.Bake.Version)
		return overlay(body, Document{"name": s.TemplateName(s.Bake.Version)})
	case ofVersion:
		return s.bodyOfVersion()
	}
	for _, d := range Foundation(s, &Live{}) {
		if kindsOfSubjects[strings.ToLower(d.ID.Type())].kind == about.kind {
			return overlay(d.Body, Document{"name": d.ID.Name()})
		}
	}
	return nil
}

func (about *subject) bodyOfSet(s *Spec) Document {
	set := s.ScaleSets[about.set]
	model := declaredModel(s, about.set, &set)
	switch {
	case about.kind == ofAutoscale && set.Autoscale == nil:
		return nil
	case about.kind == ofAutoscale:
		return autoscaleBody(set.Autoscale, s.SetID(about.set), set.Location)
	case about.kind == ofExtension && len(model.Extensions) == 0:
		return nil
	case about.kind == ofExtension:
		return extensionBody(&model.Extensions[0])
	}
	p := setPlanner{spec: s, name: about.set, file: &set, model: model}
	body, key := overlay(p.managedBody(), p.shapeBody()), ""
	image := s.DefinitionID()
	if set.Tracks != TracksLatest {
		image += "/versions/0.0.0"
	}
	if set.Create != nil {
		key = set.Create.SSHKey
	}
	body = overlay(body, SetBody(s, about.set, image, key))
	return overlay(body, Document{"name": s.SetID(about.set).Name(), "location": set.Location})
}

// bodyOfVersion is what the file says of every version.
func (s *Spec) bodyOfVersion() Document {
	if s.Gallery == nil {
		return nil
	}
	var regions []any
	for _, r := range s.BakeRegions() {
		regions = append(regions, Document{"name": r.Name, "regionalReplicaCount": float64(r.Replicas), "storageAccountType": s.Gallery.Storage})
	}
	body := Document{"location": s.Location, "properties": Document{"publishingProfile": Document{
		"targetRegions": regions, "storageAccountType": s.Gallery.Storage, "endOfLifeDate": s.Gallery.EndOfLife.String(),
	}}}
	if s.Bake != nil {
		body["name"] = s.Bake.Version
		body = overlaid(body, Document{"properties": Document{"storageProfile": Document{"source": Document{"id": s.Bake.Version}}}})
	}
	return body
}

// flat are the values of a document by their path; those of the items of a list have no
// index in it, and are joined.
func flat(d Document) map[string]string {
	values := map[string]string{}
	flatten(d, "", values)
	return values
}

func flatten(v any, path string, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			flatten(v[name], strings.TrimPrefix(path+"."+name, "."), into)
		}
	case []any:
		if !slices.ContainsFunc(v, func(one any) bool { _, object := one.(map[string]any); return object }) {
			into[path] += fmt.Sprint(v)
			return
		}
		for _, one := range v {
			flatten(one, path, into)
		}
	default:
		text, _ := json.Marshal(v) // a plain value
		into[path] += string(text)
	}
}

// changed are the paths that two documents do not have alike.
func changed(was, is map[string]string) map[string]bool {
	paths := map[string]bool{}
	for _, pair := range [][2]map[string]string{{was, is}, {is, was}} {
		for path, value := range pair[0] {
			if other, ok := pair[1][path]; !ok || other != value {
				paths[path] = true
			}
		}
	}
	return paths
}

// vary gives every value of a part of the file others, one after the other, calls tried
// with its key, and puts it back.
func vary(v reflect.Value, key string, tried func(key string)) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	try := func(other reflect.Value) {
		v.Set(other)
		tried(key)
		v.Set(was)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			try(reflect.New(v.Type().Elem()))
			return
		}
		if !strings.HasSuffix(key, ".create") { // without it there is no body
			try(reflect.Zero(v.Type()))
		}
		vary(v.Elem(), key, tried)
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Tag.Get("yaml"); name != "extra" && name != "manage" {
				vary(v.Field(i), key+"."+name, tried)
			}
		}
	case reflect.Slice:
		varyItems(v, key, try, tried)
	case reflect.Map:
		if v.Len() == 0 {
			one := reflect.MakeMap(v.Type())
			one.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(v.Type().Elem()))
			try(one)
		}
		for _, name := range v.MapKeys() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(name))
			before := v.MapIndex(name)
			vary(item, key+"."+name.String(), func(inner string) {
				v.SetMapIndex(name, item)
				tried(inner)
				v.SetMapIndex(name, before)
			})
		}
	default:
		for _, other := range others(v) {
			try(other)
		}
	}
}

// varyItems is vary of a list: one without items gets one.
func varyItems(v reflect.Value, key string, try func(reflect.Value), tried func(string)) {
	if v.Len() == 0 {
		try(reflect.MakeSlice(v.Type(), 1, 1))
		return
	}
	try(reflect.Zero(v.Type()))
	if v.Index(0).Kind() != reflect.Struct {
		return // the list is one value
	}
	for i := range v.Len() {
		vary(v.Index(i), key+"["+strconv.Itoa(i)+"]", tried)
	}
}

// others are values that a plain one can have besides its own.
func others(v reflect.Value) []reflect.Value {
	var values []any
	switch now := v.Interface().(type) {
	case Driver:
		values = []any{DriverBatches, DriverPlatformRolling, DriverPlatformAutoOS}
	case time.Duration:
		values = []any{now + time.Minute}
	}
	if values == nil {
		switch kind := v.Kind(); {
		case kind == reflect.String:
			values = []any{v.String() + "x", TracksLatest, TracksPinned}
		case kind == reflect.Bool:
			values = []any{!v.Bool()}
		case v.CanInt():
			values = []any{v.Int() + 1}
		case v.CanFloat():
			values = []any{v.Float() + 1}
		}
	}
	list := make([]reflect.Value, len(values))
	for i, one := range values {
		list[i] = reflect.ValueOf(one).Convert(v.Type())
	}
	return list
}

// copied is a value that shares nothing with another.
func copied(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.Set(reflect.New(v.Type().Elem()))
			c.Elem().Set(copied(v.Elem()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			c.Field(i).Set(copied(v.Field(i)))
		}
	case reflect.Slice:
		if !v.IsNil() {
			c.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				c.Index(i).Set(copied(v.Index(i)))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			c.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for _, key := range v.MapKeys() {
				c.SetMapIndex(key, copied(v.MapIndex(key)))
			}
		}
	default: // plain, or a raw property, which is never changed
		c.Set(v)
	}
	return c
}

// keysOfScope are the keys of the file that name a resource, or what it is in, the
// longest id first.
func (s *Spec) keysOfScope(scope ResourceID, about *subject) []string {
	best, longest := []string(nil), 0
	name := func(key string, id ResourceID) {
		if id == "" || !strings.HasPrefix(Key(scope)+"/", Key(id)+"/") {
			return
		}
		switch {
		case len(id) > longest:
			best, longest = []string{key}, len(id)
		case len(id) == longest:
			best = appendNew(best, key)
		}
	}
	name("subscription", ResourceID("/subscriptions/"+s.Subscription))
	name("resource_group", s.group(""))
	if s.Gallery != nil {
		if s.Gallery.ResourceGroup != "" {
			name("gallery.resource_group", s.group(s.Gallery.ResourceGroup))
		}
		name("gallery.name", s.GalleryID())
		name("gallery.image.name", s.DefinitionID())
	}
	name("bake.identity", s.IdentityID())
	for _, set := range sortedKeys(s.ScaleSets) {
		section := "scale_sets." + set
		name(section, s.SetID(set))
		if c := s.ScaleSets[set].Create; c != nil && (about.set == "" || about.set == set) {
			name(section+".create.network.subnet", c.Network.Subnet)
			for i, pool := range c.Network.BackendPools {
				name(section+".create.network.backend_pools["+strconv.Itoa(i)+"]", pool)
			}
			for path, value := range flat(c.Extra) {
				name(section+".create.extra."+path, ResourceID(strings.Trim(value, `"`)))
			}
		}
	}
	if len(best) == 0 {
		return nil
	}
	return best
}
