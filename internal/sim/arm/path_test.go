package arm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePath(t *testing.T) {
	const sub = "/subscriptions/s"
	for path, want := range map[string]target{
		"/subscriptions":                      {scope: "/subscriptions"},
		sub:                                   {subscription: "s", scope: sub},
		"/SUBSCRIPTIONS/s/resourcegroups/Rg/": {subscription: "s", group: "Rg", scope: "/SUBSCRIPTIONS/s/resourcegroups/Rg"},
		sub + "/providers":                    {subscription: "s", scope: sub + "/providers"},
		sub + "/providers/A.B":                {subscription: "s", scope: sub, namespace: "A.B"},
		sub + "/providers/A.B/c":              {subscription: "s", scope: sub, namespace: "A.B", types: []string{"c"}},
		sub + "/resourceGroups/g/providers/A.B/c/d%20e/f/h": {
			subscription: "s", group: "g", scope: sub + "/resourceGroups/g", namespace: "A.B", types: []string{"c", "f"}, names: []string{"d e", "h"},
		},
		sub + "/resourceGroups/g/providers/A.B/c/d/providers/E.F/g/h": {
			subscription: "s", group: "g", scope: sub + "/resourceGroups/g/providers/A.B/c/d", namespace: "E.F", types: []string{"g"}, names: []string{"h"},
		},
		"/providers/A.B/c/d": {namespace: "A.B", types: []string{"c"}, names: []string{"d"}},
	} {
		got, err := parsePath(path)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
}

func TestUp(t *testing.T) {
	set, err := parsePath("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz/rollingUpgrades/Latest")
	require.NoError(t, err)
	up, tail, ok := set.up(2)
	require.True(t, ok)
	require.Equal(t, "rollingupgrades/latest", tail)
	require.Equal(t, "Microsoft.Compute/virtualMachineScaleSets", up.kind())
	require.Equal(t, "vmss-authz", up.name())
	for _, n := range []int{1, 3, 4, 5} {
		_, _, ok := set.up(n)
		require.False(t, ok, n)
	}
}

// FuzzParsePath: whatever comes is refused or means one thing, whose id means the
// same.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/subscriptions/s/resourceGroups/g/providers/A.B/c/d/e", "/providers", "//", "/subscriptions/%2F", "/a/providers/b/providers/c/d", "/%zz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, err := parsePath(path)
		if err != nil {
			require.Less(t, asARM(err).Status, 500)
			return
		}
		require.GreaterOrEqual(t, len(got.types), len(got.names))
		require.LessOrEqual(t, len(got.types)-len(got.names), 1)
		for n := range 5 {
			if up, tail, ok := got.up(n); ok {
				require.Equal(t, strings.ToLower(got.id()), strings.ToLower(strings.TrimRight(up.id()+"/"+tail, "/")))
			}
		}
		if strings.Contains(got.id(), "%") {
			return // an id is written plainly; reading it again would unescape it twice
		}
		again, err := parsePath(got.id())
		if err == nil { // a name that is a space does not stand a second time
			require.Equal(t, got.id(), again.id())
		}
	})
}
