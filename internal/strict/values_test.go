package strict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "5s": 5 * time.Second, "1m30s": 90 * time.Second, "336h": 336 * time.Hour,
		"1h0m5s": time.Hour + 5*time.Second, "500ms": 500 * time.Millisecond, "1m": time.Minute,
		"1.5s": 1500 * time.Millisecond, "-1m": -time.Minute, "10m": 10 * time.Minute, "1h10m": 70 * time.Minute,
	} {
		d, err := readDuration(text, false)
		require.NoError(t, err, text)
		require.Equal(t, want, d.D(), text)
		require.Equal(t, text, Duration(want).String())
	}
	const example = `write a number and a unit (ms, s, m or h), such as "5s"`
	for text, hint := range map[string]string{
		"5": `write "5s"`, "0": `write "0s"`, "1.5": `write "1.5s"`, "-3": `write "-3s"`,
		"5 s": `write "5s"`, "5sec": `write "5s"`, "5 Seconds": `write "5s"`, "10 mins": `write "10m"`,
		"2d": `write "48h"`, "1.5 weeks": `write "252h"`, "250 milliseconds": `write "250ms"`, "1hr": `write "1h"`,
		"": example, "soon": example, "999999999999999999999999": example, "9999999999999d": example, "5x": example,
	} {
		_, err := readDuration(text, false)
		require.Error(t, err, text)
		require.Equal(t, hint, durationHint(text, false), text)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"10%": {Percent: 10}, "0.5%": {Percent: 0.5}, "100%": {Percent: 100},
		"5GiB": {Amount: 5 << 30}, "500MB": {Amount: 5e8}, "1B": {Amount: 1}, "1536MiB": {Amount: 1536 << 20}, "3kB": {Amount: 3000},
	} {
		got, err := parseBytes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		require.Equal(t, text, got.String())
		require.False(t, got.IsZero())
	}
	for text, want := range map[string]uint64{"1.5GiB": 1536 << 20, "5 gib": 5 << 30, "10kb": 1e4, "17.9b": 17} {
		got, err := parseBytes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.Amount, text)
	}
	for _, text := range []string{"", "5", "0%", "101%", "-1%", "NaN%", "%", "5XB", "0GiB", "-5GiB", "0.1B", "NaNGiB", "infGiB", "1e30TiB", "GiB"} {
		_, err := parseBytes(text)
		require.Error(t, err, text)
	}
	got, err := parseCount("100000")
	require.NoError(t, err)
	require.Equal(t, Size{Amount: 100000}, got)
	require.Equal(t, "100000", got.Count())
	got, err = parseCount("5%")
	require.NoError(t, err)
	require.Equal(t, "5%", got.Count())
	for _, text := range []string{"", "0", "-1", "1.5", "5GiB", "200%"} {
		_, err := parseCount(text)
		require.Error(t, err, text)
	}
	require.True(t, Size{}.IsZero())
	require.Equal(t, "0B", Size{}.String())
}

func TestStatuses(t *testing.T) {
	for text, want := range map[string]StatusRange{
		"200": {200, 200}, "2xx": {200, 299}, "200-204": {200, 204}, "500-599": {500, 599},
	} {
		got, err := parseStatusRange(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "xx", "99", "600", "6xx", "2x", "204-200", "200-", "-200", "200-600", "2xx-3xx", "-xx"} {
		_, err := parseStatusRange(text)
		require.Error(t, err, text)
	}
	s := Statuses{{200, 204}, {300, 399}, {404, 404}}
	require.Equal(t, "200-204, 3xx, 404", s.String())
	for code, in := range map[int]bool{199: false, 200: true, 204: true, 205: false, 302: true, 404: true, 500: false} {
		require.Equal(t, in, s.Contains(code), code)
	}
}
