package journal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// text is a journal with entries; an empty one is a fence.
func text(entries ...string) string {
	var all []byte
	var end tail
	for _, e := range entries {
		line := end.line(time.Unix(1793610000, 0), "5f3c9a1e", []byte(e))
		all, end = append(all, line...), end.after(line)
	}
	return string(all)
}

func TestLines(t *testing.T) {
	got := text("", `{"a":1}`)
	require.Equal(t, "1 1 1793610000 5f3c9a1e 0 692aaecf \n1 2 1793610000 5f3c9a1e 7 348333ef {\"a\":1}\n", got, "the format is for good")
	c, err := parse("j", content{}, []byte(got))
	require.NoError(t, err)
	require.Equal(t, tail{2, int64(len(got))}, c.end)
	require.Equal(t, time.Unix(1793610000, 0), c.began)
	require.Len(t, c.entries, 1)
	require.False(t, c.torn)
}

// Any one byte that is changed, anywhere but at the end, is noticed, and the line named.
func TestDamage(t *testing.T) {
	good := text("", `{"a":1}`, `{"b":2}`)
	for at := range len(good) - 1 {
		for _, b := range []byte{0, ' ', '\n', '0', '9', good[at] ^ 1, good[at] ^ 0x20} {
			if b == good[at] {
				continue
			}
			bad := good[:at] + string(b) + good[at+1:]
			_, err := parse("pay/7/journal", content{}, []byte(bad))
			require.Error(t, err, "%q", bad)
			line := strings.Count(good[:at], "\n") + 1
			require.Regexp(t, fmt.Sprintf("^pay/7/journal:(%d|%d): ", line, line+1), err.Error())
		}
	}
	for bad, want := range map[string]string{
		"2 1 x\n":                       "pay/7/journal:1: the line is of format 2, and this fleetctl reads format 1: a later fleetctl has written it",
		text("1") + "12 new":            "", // a crash may have left it
		text("1") + "12 new\n":          "pay/7/journal:2: the line is of format 12",
		text("1") + text("1"):           "pay/7/journal:2: the line is damaged: it says that it is line 1",
		text("1", "2")[len(text("1")):]: "pay/7/journal:1: the line is damaged: it says that it is line 2",
		text("{"):                       "its entry is not JSON",
		"\n":                            "it does not begin as a line does",
		"hello\n":                       "it does not begin as a line does",
	} {
		_, err := parse("pay/7/journal", content{}, []byte(bad))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

// FuzzParse: whatever a journal holds, reading it ends, and what it says of its end is
// true: the next line fits there.
func FuzzParse(f *testing.F) {
	f.Add([]byte(text("", `{"a":1}`)))
	f.Add([]byte(text("1") + "1 2 17936"))
	f.Add([]byte("2 1 1 5f3c9a1e 0 7fc52bd0 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("j", content{}, data)
		if err != nil {
			require.Regexp(t, `^j:\d+: `, err.Error())
			return
		}
		require.LessOrEqual(t, c.end.size, int64(len(data)))
		require.Equal(t, c.torn, c.end.size < int64(len(data)))
		next := append(append([]byte{}, data[:c.end.size]...), c.end.line(time.Unix(1, 0), "00000000", []byte(`"x"`))...)
		again, err := parse("j", content{}, next)
		require.NoError(t, err)
		require.Len(t, again.entries, len(c.entries)+1)
		require.Equal(t, c.end.lines+1, again.end.lines)
	})
}
