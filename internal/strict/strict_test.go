package strict

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// doc is a document with the kinds of values that the agent's configuration has not.
type doc struct {
	Defaults part            `yaml:"defaults"`
	Parts    map[string]part `yaml:"parts"`
	Counts   map[string]int  `yaml:"counts"`
}

type part struct {
	Keep  time.Duration  `yaml:"keep"`
	Share share          `yaml:"share"`
	Flag  *bool          `yaml:"flag"`
	Limit *float64       `yaml:"limit"`
	Lists []share        `yaml:"lists"`
	Raw   map[string]any `yaml:"raw"`
}

type share int

func docSchema() *Schema {
	return New(Table{
		Type: reflect.TypeFor[doc](), Days: true, TopKey: "parts",
		Fields: []Field{
			{Path: "defaults", Like: "parts.*", Example: "{keep: 2d}", Doc: "Under every part."},
			{Path: "parts", Example: "{a: {share: 2%}}", Doc: "The parts."},
			{Path: "parts.*.keep", Default: "2d", Min: "1h", Max: "90d", Off: true, Doc: "How long."},
			{Path: "parts.*.share", Required: true, Format: FormatPercent, Min: "0%", Max: "50%", Example: "20%", Doc: "How much."},
			{Path: "parts.*.flag", Example: "true", Doc: "Whether."},
			{Path: "parts.*.limit", Min: "-10", Max: "10", Example: "0.5", Doc: "How far."},
			{Path: "parts.*.lists", Format: FormatPercent, Min: "0%", Max: "50%", Example: "[20%]", Doc: "How much of each."},
			{Path: "parts.*.raw", Example: "{a: 1}", Doc: "Anything."},
			{Path: "counts", Min: "1", Max: "9", Example: "{a: 1}", Doc: "How many of each."},
		},
	})
}

func TestKindsOfValues(t *testing.T) {
	s := docSchema()
	require.Empty(t, s.Verify())
	var d doc
	s.Fill(&d)
	require.Zero(t, d.Defaults, "a map that is like another has no defaults")
	errs, read := s.Read([]byte(`
defaults: {share: 10%}
parts:
  a:
    keep: 3d
    share: 0%
    flag: false
    limit: -0.5
    lists: [1%, 2%]
    raw: {text: "1", n: 1, f: 1.5, t: true, none: ~, list: [a, {b: c}], day: 2026-01-02}
  b: {share: 50%, keep: 25h}
counts: {x: 1, y: 9}
`), &d, Source{File: "doc.yaml"})
	require.Empty(t, errs)
	require.True(t, read)
	no, limit := false, -0.5
	require.Equal(t, doc{
		Defaults: part{Share: 10},
		Parts: map[string]part{
			"a": {
				Keep: 72 * time.Hour, Flag: &no, Limit: &limit, Lists: []share{1, 2},
				Raw: map[string]any{
					"text": "1", "n": 1, "f": 1.5, "t": true, "none": nil, "day": "2026-01-02",
					"list": []any{"a", map[string]any{"b": "c"}},
				},
			},
			"b": {Share: 50, Keep: 25 * time.Hour},
		},
		Counts: map[string]int{"x": 1, "y": 9},
	}, d)

	var b bytes.Buffer
	require.NoError(t, s.Marshal(&b, &d, nil))
	var again doc
	errs, _ = s.Read(b.Bytes(), &again, Source{})
	require.Empty(t, errs, b.String())
	require.Equal(t, d, again)
	require.Contains(t, b.String(), "keep: 3d\n")
	require.Contains(t, b.String(), "keep: 25h\n")
}

func TestFaultsOfValues(t *testing.T) {
	var d doc
	errs, _ := docSchema().Read([]byte(`
defaults: {share: 1, hare: 2%}
parts:
  a: {keep: 91d, share: "30"}
  b: {keep: 1.5d, share: 60%}
  c: {keep: 90, share: 05%, raw: [1]}
  d: {share: 1%, raw: {a: 0x10, b: 1, b: 2, c: [{<<: {}}, !!str 3]}}
  e: {share: 1%, limit: 11, lists: [1%, 1%, 2]}
  f: {share: 1%, raw: {a: 9223372036854775807, b: 9223372036854775808, c: [-9223372036854775809], d: -0, e: '9223372036854775808', f: 9007199254740993}}
counts: {a: 0, b: x}
`), &d, Source{})
	require.Equal(t, `defaults.share: 1 is not a percentage in whole numbers; write 1%
defaults: unknown key "hare"; did you mean "share"?
parts.a.keep: "91d" is out of range, 1h to 90d
parts.a.share: "30" is not a percentage in whole numbers; write 30%
parts.b.keep: "1.5d" is not a duration; write "36h"
parts.b.share: "60%" is out of range, 0% to 50%
parts.c.keep: 90 is not a duration; write "90s"
parts.c.share: "05%" is not a percentage in whole numbers; write 5%
parts.c.raw: must be a map, not a list; write {a: 1}
parts.d.raw.a: 0x10 is a number to some and a text to others; write it in decimal, or in quotes for a text
parts.d.raw: the key "b" is given twice, first on line 7; keep one of the two
parts.d.raw.c[0]: merge keys (<<) are not supported; write the keys out
parts.d.raw.c[1]: the tag !!str is not supported; remove the tag
parts.e.limit: 11 is out of range, -10 to 10
parts.e.lists[1]: "1%" is listed twice, first as item 0; remove one
parts.e.lists[2]: 2 is not a percentage in whole numbers; write 2%
parts.f.raw.b: 9223372036854775808 is out of range of a whole number; write it in quotes for a text, or with a decimal point
parts.f.raw.c[0]: -9223372036854775809 is out of range of a whole number; write it in quotes for a text, or with a decimal point
counts.a: 0 is out of range, 1 to 9
counts.b: "x" is not a whole number; write a whole number, such as 1`, errs.Error())
}

func TestJSONSchemaOfValues(t *testing.T) {
	text := string(docSchema().JSONSchema("urn:doc", "doc"))
	for _, part := range []string{`"^[0-9]{1,3}%$"`, `"off"`, `([0-9]+d|`} {
		require.Contains(t, text, part)
	}
}
