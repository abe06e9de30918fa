package fleetfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// FuzzRead: no text makes the reader panic, every fault has a place and says
// something, no error tells what a variable held, and a text is read the same way
// twice.
func FuzzRead(f *testing.F) {
	contract, err := os.ReadFile("testdata/contract.yaml")
	require.NoError(f, err)
	f.Add(string(contract))
	f.Add(Example)
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	require.NoError(f, err)
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(f, err)
		f.Add(strings.ReplaceAll(strings.ReplaceAll(string(archive.Files[0].Data), "HEAD\n", head), "SETS", setID))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Read("fleet.yaml", []byte(text), environ)
		again, twice := Read("fleet.yaml", []byte(text), environ)
		if err == nil {
			require.NoError(t, twice)
			require.Equal(t, file, again)
			for name, set := range file.Spec.ScaleSets {
				require.NotEmpty(t, set.Location, name)
				require.NotEmpty(t, set.Upgrade.Driver, name)
			}
			return
		}
		require.EqualError(t, twice, err.Error())
		var faults strict.Errors
		require.ErrorAs(t, err, &faults)
		for _, e := range faults {
			require.Equal(t, "fleet.yaml", e.File)
			require.NotEmpty(t, e.Message)
			if !strings.Contains(text, "hunter2") {
				require.NotContains(t, e.Error(), "hunter2")
			}
		}
	})
}

// FuzzExpand: variables come in once, and only where they were written.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "${", "$${", "$$${NUMBER}", "a${NUMBER}b${EMPTY}", "${NUMBER", "${}", "${${NUMBER}}", "$${NUMBER}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, variables, fault := expand(text, environ)
		if fault != nil {
			require.NotEmpty(t, fault.Message)
			require.NotEmpty(t, fault.Hint)
			return
		}
		if !strings.Contains(text, "${") {
			require.Equal(t, text, value)
		}
		if !variables {
			require.Equal(t, strings.ReplaceAll(text, "$${", "${"), value)
		}
		back, variables, fault := expand(strings.ReplaceAll(value, "${", "$${"), environ)
		require.Nil(t, fault)
		require.False(t, variables)
		require.Equal(t, value, back)
	})
}
