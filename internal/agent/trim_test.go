package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadOnlyMappings(t *testing.T) {
	const maps = `00400000-00913000 r-xp 00000000 fe:00 131082    /usr/bin/fleet-agent
00913000-00f2b000 r--p 00513000 fe:00 131082    /usr/bin/fleet-agent
00f2b000-00f7c000 rw-p 00b2b000 fe:00 131082    /usr/bin/fleet-agent
00f7c000-00fc4000 rw-p 00000000 00:00 0
c000000000-c000400000 rw-p 00000000 00:00 0
7f00-7f01 r--p 00000000 fe:00 99    /usr/bin/other
nonsense
zz-00 r--p 00000000 fe:00 131082    /usr/bin/fleet-agent
7ffd0000-7ffd2000 r-xp 00000000 00:00 0    [vdso]
`
	require.Equal(t, []mapping{{0x400000, 0x513000}, {0x913000, 0x618000}},
		readOnlyMappings(strings.NewReader(maps), "/usr/bin/fleet-agent"))
}

// TestDropProgramPages: the program goes on, for what is needed comes back.
func TestDropProgramPages(t *testing.T) {
	for range 3 {
		require.NoError(t, dropProgramPages())
		require.Equal(t, "serving: ok", statusLine("serving", "ok"))
	}
}
