package azure

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// The ends of a lease. An error of one of the methods below is one of them, or says
// nothing about the lease.
var (
	// ErrLeaseHeld says that somebody else has a lease.
	ErrLeaseHeld = errors.New("somebody else has a lease")
	// ErrLeaseLost says that the lease is over, and was broken or taken.
	ErrLeaseLost = errors.New("the lease is lost")
)

// AcquireLease takes a lease on a blob, of 15 to 60 seconds. The id is a GUID that the
// caller makes up: asked for twice with one id it is the same lease, so a lost answer
// does no harm.
func (c *Client) AcquireLease(ctx context.Context, address, id string, lasts time.Duration) error {
	return c.lease(ctx, address, "acquire", http.Header{
		"X-Ms-Proposed-Lease-Id": {id}, "X-Ms-Lease-Duration": {strconv.Itoa(int(lasts.Seconds()))},
	})
}

// RenewLease makes a lease last for its whole time again.
func (c *Client) RenewLease(ctx context.Context, address, id string) error {
	return c.lease(ctx, address, "renew", http.Header{"X-Ms-Lease-Id": {id}})
}

// ReleaseLease gives a lease back.
func (c *Client) ReleaseLease(ctx context.Context, address, id string) error {
	return c.lease(ctx, address, "release", http.Header{"X-Ms-Lease-Id": {id}})
}

// BreakLease ends whatever lease there is, at once. That there is none is no error.
func (c *Client) BreakLease(ctx context.Context, address string) error {
	err := c.lease(ctx, address, "break", http.Header{"X-Ms-Lease-Break-Period": {"0"}})
	if blobCode(err) == "LeaseNotPresentWithLeaseOperation" {
		return nil
	}
	return err
}

func (c *Client) lease(ctx context.Context, address, action string, h http.Header) error {
	h.Set("X-Ms-Lease-Action", action)
	_, err := c.changeBlob(ctx, action+" the lease of blob", http.MethodPut, address, "lease", nil, h)
	return leaseError(err)
}

// leaseError says what a refusal means for the lease.
func leaseError(err error) error {
	switch blobCode(err) {
	case "LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired":
		return marked(err, ErrLeaseHeld)
	case "LeaseIdMismatchWithLeaseOperation", "LeaseIdMismatchWithBlobOperation", "LeaseIsBrokenAndCannotBeRenewed", "LeaseIsBreakingAndCannotBeChanged",
		"LeaseNotPresentWithLeaseOperation", "LeaseNotPresentWithBlobOperation", "LeaseLost":
		return marked(err, ErrLeaseLost)
	}
	return err
}

// blobCode is Azure Storage's word for why it refused; "" when it did not.
func blobCode(err error) string {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.ErrorCode
	}
	return ""
}
