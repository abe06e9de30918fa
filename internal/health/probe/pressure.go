package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PressureConfig describes how much waiting for a resource is tolerable.
type PressureConfig struct {
	Resource   string  // cpu, memory or io
	Avg10Below float64 // percent of the last 10 seconds in which some task waited, above 0, at most 100
}

// Target is where the probe looks, as its errors name it.
func (c PressureConfig) Target() string { return c.Resource }

// Pressure passes while tasks rarely wait for a resource, as the kernel counts
// it (pressure stall information, Documentation/accounting/psi.rst).
func Pressure(cfg PressureConfig) (func(ctx context.Context) error, error) {
	return pressure("/proc/pressure", cfg)
}

func pressure(dir string, cfg PressureConfig) (func(ctx context.Context) error, error) {
	if !slices.Contains([]string{"cpu", "memory", "io"}, cfg.Resource) {
		return nil, fmt.Errorf("resource %q: want cpu, memory or io", cfg.Resource)
	}
	if !(cfg.Avg10Below > 0 && cfg.Avg10Below <= 100) { // so that NaN is refused
		return nil, fmt.Errorf("avg10_below %v: want a percentage above 0, at most 100", cfg.Avg10Below)
	}
	path := filepath.Join(dir, cfg.Resource)
	want := fmt.Sprintf("below %g%%", cfg.Avg10Below)
	return func(ctx context.Context) error {
		fail := func(seen string, err error) error {
			return &Error{Kind: "pressure", Target: cfg.Target(), Seen: seen, Want: want, Err: err}
		}
		if err := ctx.Err(); err != nil {
			return fail(describe(err), err)
		}
		data, err := readBounded(path, 4<<10)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EOPNOTSUPP):
			return fail("this kernel does not count pressure (boot with psi=1 to enable it)", err)
		case err != nil:
			return fail(path+" not readable: "+describe(err), err)
		}
		avg10, err := parsePressure(string(data))
		switch {
		case err != nil:
			return fail(path+" not understood: "+err.Error(), err)
		case avg10 >= cfg.Avg10Below:
			return fail(fmt.Sprintf("some avg10 is %g%%", avg10), nil)
		}
		return nil
	}, nil
}

// parsePressure reads avg10 of the line
//
//	some avg10=0.12 avg60=0.05 avg300=0.01 total=123456
func parsePressure(text string) (avg10 float64, err error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		value, ok := strings.CutPrefix(fields[1], "avg10=")
		if !ok {
			break
		}
		avg10, err := strconv.ParseFloat(value, 64)
		if err != nil || !(avg10 >= 0 && avg10 <= 100) {
			return 0, fmt.Errorf("avg10 is %s", quote(value))
		}
		return avg10, nil
	}
	return 0, errors.New("no line with some avg10")
}
