package fleet

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// dig returns what stands in decoded JSON below the keys, or nil. Azure does not tell
// the letters of keys apart.
func dig(v any, keys ...string) any {
	for _, key := range keys {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = lookUp(object, key)
	}
	return v
}

func lookUp(object map[string]any, key string) any {
	if v, ok := object[key]; ok {
		return v
	}
	var found string
	var value any
	for name, v := range object { // of several that differ in their letters always the same one
		if strings.EqualFold(name, key) && (found == "" || name < found) {
			found, value = name, v
		}
	}
	return value
}

// TextAt is the text that stands in a document below the keys, or "".
func TextAt(d Document, keys ...string) string { return textAt(d, keys...) }

// textAt and listAt return what stands below the keys, if it is that.
func textAt(v any, keys ...string) string {
	s, _ := dig(v, keys...).(string)
	return s
}

func listAt(v any, keys ...string) []any {
	l, _ := dig(v, keys...).([]any)
	return l
}

// objectsAt returns the objects in the list below the keys. What else is in it is none.
func objectsAt(v any, keys ...string) []Document {
	var all []Document
	for _, one := range listAt(v, keys...) {
		if object, ok := one.(Document); ok {
			all = append(all, object)
		}
	}
	return all
}

// firstAt returns the first of those objects, or nil.
func firstAt(v any, keys ...string) Document {
	all := objectsAt(v, keys...)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// has says whether there is an object below the keys, empty or not.
func has(v any, keys ...string) bool {
	_, ok := dig(v, keys...).(Document)
	return ok
}

// trueAt says whether true stands below the keys.
func trueAt(v any, keys ...string) bool { return isTrue(boolAt(v, keys...)) }

// boolAt, integerAt and durationAt are nil when there is nothing of that kind below the
// keys.
func boolAt(v any, keys ...string) *bool {
	b, ok := dig(v, keys...).(bool)
	if !ok {
		return nil
	}
	return &b
}

func integerAt(v any, keys ...string) *int {
	n, ok := integer(dig(v, keys...))
	if !ok {
		return nil
	}
	return &n
}

// intAt is the same, or 0.
func intAt(v any, keys ...string) int {
	n, ok := integer(dig(v, keys...))
	if !ok {
		return 0
	}
	return n
}

// numberAt is a whole number that stands below the keys as a text, or 0.
func numberAt(v any, keys ...string) int {
	n, err := strconv.Atoi(textAt(v, keys...))
	if err != nil {
		return 0
	}
	return n
}

// timeAt is the instant below the keys, or the zero time. Azure leaves the zone out here
// and there, and means UTC.
func timeAt(v any, keys ...string) time.Time {
	text := strings.ToUpper(strings.Replace(textAt(v, keys...), " ", "T", 1))
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{} // what is no time is none
}

// isoPattern is a duration as ARM writes it, of days and less: PT30M, P1DT2H.
var isoPattern = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})(?:\.\d+)?S)?)?$`)

// parseISO reads such a duration: PT1H30M, which is PT90M, too. Parts of a second are left
// out.
func parseISO(text string) (d time.Duration, ok bool) {
	parts := isoPattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, err := strconv.Atoi(parts[i+1]) // digits, and few: it fails where there are none
		d, ok = d+time.Duration(n)*unit, ok || err == nil
	}
	return d, ok
}

func durationAt(v any, keys ...string) *time.Duration {
	d, ok := parseISO(textAt(v, keys...))
	if !ok {
		return nil
	}
	return &d
}

// spanAt is the same, or 0.
func spanAt(v any, keys ...string) time.Duration {
	if d := durationAt(v, keys...); d != nil {
		return *d
	}
	return 0
}

// tagsAt returns the tags of a resource, or nil.
func tagsAt(d Document) map[string]string {
	object, _ := dig(d, "tags").(Document)
	var tags map[string]string
	for name, v := range object {
		if text, ok := v.(string); ok || v == nil {
			if tags == nil {
				tags = make(map[string]string, len(object))
			}
			tags[name] = text
		}
	}
	return tags
}

// integer returns a whole number, in any form in which JSON or YAML may give one.
func integer(v any) (int, bool) {
	switch n := v.(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	case float64:
		return int(n), n == float64(int(n))
	case interface{ Int64() (int64, error) }: // a json.Number
		i, err := n.Int64()
		return int(i), err == nil
	}
	return 0, false
}
