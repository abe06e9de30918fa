package strict

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// list reads a list of texts or numbers, in place of what there is.
func (d *decoder) list(n *yaml.Node, v reflect.Value, w where) {
	row := d.schema.row[w.key]
	if n.Kind != yaml.SequenceNode {
		d.fail(n, w, listHint(row, n), "must be a list, not %s", kindWord(n))
		return
	}
	if row.Required && len(n.Content) == 0 {
		d.fail(n, w, "write "+row.Write(), "must not be empty")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	repeats := row.Format == FormatCommand || d.schema.formats[row.Format].Repeats
	first := make(map[any]int)
	for i, item := range n.Content {
		at := w.item(i, i)
		at.key = w.key // an item is checked by the row of its list
		before := len(d.errs)
		d.value(item, list.Index(i), at)
		if len(d.errs) > before || repeats {
			continue
		}
		have := list.Index(i).Interface()
		if j, ok := first[have]; ok {
			d.fail(item, at, "remove one", "%v is listed twice, first as item %d", show(row, item), j)
			continue
		}
		first[have] = i
	}
	if row.Format == FormatCommand && list.Index(0).String() == "" { // an argument may be
		d.fail(n.Content[0], w.item(0, 0), "write "+row.Write(), "must not be empty")
	}
	v.Set(list)
}

// listHint says how to write the scalar n as a list.
func listHint(row *Field, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || row.Secret != Open || len(n.Value) > 60 {
		return "write " + row.Write()
	}
	words := []string{n.Value}
	if row.Format == FormatCommand {
		words = strings.Fields(n.Value)
	}
	if row.Type == numbers {
		if meant, ok := meantWhole(n.Value); ok {
			return "write [" + meant + "]"
		}
		return "write " + row.Write()
	}
	if strings.ContainsAny(n.Value, "\"'`$&|;<>()[]{}#,*?!\\%:\n") || len(words) == 0 {
		return "write " + row.Write()
	}
	return "write [" + strings.Join(words, ", ") + "]"
}

// scalar reads a text, a number, a truth or a duration.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, w where) {
	row := d.schema.row[w.key]
	if row == nil { // a value of a map of texts: checked by the row of its map
		parent, _ := split(w.key)
		row = d.schema.row[parent]
	}
	if n.Kind != yaml.ScalarNode {
		d.fail(n, w, "write "+row.Write(), "must be %s, not %s", scalarWord(v), kindWord(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		if msg, hint := d.schema.checkText(row, n.Value); msg != "" {
			d.fail(n, w, hint, "%s", msg)
		}
	case reflect.Bool:
		b, hint := parseBool(n)
		if hint != "" {
			d.fail(n, w, hint, "%s is not true or false", show(row, n))
		}
		v.SetBool(b)
	case reflect.Int:
		if row.Format == FormatPercent {
			d.percent(n, v, w, row)
			return
		}
		d.integer(n, v, w, row)
	case reflect.Int64:
		d.duration(n, v, w, row)
	case reflect.Float64:
		f, ok := parseDecimal(n.Value)
		if !ok || quoted(n) {
			hint, what := "write "+row.Write(), "is not a number"
			if meant, zeros := withoutZeros(n.Value); zeros && decimalRE().MatchString(meant) {
				hint, what = "write "+meant, leadingZero
			}
			d.fail(n, w, hint, "%s %s", show(row, n), what)
			return
		}
		v.SetFloat(f)
		low, _ := strconv.ParseFloat(row.Min, 64)
		high, _ := strconv.ParseFloat(row.Max, 64)
		if f < low || f > high {
			d.fail(n, w, "", "%s is out of range, %s to %s", show(row, n), row.Min, row.Max)
		}
	default:
		panic("strict: no reader for " + v.Type().String())
	}
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, w where, row *Field) {
	read := func(s string) (Duration, error) { return readDuration(s, d.schema.days) }
	dur, err := read(n.Value)
	if err != nil {
		d.fail(n, w, durationHint(n.Value, d.schema.days), "%s %v", show(row, n), err)
		return
	}
	v.SetInt(int64(dur))
	low, _ := read(row.Min)
	high, _ := read(row.Max)
	if dur < low || dur > high {
		d.fail(n, w, "", "%s is out of range, %s to %s", show(row, n), low.text(d.schema.days), high.text(d.schema.days))
	}
}

// percent reads "20%".
func (d *decoder) percent(n *yaml.Node, v reflect.Value, w where, row *Field) {
	read := func(s string) (int, bool) {
		number, ok := strings.CutSuffix(s, "%")
		i, whole := parseWhole(number)
		return i, ok && whole
	}
	i, ok := read(n.Value)
	if !ok {
		hint := "write " + row.Write()
		if meant, ok := meantWhole(strings.TrimSpace(strings.TrimSuffix(n.Value, "%"))); ok {
			hint = "write " + meant + "%"
		}
		d.fail(n, w, hint, "%s is not a percentage in whole numbers", show(row, n))
		return
	}
	v.SetInt(int64(i))
	low, _ := read(row.Min)
	high, _ := read(row.Max)
	if i < low || i > high {
		d.fail(n, w, "", "%s is out of range, %s to %s", show(row, n), row.Min, row.Max)
	}
}

// raw reads what nobody here knows the keys of: maps, lists, texts, numbers, truths
// and nothing.
func (d *decoder) raw(n *yaml.Node, w where) any {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n, w, "remove the tag", "the tag %s is not supported", Clip(n.Tag))
		return nil
	}
	if d.Origins != nil {
		d.Origins[w.path] = Place{d.File, n.Line, n.Column, w.shown}
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any)
		for key, value := range d.pairs(n, w) {
			m[key.Value] = d.raw(value, where{w.key, join(w.path, key.Value), join(w.shown, key.Value)})
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			at := w.item(i, i)
			at.key = w.key
			list[i] = d.raw(item, at)
		}
		return list
	default:
		return d.rawScalar(n, w)
	}
}

func (d *decoder) rawScalar(n *yaml.Node, w where) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if i, ok := parseWhole(n.Value); ok {
			if strconv.Itoa(i) != n.Value && i != 0 { // the largest that there is; 0 may be -0
				d.fail(n, w, "write it in quotes for a text, or with a decimal point", "%s is out of range of a whole number", Clip(n.Value))
			}
			return i
		}
		if f, ok := parseDecimal(n.Value); ok {
			return f
		}
		d.fail(n, w, "write it in decimal, or in quotes for a text", "%s is a number to some and a text to others", Clip(n.Value))
		return nil
	default:
		return n.Value
	}
}

func (d *decoder) integer(n *yaml.Node, v reflect.Value, w where, row *Field) {
	i, ok := parseWhole(n.Value)
	if !ok || quoted(n) {
		hint, what := "write a whole number, such as "+row.number(), "is not a whole number"
		if meant, ok := meantWhole(n.Value); ok {
			hint = "write " + meant
			if quoted(n) {
				hint += " without quotes"
			}
			if _, zeros := withoutZeros(n.Value); zeros {
				what = leadingZero
			}
		}
		d.fail(n, w, hint, "%s %s", show(row, n), what)
		return
	}
	v.SetInt(int64(i))
	low, _ := strconv.Atoi(row.Min)
	high, _ := strconv.Atoi(row.Max)
	if i < low || i > high {
		d.fail(n, w, "", "%s is out of range, %d to %d", show(row, n), low, high)
	}
}

// quoted reports whether a value was written as text.
func quoted(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

func (d *decoder) size(n *yaml.Node, v reflect.Value, w where) {
	row := d.schema.row[w.key]
	parse, example := parseBytes, `"10%" or "5GiB"`
	if row.Format == FormatCount {
		parse, example = parseCount, `"5%" or 100000`
	}
	if n.Kind != yaml.ScalarNode {
		d.fail(n, w, "write "+example, "must be a size, not %s", kindWord(n))
		return
	}
	size, err := parse(n.Value)
	if meant, zeros := withoutZeros(n.Value); zeros {
		err = errors.New(leadingZero)
		if _, bad := parse(meant); bad == nil {
			example = strconv.Quote(meant)
		}
	}
	if err != nil {
		d.fail(n, w, "write "+example, "%s %v", show(row, n), err)
		return
	}
	v.Set(reflect.ValueOf(size))
}

func (d *decoder) statuses(n *yaml.Node, v reflect.Value, w where) {
	row := d.schema.row[w.key]
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var all Statuses
	for _, item := range items {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		r, err := parseStatusRange(item.Value)
		what, hint := "is not an HTTP status", `write 200, "2xx" or "200-204", or a list of such`
		if meant, zeros := withoutZeros(item.Value); zeros {
			if _, err = parseStatusRange(meant); err == nil {
				hint = "write " + meant
			}
			what, err = leadingZero, errors.New(leadingZero)
		}
		if item.Kind != yaml.ScalarNode || err != nil {
			d.fail(item, w, hint, "%s %s", show(row, item), what)
			continue
		}
		all = append(all, r)
	}
	if len(items) == 0 {
		d.fail(n, w, "write "+row.Write(), "must not be empty")
	}
	v.Set(reflect.ValueOf(all))
}

// parseBool reads true or false; the hint is not empty when it is neither.
func parseBool(n *yaml.Node) (value bool, hint string) {
	if n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true"), ""
	}
	without := ""
	if quoted(n) {
		without = " without quotes"
	}
	switch strings.ToLower(n.Value) {
	case "yes", "y", "on", "1", "true", "enabled":
		return false, "write true" + without
	case "no", "n", "off", "0", "false", "disabled":
		return false, "write false" + without
	default:
		return false, "write true or false"
	}
}

// kindWord says what a node is, for a sentence that says what it is not.
func kindWord(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return "a single value"
	}
}

func scalarWord(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a duration"
	default:
		return "a number"
	}
}

// show returns a value for an error: as it was written, unless it may be secret.
func show(row *Field, n *yaml.Node) string {
	if row.Secret != Open {
		return "the value"
	}
	if n.Kind != yaml.ScalarNode {
		return kindWord(n)
	}
	if n.Tag == "!!str" {
		return strconv.Quote(Clip(n.Value))
	}
	return Clip(n.Value)
}

// Clip shortens a text that somebody else wrote, for an error.
func Clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
