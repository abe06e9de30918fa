package rollout

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// horizon is how far back a time can lie and still decide something in the small world:
// to verify a member may take HealthyWithin and twice Stuck.
const horizon = 13 * time.Minute

// canonical writes a value so that two that differ only by when they were come out the
// same: times become distances from now, those beyond the horizon become far.
func canonical(v any, now time.Time) string {
	return string(appendCanonical(nil, reflect.ValueOf(v), now))
}

func appendCanonical(b []byte, v reflect.Value, now time.Time) []byte {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			t := v.Interface().(time.Time)
			if t.IsZero() {
				return append(b, 'z')
			}
			d := max(min(t.Sub(now), horizon), -horizon)
			return strconv.AppendInt(append(b, 't'), int64(d/time.Second), 10)
		}
		b = append(b, '{')
		for _, field := range v.Fields() {
			b = appendCanonical(b, field, now)
			b = append(b, ',')
		}
		return append(b, '}')
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, '-')
		}
		return appendCanonical(b, v.Elem(), now)
	case reflect.Map:
		keys := v.MapKeys()
		parts := make([]string, 0, len(keys))
		for _, k := range keys {
			part := appendCanonical(nil, k, now)
			part = append(part, ':')
			parts = append(parts, string(appendCanonical(part, v.MapIndex(k), now)))
		}
		slices.Sort(parts)
		b = append(b, '[')
		for _, p := range parts {
			b = append(append(b, p...), ';')
		}
		return append(b, ']')
	case reflect.Slice:
		b = append(b, '(')
		for i := range v.Len() {
			b = append(appendCanonical(b, v.Index(i), now), ',')
		}
		return append(b, ')')
	case reflect.String:
		return append(b, v.String()...)
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	default:
	}
	return binary.AppendUvarint(b, uint64(v.Kind()))
}
