package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExamplesAreServed(t *testing.T) {
	tests := map[string]struct{ sets, members int }{
		"article": {4, 22}, "thousand": {10, 1000}, "traps": {17, 94},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			w := example(t, name)
			sets := w.all(group + "/providers/" + setType)
			require.Len(t, sets, tt.sets)
			n := 0
			for _, set := range sets {
				instances := w.all(str(set, "id") + "/virtualMachines")
				n += len(instances)
				if name != "traps" {
					require.Len(t, instances, capacityOf(set), "a healthy fleet has as many members as its capacity says")
				}
			}
			require.Equal(t, tt.members, n)
			t.Log(time.Since(start))
		})
	}
}
