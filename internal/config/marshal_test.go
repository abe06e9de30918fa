package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

func marshal(t *testing.T, c *Config, origin bool) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, c.Marshal(&b, origin))
	return b.String()
}

// What is printed, with where it came from: testdata/marshal.txtar holds the
// files and both prints.
func TestMarshal(t *testing.T) {
	path, err := filepath.Abs("testdata/marshal.txtar")
	require.NoError(t, err)
	archive, err := txtar.ParseFile(path)
	require.NoError(t, err)
	last := len(archive.Files) - 2
	unpack(t, &txtar.Archive{Files: archive.Files[:last]})
	c, err := Load("config.yaml")
	require.NoError(t, err)

	got := []string{marshal(t, c, true), marshal(t, c, false)}
	if *update {
		archive.Files[last].Data, archive.Files[last+1].Data = []byte(got[0]), []byte(got[1])
		require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o600))
	}
	require.Equal(t, "origin", archive.Files[last].Name)
	require.Equal(t, string(archive.Files[last].Data), got[0])
	require.Equal(t, "plain", archive.Files[last+1].Name)
	require.Equal(t, string(archive.Files[last+1].Data), got[1])
	require.NotContains(t, got[0]+got[1], "hunter2", "a secret is told")
}

func TestMarshalRoundTrip(t *testing.T) {
	for name, text := range map[string]string{
		"defaults": "",
		"kinds": `
checks:
  - {name: http, http: {url: "http://127.0.0.1/x?", unix_socket: /s, expect_status: [200, 201-204, 5xx], expect_body: "a: #b\n"}}
  - {name: https, http: {url: "https://127.0.0.1/", tls: {insecure_skip_verify: true}}}
  - {name: grpc, grpc: {address: "a:1", tls: {}}, depends_on: []}
  - {name: disk, disk: {path: /, min_free: 1.5GiB, min_free_inodes: 1000}}
  - {name: disk2, disk: {path: /, min_free_inodes: 0.5%}}
  - {name: file, file: {path: "/a b", absent: true}}
  - {name: clock, clock: {max_offset: 1ms, synchronized: false}, gates: []}
  - {name: "5", exec: {command: ["true", "null", "", "1", "- x", "<<"]}}
drain:
  plan:
    - {name: a, connections: {ports: [80, 443]}, after: []}
    - {name: b, sleep: 90m, after: [a], min: 1ms}
listen: {metrics: "", probe: ":0"}
notify: [{url: "https://hooks.example/"}]
`,
		"no plan": "drain: {plan: []}",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, "-- config.yaml --\n"+text)
			require.NoError(t, err)
			printed := marshal(t, c, true)
			again, err := load(t, "-- config.yaml --\n"+printed)
			require.NoError(t, err, printed)
			requireSame(t, c, again)
		})
	}
}

func TestMarshalReportsAWriteError(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, w.Close())
	require.ErrorContains(t, Default().Marshal(w, false), "write configuration: ")
}

// FuzzLoad: no text makes the loader panic, every fault has a place, and what is
// accepted says the same when it is printed and read again.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/example.yaml", "testdata/short.yaml"} {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(text, []byte("checks: [{name: x, clock: {}}]"))
	}
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	require.NoError(f, err)
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(f, err)
		f.Add(archive.Files[0].Data, archive.Files[len(archive.Files)-2].Data)
	}
	f.Fuzz(func(t *testing.T, main, more []byte) {
		c, errs := read(main, more)
		if len(errs) > 0 {
			for _, e := range errs {
				require.NotEmpty(t, e.Message)
				require.NotContains(t, e.Error(), "\x00")
			}
			return
		}
		printed := marshal(t, c, false)
		again, errs := read([]byte(printed), nil)
		require.Empty(t, errs, printed)
		require.Equal(t, printed, marshal(t, again, false))
		if !strings.Contains(printed, strict.Redacted) {
			requireSame(t, c, again)
		}
		_, errs = read([]byte(marshal(t, c, true)), nil)
		require.Empty(t, errs)
	})
}

// read is Load without the file system.
func read(main, more []byte) (*Config, Errors) {
	s := newSchema()
	c := newConfig(s)
	errs, whole := c.apply(s, "config.yaml", main, true)
	faults, read := c.apply(s, "conf.d/more.yaml", more, false)
	errs = append(errs, faults...)
	return c, append(errs, c.validate(whole && read)...)
}
