package child

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	for name, tc := range map[string]struct {
		stat string
		want process
		ok   bool
	}{
		"sleep": {
			"13517 (sleep) S 1 13509 13509 0 -1 4194304 81 0 0 0 0 0 0 0 20 0 1 0 289082 2560000 345", process{started: 289082}, true,
		},
		"zombie with an odd name": {
			"7 (a) R (b) Z 1 7 7 0 -1 4194304 81 0 0 0 0 0 0 0 20 0 1 0 42 0 0", process{started: 42, dead: true}, true,
		},
		"kernel thread": {
			"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", process{started: 5, kernel: true}, true,
		},
		"cut":   {"13517 (sleep) S 1 13509", process{}, false},
		"empty": {"", process{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseStat(tc.stat)
			require.Equal(t, tc.ok, ok)
			require.Equal(t, tc.want, got)
		})
	}
}

func BenchmarkRunTag(b *testing.B) {
	tag := newRunTag()
	for b.Loop() {
		tag.kill(os.Getpid())
	}
}
