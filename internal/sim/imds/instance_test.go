package imds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func example() Instance {
	return Instance{
		Name: "web_3f6c1a2b", ScaleSet: "web", Zone: "2", Priority: "Spot", Location: "northeurope",
		Tags: map[string]string{"team": "shop", "env": "test"}, UserData: "hello",
	}
}

func TestInstanceGolden(t *testing.T) {
	for _, version := range []string{latest, "2021-08-01", "2017-04-02"} {
		t.Run(version, func(t *testing.T) {
			r, err := within(t, New(unlimited(example())), "web_3f6c1a2b").do(http.MethodGet, "/metadata/instance?api-version="+version, "")
			require.NoError(t, err)
			var b bytes.Buffer
			require.NoError(t, json.Indent(&b, []byte(r.body), "", "  "))
			golden(t, "instance-"+version+".golden", b.String()+"\n")
		})
	}
}

// TestEveryLeafIsAString: in JSON all primitives are strings, and each of them
// is there as text by its path.
func TestEveryLeafIsAString(t *testing.T) {
	m := within(t, New(unlimited(example())), "web_3f6c1a2b")
	for _, version := range instanceVersions {
		r, err := m.do(http.MethodGet, "/metadata/instance?api-version="+version, "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, r.status)
		var doc any
		require.NoError(t, json.Unmarshal([]byte(r.body), &doc))
		leaves := 0
		walk(doc, "", func(path string, leaf any) {
			leaves++
			text, ok := leaf.(string)
			require.True(t, ok, "%s: %s is %T", version, path, leaf)
			r, err := m.do(http.MethodGet, "/metadata/instance"+path+"?format=text&api-version="+version, "")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, r.status)
			require.Equal(t, text, r.body, path)
		})
		require.Positive(t, leaves)
	}
}

func walk(node any, path string, leaf func(path string, v any)) {
	switch n := node.(type) {
	case map[string]any:
		for k, v := range n {
			walk(v, path+"/"+k, leaf)
		}
	case []any:
		for i, v := range n {
			walk(v, fmt.Sprintf("%s/%d", path, i), leaf)
		}
	default:
		leaf(path, n)
	}
}

func TestOrchestration(t *testing.T) {
	flexible, uniform := Instance{Name: "web_0"}.withDefaults(), Instance{Name: "web_0", Orchestration: "Uniform"}.withDefaults()
	compute := func(i Instance) map[string]any { return i.metadata(latest, nil)["compute"].(map[string]any) }
	require.True(t, strings.HasSuffix(compute(flexible)["resourceId"].(string), "/Microsoft.Compute/virtualMachines/web_0"))
	require.True(t, strings.HasSuffix(compute(uniform)["resourceId"].(string), "/virtualMachineScaleSets/web/virtualMachines/0"))
	id, _ := lookup(compute(flexible), []string{"virtualMachineScaleSet", "id"})
	require.True(t, strings.HasSuffix(id.(string), "/virtualMachineScaleSets/web"))
	id, _ = lookup(compute(uniform), []string{"virtualMachineScaleSet", "id"})
	require.Empty(t, id)
	require.Equal(t, "web", compute(uniform)["vmScaleSetName"])
}

// TestIdentityIsStable: a simulation that is started again is the same machine.
func TestIdentityIsStable(t *testing.T) {
	a, b := Instance{Name: "web_0"}.withDefaults(), Instance{Name: "web_1"}.withDefaults()
	require.Equal(t, a, Instance{Name: "web_0"}.withDefaults())
	require.NotEqual(t, a.VMID, b.VMID)
	require.NotEqual(t, a.Name, a.ComputerName)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, a.VMID)
}

func TestSetInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		i := s.Instance("web_0")
		i.Name, i.VMID = "web_9", ""
		s.SetInstance("web_0", i)
		require.Equal(t, Instance{Name: "web_9"}.withDefaults().VMID, s.Instance("web_0").VMID)
		m := within(t, s, "web_0")
		r, err := m.do(http.MethodGet, "/metadata/instance/compute/name?format=text&api-version="+latest, "")
		require.NoError(t, err)
		require.Equal(t, "web_9", r.body)
		s.Publish(EventSpec{Type: Preempt})
		require.Equal(t, []string{"web_9"}, m.events().Events[0].Resources)
	})
}

func TestNewRefusesTwins(t *testing.T) {
	require.PanicsWithValue(t, `imds: two machines named "WEB_0"`, func() {
		New(unlimited(Instance{Name: "web_0"}, Instance{Name: "WEB_0"}))
	})
	require.PanicsWithValue(t, `imds: no machine named "web_1"`, func() { New(Config{}).VM("web_1") })
}
