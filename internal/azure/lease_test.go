package azure

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	lockBlob = "https://stpay.blob.core.windows.net/fleetctl/pay/7/lock"
	leaseOne = "11111111-1111-4111-a111-111111111111"
	leaseTwo = "22222222-2222-4222-a222-222222222222"
)

func TestLease(t *testing.T) {
	server, c := stored(t)
	ctx := t.Context()
	require.ErrorIs(t, c.AcquireLease(ctx, lockBlob, leaseOne, time.Minute), &Error{Kind: NotFound})
	require.NoError(t, c.WriteBlob(ctx, lockBlob, nil))
	require.NoError(t, c.BreakLease(ctx, lockBlob), "there is none")
	require.ErrorIs(t, c.RenewLease(ctx, lockBlob, leaseOne), ErrLeaseLost)
	require.NoError(t, c.AcquireLease(ctx, lockBlob, leaseOne, time.Minute))
	require.NoError(t, c.AcquireLease(ctx, lockBlob, leaseOne, time.Minute), "as after a lost answer")
	err := c.AcquireLease(ctx, lockBlob, leaseTwo, time.Minute)
	require.ErrorIs(t, err, ErrLeaseHeld)
	require.ErrorIs(t, err, &Error{Kind: Conflict})
	require.EqualError(t, err, "acquire the lease of blob stpay/fleetctl/pay/7/lock: LeaseAlreadyPresent: There is already a lease present.")

	require.NoError(t, c.SetBlobMetadata(ctx, lockBlob, leaseOne, map[string]string{"owner": "ada"}))
	require.ErrorIs(t, c.SetBlobMetadata(ctx, lockBlob, leaseTwo, map[string]string{"owner": "eve"}), ErrLeaseLost)
	state, err := c.BlobState(ctx, lockBlob)
	require.NoError(t, err)
	require.True(t, state.Leased)
	require.Equal(t, map[string]string{"owner": "ada"}, state.Metadata)

	server.Advance(59 * time.Second)
	require.NoError(t, c.RenewLease(ctx, lockBlob, leaseOne))
	server.Advance(59 * time.Second)
	require.ErrorIs(t, c.AcquireLease(ctx, lockBlob, leaseTwo, time.Minute), ErrLeaseHeld)
	server.Advance(time.Second)
	require.NoError(t, c.AcquireLease(ctx, lockBlob, leaseTwo, time.Minute))
	require.ErrorIs(t, c.RenewLease(ctx, lockBlob, leaseOne), ErrLeaseLost)
	require.ErrorIs(t, c.ReleaseLease(ctx, lockBlob, leaseOne), ErrLeaseLost)
	require.NoError(t, c.BreakLease(ctx, lockBlob))
	require.NoError(t, c.BreakLease(ctx, lockBlob))
	err = c.RenewLease(ctx, lockBlob, leaseTwo)
	require.ErrorIs(t, err, ErrLeaseLost)
	require.ErrorContains(t, err, "LeaseIsBrokenAndCannotBeRenewed")
	require.NoError(t, c.AcquireLease(ctx, lockBlob, leaseOne, time.Minute))
	require.NoError(t, c.ReleaseLease(ctx, lockBlob, leaseOne))
	state, err = c.BlobState(ctx, lockBlob)
	require.NoError(t, err)
	require.False(t, state.Leased)
}
