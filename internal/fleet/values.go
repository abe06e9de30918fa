package fleet

import "strings"

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
	for name, v := range object {
		if strings.EqualFold(name, key) {
			return v
		}
	}
	return nil
}

// textAt and listAt return what stands below the keys, if it is that.
func textAt(v any, keys ...string) string {
	s, _ := dig(v, keys...).(string)
	return s
}

func listAt(v any, keys ...string) []any {
	l, _ := dig(v, keys...).([]any)
	return l
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
