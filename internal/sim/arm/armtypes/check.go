package armtypes

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What the files do not say, by type and property.
var (
	// secret properties are never returned; their type is "any", which has no flag.
	secret = []string{
		"VirtualMachineScaleSetExtensionProperties.protectedSettings",
		"VirtualMachineExtensionProperties.protectedSettings",
	}
	// fractions are numbers of the API that Bicep, which has none, calls integers.
	fractions = []string{"BillingProfile.maxPrice", "MetricTrigger.threshold"}
	// stale lists are ones that Microsoft gave up: any string is right.
	stale = []string{"HardwareProfile.vmSize"}
)

// A judge goes through one body.
type judge struct {
	file  file
	mode  Mode
	top   ref // the resource's own type: what comes from the URL is not required there
	found []Finding
}

func (j *judge) report(kind Kind, path, format string, args ...any) {
	j.found = append(j.found, Finding{kind, path, fmt.Sprintf(format, args...)})
}

// value judges v, which is never nil but at the top: a property that is null is absent.
func (j *judge) value(at ref, v any, path string) {
	n := j.file[at]
	switch n.Kind {
	case anyType:
	case booleanType:
		if _, ok := v.(bool); !ok {
			j.report(WrongType, path, "%s for true or false", show(v))
		}
	case integerType:
		j.integer(n, v, path)
	case stringType, literalType, unionType:
		j.text(at, v, path)
	case arrayType:
		j.array(n, v, path)
	case objectType:
		j.object(n, n.Properties, v, path, at == j.top)
	case discriminatedType:
		j.discriminated(n, v, path)
	default:
		j.report(WrongType, path, "a %s has no value", n.Kind)
	}
}

func (j *judge) integer(n *node, v any, path string) {
	f, ok := number(v)
	switch {
	case !ok || f != math.Trunc(f):
		j.report(WrongType, path, "%s for an integer", show(v))
	case n.MinValue != nil && f < float64(*n.MinValue):
		j.report(Range, path, "%s is less than %d", show(v), *n.MinValue)
	case n.MaxValue != nil && f > float64(*n.MaxValue):
		j.report(Range, path, "%s is more than %d", show(v), *n.MaxValue)
	}
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case float64:
		return v, true
	case int:
		return float64(v), true
	}
	return 0, false
}

func (j *judge) text(at ref, v any, path string) {
	s, ok := v.(string)
	if !ok {
		j.report(WrongType, path, "%s for a string", show(v))
		return
	}
	n := j.file[at]
	if n.Kind == stringType {
		j.free(n, s, path)
		return
	}
	values, open := j.literals(at)
	switch {
	case slices.Contains(values, s):
	case containsFold(values, s):
		j.report(Case, path, "%q for %q", s, values[slices.IndexFunc(values, fold(s))])
	case open:
		j.report(Unlisted, path, "%q is not in the list, which may grow: %s", s, strings.Join(values, ", "))
	default:
		j.report(Value, path, "%q is none of %s", s, strings.Join(values, ", "))
	}
}

// literals lists the values of a literal or a union, and says whether others are allowed.
func (j *judge) literals(at ref) (values []string, open bool) {
	n := j.file[at]
	if n.Kind == literalType {
		return []string{n.Value}, false
	}
	for _, r := range n.Elements.list {
		if j.file[r].Kind == stringType {
			open = true
			continue
		}
		values = append(values, j.file[r].Value)
	}
	return values, open
}

func (j *judge) free(n *node, s, path string) {
	if j.mode == Response && n.Sensitive {
		j.report(WriteOnly, path, "a secret is answered")
	}
	j.length(n, utf8.RuneCountInString(s), "characters", path)
	if n.pattern != nil && !n.pattern.match(s) {
		j.report(Pattern, path, "%q does not match %s", s, n.Pattern)
	}
}

func (j *judge) length(n *node, count int, what, path string) {
	if n.MinLength != nil && count < *n.MinLength {
		j.report(Length, path, "%d %s, at least %d", count, what, *n.MinLength)
	}
	if n.MaxLength != nil && count > *n.MaxLength {
		j.report(Length, path, "%d %s, at most %d", count, what, *n.MaxLength)
	}
}

func (j *judge) array(n *node, v any, path string) {
	list, ok := v.([]any)
	if !ok {
		j.report(WrongType, path, "%s for an array", show(v))
		return
	}
	j.length(n, len(list), "items", path)
	for i, item := range list {
		j.value(*n.ItemType, item, path+"["+strconv.Itoa(i)+"]")
	}
}

// object judges an object of type n with the given properties.
func (j *judge) object(n *node, properties map[string]property, v any, path string, top bool) {
	object, ok := v.(map[string]any)
	if !ok {
		j.report(WrongType, path, "%s for an object %s", show(v), n.Name)
		return
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		at := member(path, name)
		declared, known := find(properties, name)
		switch {
		case object[name] == nil:
			if !known && n.Additional == nil {
				j.unknown(n, properties, at, name)
			}
		case known:
			seen[declared] = true
			if declared != name {
				j.report(Case, at, "%q for %q", name, declared)
			}
			j.property(n, declared, properties[declared], object[name], at)
		case n.Additional != nil:
			j.value(*n.Additional, object[name], at)
		default:
			j.unknown(n, properties, at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if !seen[name] && j.needs(properties[name], top) {
			j.report(Missing, member(path, name), "%s requires it", n.Name)
		}
	}
}

// needs says whether a property has to be there.
func (j *judge) needs(p property, top bool) bool {
	switch {
	case p.Flags&required == 0 || j.mode == Patch:
		return false
	case j.mode == Response:
		return p.Flags&writeOnly == 0
	default:
		return p.Flags&readOnly == 0 && (!top || p.Flags&fromURL == 0)
	}
}

func (j *judge) property(n *node, name string, p property, v any, path string) {
	full := n.Name + "." + name
	switch {
	case j.mode != Response && p.Flags&readOnly != 0:
		j.report(ReadOnly, path, "only Azure says it")
		return
	case j.mode == Response && (p.Flags&writeOnly != 0 || slices.Contains(secret, full)):
		j.report(WriteOnly, path, "it is never answered")
	}
	_, isNumber := number(v)
	_, isText := v.(string)
	if isNumber && slices.Contains(fractions, full) || isText && slices.Contains(stale, full) {
		return
	}
	j.value(p.Type, v, path)
}

func (j *judge) unknown(n *node, properties map[string]property, path, name string) {
	const most = 20
	names := slices.Sorted(maps.Keys(properties))
	if len(names) > most {
		names = append(names[:most], "…")
	}
	j.report(Unknown, path, "%s has no %q; it has %s", n.Name, name, strings.Join(names, ", "))
}

func (j *judge) discriminated(n *node, v any, path string) {
	object, ok := v.(map[string]any)
	if !ok {
		j.report(WrongType, path, "%s for an object %s", show(v), n.Name)
		return
	}
	name, there := sent(object, n.Discriminator)
	kind, isText := object[name].(string)
	switch {
	case !there:
		j.report(Missing, member(path, n.Discriminator), "it says which %s this is", n.Name)
		return
	case !isText:
		j.report(WrongType, member(path, name), "%s for a string", show(object[name]))
		return
	}
	kinds := slices.Sorted(maps.Keys(n.Elements.named))
	i := slices.IndexFunc(kinds, fold(kind))
	if i < 0 {
		j.report(Value, member(path, name), "%q is none of %s", kind, strings.Join(kinds, ", "))
		return
	}
	// The element has the discriminator as a property, whose literal judges its case.
	element := j.file[n.Elements.named[kinds[i]]]
	properties := maps.Clone(n.BaseProperties)
	maps.Copy(properties, element.Properties)
	j.object(element, properties, object, path, false)
}

// sent is the name under which a property is there and not null, whose case may differ.
func sent(object map[string]any, declared string) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if object[name] != nil && strings.EqualFold(name, declared) {
			return name, true
		}
	}
	return "", false
}

// find is the declared name of a property: exact, or else but for its case.
func find(properties map[string]property, name string) (string, bool) {
	if _, exact := properties[name]; exact {
		return name, true
	}
	for _, declared := range slices.Sorted(maps.Keys(properties)) {
		if strings.EqualFold(declared, name) {
			return declared, true
		}
	}
	return "", false
}

func fold(s string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(s, other) }
}

func containsFold(list []string, s string) bool { return slices.ContainsFunc(list, fold(s)) }

// member is the path of a property.
func member(path, name string) string {
	if name == "" || strings.ContainsFunc(name, odd) {
		return path + "[" + strconv.Quote(name) + "]"
	}
	return path + "." + name
}

// odd characters do not stand in a path without quotes.
func odd(r rune) bool {
	return r != '_' && r != '$' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// show tells a value by its kind, and in full only where that is short: a value may be
// a secret, or long.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprint(v)
	}
}
