package probe

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

func TestPressure(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		below float64
		says  string // FILE stands for the file's path
	}{
		"low":     {"some avg10=0.00 avg60=0.12 avg300=0.09 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 10, ""},
		"high":    {"some avg10=42.17 avg60=0.12 avg300=0.09 total=5\n", 40, "pressure memory: some avg10 is 42.17%, want below 40%"},
		"exactly": {"some avg10=40.00 avg60=0.12 avg300=0.09 total=5\n", 40, "pressure memory: some avg10 is 40%, want below 40%"},
		"empty":   {"", 40, "pressure memory: FILE not understood: no line with some avg10, want below 40%"},
		"other":   {"some avg10=lots\n", 2.5, `pressure memory: FILE not understood: avg10 is "lots", want below 2.5%`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := writeFile(t, filepath.Join(dir, "memory"), []byte(tc.text))
			p, err := pressure(dir, PressureConfig{Resource: "memory", Avg10Below: tc.below})
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, strings.ReplaceAll(tc.says, "FILE", file))
		})
	}

	p, err := pressure(t.TempDir(), PressureConfig{Resource: "cpu", Avg10Below: 10})
	requireSays(t, look(t, p, err), "pressure cpu: this kernel does not count pressure (boot with psi=1 to enable it), want below 10%")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requireSays(t, p(ctx), "pressure cpu: canceled, want below 10%")
}

func TestPressureOfThisKernel(t *testing.T) {
	_, err := os.ReadFile("/proc/pressure/io")
	testkit.Need(t, err == nil, "a kernel with PSI")
	p, err := Pressure(PressureConfig{Resource: "io", Avg10Below: 100})
	if err := look(t, p, err); err != nil { // a very busy machine is no failure of the probe
		require.EqualError(t, err, "pressure io: some avg10 is 100%, want below 100%")
	}
}

func TestPressureRefuses(t *testing.T) {
	_, err := Pressure(PressureConfig{Resource: "../x", Avg10Below: 1})
	require.EqualError(t, err, `resource "../x": want cpu, memory or io`)
	for _, below := range []float64{0, -1, 101, math.NaN(), math.Inf(1)} {
		_, err := Pressure(PressureConfig{Resource: "cpu", Avg10Below: below})
		require.ErrorContains(t, err, "want a percentage above 0, at most 100")
	}
}

func FuzzParsePressure(f *testing.F) {
	f.Add("some avg10=0.12 avg60=0.05 avg300=0.01 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	f.Add("some avg10=NaN\n")
	f.Add("full avg10=1")
	f.Fuzz(func(t *testing.T, text string) {
		avg10, err := parsePressure(text)
		require.True(t, err != nil || avg10 >= 0 && avg10 <= 100)
	})
}
