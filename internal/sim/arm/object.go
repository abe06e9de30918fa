package arm

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// An object is a JSON object. Numbers are json.Number, so that what was sent is
// what is returned. An object that is in the store is never changed: it is copied,
// changed and put.
type object = map[string]any

// dig returns what is at a path such as "properties.publishingProfile", or nil.
func dig(o object, path string) any {
	var v any = o
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// str returns the string at a path, or "".
func str(o object, path string) string {
	s, _ := dig(o, path).(string)
	return s
}

// boolean returns the bool at a path, or false.
func boolean(o object, path string) bool {
	b, _ := dig(o, path).(bool)
	return b
}

// number returns the number at a path; ok is false when there is none.
func number(o object, path string) (n float64, ok bool) {
	switch v := dig(o, path).(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// integer returns the whole number at a path; ok is false when there is none.
func integer(o object, path string) (n int, ok bool) {
	f, ok := number(o, path)
	if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int(f), true
}

// sub returns the object at a path, or nil.
func sub(o object, path string) object {
	m, _ := dig(o, path).(object)
	return m
}

// items returns the objects of the array at a path; what is no object is left out.
func items(o object, path string) []object {
	list, _ := dig(o, path).([]any)
	var found []object
	for _, v := range list {
		if m, ok := v.(object); ok {
			found = append(found, m)
		}
	}
	return found
}

// set puts a value at a path and makes the objects on the way.
func set(o object, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		next, ok := o[key].(object)
		if !ok {
			next = object{}
			o[key] = next
		}
		o = next
	}
	o[keys[len(keys)-1]] = value
}

// setDefault is set where nothing is.
func setDefault(o object, path string, value any) {
	if dig(o, path) == nil {
		set(o, path, value)
	}
}

// remove takes away what is at a path.
func remove(o object, path string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		o, path = sub(o, path[:i]), path[i+1:]
	}
	delete(o, path)
}

// clone copies a JSON value deeply.
func clone[T any](v T) T {
	c, _ := cloneAny(v).(T)
	return c
}

func cloneAny(v any) any {
	switch v := v.(type) {
	case object:
		if v == nil {
			return v
		}
		c := make(object, len(v))
		for key, value := range v {
			c[key] = cloneAny(value)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = cloneAny(v[i])
		}
		return c
	}
	return v
}

// merge applies a JSON merge patch (RFC 7396) to a copy of target.
func merge(target, patch object) object {
	merged := clone(target)
	if merged == nil {
		merged = object{}
	}
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(merged, key)
		case object:
			old, _ := merged[key].(object)
			merged[key] = merge(old, value)
		default:
			merged[key] = cloneAny(value)
		}
	}
	return merged
}

// whole is a whole number as bodies hold it.
func whole(n int) json.Number { return json.Number(strconv.Itoa(n)) }
