package roll_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// entries is a journal that is only read.
type entries struct {
	roll.Journal

	list []json.RawMessage
}

func (e *entries) Entries(context.Context) ([]json.RawMessage, error) { return e.list, nil }

func (*entries) Requests(context.Context) ([]roll.Asked, error) { return nil, nil }

// Who looks again and again comes to the same as who has just come, at every entry; what
// was told before does not change. A journal that was put in the place of another begins
// anew.
func TestStatusGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{health: "Unhealthy"})
	s, err := w.start().Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Halted, s.State.Phase)
	all := w.journal.entries
	require.Greater(t, len(all), 20)
	status := func(r *roll.Runner) (string, roll.Status) {
		s, err := r.Status(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(s)
		require.NoError(t, err)
		return string(text), s
	}
	j := &entries{}
	again := &roll.Runner{Journal: j, Now: time.Now}
	var told []roll.Status
	var texts []string
	for n := 1; n <= len(all); n++ {
		j.list = all[:n]
		text, s := status(again)
		fresh, _ := status(&roll.Runner{Journal: j, Now: time.Now})
		require.Equal(t, fresh, text, n)
		told, texts = append(told, s), append(texts, text)
	}
	for i := range told {
		text, err := json.Marshal(told[i])
		require.NoError(t, err)
		require.Equal(t, texts[i], string(text), i)
	}
	j.list = all[:7]
	text, _ := status(again)
	require.Equal(t, texts[6], text, "it shrank")
	j.list = append(append(append([]json.RawMessage{}, all[:5]...), all[6]), all[8:]...)
	text, _ = status(again)
	fresh, _ := status(&roll.Runner{Journal: j, Now: time.Now})
	require.Equal(t, fresh, text, "it is another one")
	j.list = nil
	_, err = again.Status(t.Context())
	require.ErrorIs(t, err, roll.ErrNone)
	j.list = []json.RawMessage{all[0], json.RawMessage("{}")}
	_, err = again.Status(t.Context())
	require.ErrorContains(t, err, "entry 2 of the journal")
	j.list = all
	text, _ = status(again)
	require.Equal(t, texts[len(texts)-1], text)
}
