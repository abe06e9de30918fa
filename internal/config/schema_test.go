package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/strict/stricttest"
)

func TestTable(t *testing.T) { stricttest.Table(t, newSchema(), referenceHead) }

// The kinds are those of the structs, in their order, and Kind knows them.
func TestKinds(t *testing.T) {
	value := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.String:
			v.SetString("x")
		default:
			v.SetInt(1)
		}
	}
	field := func(of reflect.Value, kind string) reflect.Value {
		for i := range of.NumField() {
			if of.Type().Field(i).Tag.Get("yaml") == kind {
				return of.Field(i)
			}
		}
		return reflect.Value{}
	}
	for _, kind := range checkKinds {
		var c Check
		value(field(reflect.ValueOf(&c).Elem(), kind))
		require.Equal(t, kind, c.Kind())
	}
	for _, kind := range stepKinds {
		var s Step
		value(field(reflect.ValueOf(&s).Elem(), kind))
		require.Equal(t, kind, s.Kind())
	}
	require.Empty(t, Check{}.Kind())
	require.Empty(t, Step{}.Kind())
	for f := range reflect.TypeFor[Check]().Fields() {
		require.Equal(t, f.Type.Kind() == reflect.Pointer, slices.Contains(checkKinds, f.Tag.Get("yaml")), f.Name)
	}
}

func TestReferenceIsACopy(t *testing.T) {
	rows := Reference()
	require.Equal(t, "listen", rows[0].Path)
	rows[0].Doc = ""
	require.NotEmpty(t, Reference()[0].Doc)
}

func TestSchemaAccepts(t *testing.T) {
	example, err := os.ReadFile("testdata/example.yaml")
	require.NoError(t, err)
	full := regexp.MustCompile(`(?m)^#((?:  )+\S)`).ReplaceAllString(string(example), "$1")
	full = regexp.MustCompile(`(?m)^(checks|notify): \[\]$`).ReplaceAllString(full, "$1:")
	short, err := os.ReadFile("testdata/short.yaml")
	require.NoError(t, err)
	for name, text := range map[string]string{
		"example":      string(example),
		"full example": full,
		"short":        string(short),
		"defaults":     marshal(t, Default(), true),
		"empty":        "checks:\nlisten:\n",
		"statuses":     "checks: [{name: a, http: {url: 'http://a/', expect_status: 204}}]",
	} {
		require.Empty(t, stricttest.Invalid(t, Schema(), text), name)
	}
	for name, text := range map[string]string{
		"unknown key":   "listne: {}",
		"two kinds":     "checks: [{name: a, clock: {}, tcp: {address: 'a:1'}}]",
		"no kind":       "checks: [{name: a}]",
		"no name":       "checks: [{clock: {}}]",
		"bare duration": "drain: {settle: 5}",
		"enum":          "scheduled_events: {shared_ack: maybe}",
		"range":         "health: {max_concurrent: 0}",
		"missing port":  "listen: {probe: localhost}",
		"relative path": "state_dir: x",
		"event key":     "scheduled_events: {events: {Reboot: {acton: drain}}}",
		"size":          "checks: [{name: a, disk: {path: /, min_free: 5}}]",
		"status":        "checks: [{name: a, http: {url: 'http://a/', expect_status: 99}}]",
	} {
		require.NotEmpty(t, stricttest.Invalid(t, Schema(), text), name)
	}
}
