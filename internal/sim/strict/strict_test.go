package strict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

type file struct {
	Name  string          `yaml:"name"`
	Parts []part          `yaml:"parts"`
	Named map[string]part `yaml:"named"`
}

type part struct {
	base `yaml:",inline"`
	Size int  `yaml:"size"`
	Wait span `yaml:"wait"`
}

type base struct {
	Kind string `yaml:"kind"`
}

type span time.Duration

func (s *span) UnmarshalYAML(node *yaml.Node) error {
	d, err := DecodeDuration(node)
	*s = span(d)
	return err
}

func TestDecode(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"unknown key":        {"naem: x\n", `f.yaml:1: unknown key "naem"; known are name, parts, named`},
		"of a list's struct": {"parts:\n  - {sise: 1}\n", `f.yaml:2: unknown key "sise"; known are kind, size, wait`},
		"of a map's struct":  {"named:\n  a: {size: 1}\n  b:\n    sise: 1\n", `f.yaml:4: unknown key "sise"; known are kind, size, wait`},
		"kind of value":      {"parts:\n  - size: big\n", "f.yaml:2: `big` (str) is not the kind of value that belongs here"},
		"bare number":        {"parts:\n  - wait: 5\n", `f.yaml:2: "5" is not a duration: write a number with a unit, like 30s or 5m`},
		"list for a span":    {"parts:\n  - wait: [5s]\n", `f.yaml:2: not a duration: write a number with a unit, like 30s`},
		"syntax":             {"parts: [\n", `f.yaml:1: did not find expected node content`},
		"several":            {"naem: x\nparts: 3\n", "f.yaml:1: unknown key \"naem\"; known are name, parts, named\nf.yaml:2: `3` (int) is not the kind of value that belongs here"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var f file
			_, err := Decode("f.yaml", []byte(tt.text), &f)
			require.EqualError(t, err, tt.want)
		})
	}
	f := file{Name: "kept"}
	c, err := Decode("f.yaml", nil, &f)
	require.NoError(t, err)
	require.NoError(t, c.Err())
	require.Equal(t, file{Name: "kept"}, f)
}

func TestPlaces(t *testing.T) {
	var f file
	c, err := Decode("f.yaml", []byte("name: x\nnamed:\n  a: &a\n    size: 1\n    wait: 2s\n  b: *a\nparts:\n  - size: 1\n  -\n    size: 2\n"), &f)
	require.NoError(t, err)
	c.Fail("bad", "parts", 1, "size")
	c.Fail("bad", "parts", 1, "wait")
	c.Fail("bad", "named", "b", "wait")
	c.Fail("bad", "nothing")
	require.EqualError(t, c.Err(), strings.Join([]string{
		"f.yaml:10: parts[1].size: bad",
		"f.yaml:10: parts[1].wait: bad",
		"f.yaml:5: named.b.wait: bad",
		"f.yaml:1: nothing: bad",
	}, "\n"))
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	_, err := ReadFile("scenario", path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, make([]byte, maxFile), 0o600))
	data, err := ReadFile("scenario", path)
	require.NoError(t, err)
	require.Len(t, data, maxFile)
	require.NoError(t, os.WriteFile(path, make([]byte, maxFile+1), 0o600))
	_, err = ReadFile("scenario", path)
	require.ErrorContains(t, err, "it is larger than 1048576 bytes")
}
