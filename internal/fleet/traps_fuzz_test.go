package fleet

import (
	"cmp"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzPreflight: no evidence makes a trap panic, and what is found is whole. The
// bytes are choices: what of a fleet with a file is left, is gone, is doubled, or is
// something else.
func FuzzPreflight(f *testing.F) {
	f.Add([]byte{})
	for i := range 16 {
		seed := make([]byte, 2048)
		for j := range seed {
			seed[j] = byte(j * (i*2 + 1) * (j%(i+3) + 1))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		c := &chooser{bytes: choices}
		e := joined(asIs, asIs)
		c.disturb(reflect.ValueOf(&e).Elem())
		for _, found := range Preflight(e) {
			require.NotZero(t, found.Trap)
			require.NotEmpty(t, found.Seen)
			require.NotEmpty(t, found.Fix)
			require.GreaterOrEqual(t, found.Severity.rank(), 0)
		}
	})
}

// TestPartsOfEvidence: each part of a fleet and of a file may be missing, alone.
func TestPartsOfEvidence(t *testing.T) {
	for i := 0; ; i++ {
		c := &chooser{bytes: make([]byte, i+1)}
		for j := range c.bytes {
			c.bytes[j] = keep
		}
		c.bytes[i] = drop
		e := joined(asIs, asIs)
		c.disturb(reflect.ValueOf(&e).Elem())
		if len(c.bytes) > 0 {
			require.Greater(t, i, 300, "parts")
			return // there are no more
		}
		Preflight(e)
	}
}

// A chooser changes values by bytes; when they are used up, the rest stays.
type chooser struct{ bytes []byte }

func (c *chooser) next() int {
	if len(c.bytes) == 0 {
		return keep
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(b)
}

// What a byte chooses to be done with a value: keep is all above the others.
const (
	drop  = 0
	fill  = 20
	again = 40
	keep  = 60
)

// disturb changes some of what is there.
func (c *chooser) disturb(v reflect.Value) {
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		switch choice := c.next(); {
		case choice < fill:
			v.SetZero()
			return
		case choice < again:
			c.fill(v, 0)
			return
		case choice < keep && v.Kind() == reflect.Slice && v.Len() > 0:
			v.Set(reflect.AppendSlice(v, v)) // the same twice
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				c.disturb(v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			c.disturb(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.disturb(v.Index(i))
		}
	case reflect.Map:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, key := range names {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			c.disturb(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Interface:
		if !v.IsNil() && (v.Elem().Kind() == reflect.Map || v.Elem().Kind() == reflect.Slice) {
			value := reflect.New(v.Elem().Type()).Elem()
			value.Set(v.Elem())
			c.disturb(value)
			v.Set(value)
		}
	}
}

// words stand where text does: those that traps ask for, and others.
var words = []string{
	"", "latest", "Latest", "1.7.1", "1.8.0", "2.0", "1.0", "Manual", "Rolling", "full", "image", "observe", "batches",
	"platform-auto-os", "Deallocate", "Delete", "Healthy", "Unknown", "running", "deallocated", "Completed", "Failed", "Updating",
	"eastus", "East US", "http", "tcp", HealthPublisher, HealthTypeLinux, "CustomScript", "Shell", "File", "SharedImage",
	testDefinition, testDefinition + "/versions/1.7.1", testDefinition + "/versions/latest", testGroup, "/", "//galleries//images/",
	"vmss-authz", "echo '$(x)'", "set -o pipefail", "https://x/?se=2026-01-01&sig=x", "/tmp/x", "..", "\x00\xff", "ForecastOnly", "pinned",
}

var keys = []string{
	"protocol", "port", "requestPath", "intervalInSeconds", "numberOfProbes", "gracePeriod", "source", "publisher", "customize", "type",
	"inline", "distribute", "galleryImageId", "excludeFromLatest", "properties", "singlePlacementGroup", "identity", "vmProfile", "destination",
	"sourceUri", "validate", "inVMValidations", "buildTimeoutInMinutes", "stagingResourceGroup", "vmss-authz", "x",
}

// maxFill bounds how deep values are filled.
const maxFill = 9

func (c *chooser) fill(v reflect.Value, depth int) {
	if depth > maxFill {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(testNow.Add(time.Duration(c.next()-128) * time.Hour)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				c.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		if c.next()%3 > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			c.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), c.next()%3, 3))
		for i := range v.Len() {
			c.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		if n := c.next() % 4; n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				value := reflect.New(v.Type().Elem()).Elem()
				c.fill(value, depth+1)
				v.SetMapIndex(reflect.ValueOf(keys[c.next()%len(keys)]).Convert(v.Type().Key()), value)
			}
		}
	case reflect.Interface:
		if value := c.any(depth); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	case reflect.String:
		v.SetString(words[c.next()%len(words)])
	case reflect.Bool:
		v.SetBool(c.next()%2 == 1)
	case reflect.Int, reflect.Int64:
		v.SetInt(c.number())
	case reflect.Float64:
		v.SetFloat(float64(c.number()))
	}
}

// number is mostly small, and sometimes as large as can be.
func (c *chooser) number() int64 {
	switch n := c.next(); n {
	case 255:
		return int64(binary.BigEndian.Uint64([]byte{127, 255, 255, 255, 255, 255, 255, 255}))
	case 254:
		return -1 << 63
	default:
		return int64(n) - 8
	}
}

// any is a value of JSON.
func (c *chooser) any(depth int) any {
	if depth > maxFill {
		return nil
	}
	switch c.next() % 7 {
	case 1:
		return words[c.next()%len(words)]
	case 2:
		return float64(c.number())
	case 3:
		return c.next()%2 == 1
	case 4:
		list := make([]any, c.next()%4)
		for i := range list {
			list[i] = c.any(depth + 1)
		}
		return list
	case 5:
		object := make(map[string]any)
		for range c.next() % 6 {
			object[keys[c.next()%len(keys)]] = c.any(depth + 1)
		}
		return object
	case 6:
		return int(c.number())
	}
	return nil
}
