package azure

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A write that Azure wants to see later is not sent when what allows it is lost by then.
func TestGuarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := sequence(answer(429, throttling, "Retry-After", "90"), answer(200, `{}`))
		client, _ := with(t, transport)
		end := time.Now().Add(time.Minute)
		errLost := errors.New("the lock is lost")
		ctx := Guarded(t.Context(), func() error {
			if time.Now().After(end) {
				return errLost
			}
			return nil
		})
		write := fleet.Write{Method: "PATCH", ID: "/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/s", Body: fleet.Document{}}
		_, err := client.Send(ctx, write)
		require.ErrorIs(t, err, errLost)
		require.ErrorContains(t, err, "the lock is lost")
		require.EqualValues(t, 1, transport.calls.Load())
		_, err = client.Send(ctx, write)
		require.ErrorIs(t, err, errLost)
		require.EqualValues(t, 1, transport.calls.Load(), "nothing more was sent")
		_, err = client.Resource(ctx, write.ID, "")
		require.NoError(t, err, "reading is free")
	})
}
