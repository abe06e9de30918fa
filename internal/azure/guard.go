package azure

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

type guardKey struct{}

// Guarded returns a context under which every write asks may before it is sent, each
// time that it is sent: between two tries, what it is allowed by may have been lost.
func Guarded(ctx context.Context, may func() error) context.Context {
	return context.WithValue(ctx, guardKey{}, may)
}

// guarded says why a request must not be sent; nil: it may be.
func guarded(req *policy.Request) error {
	may, ok := req.Raw().Context().Value(guardKey{}).(func() error)
	if !ok || req.Raw().Method == http.MethodGet || req.Raw().Method == http.MethodHead {
		return nil
	}
	return may()
}

// unguarded is why a request was not sent. No other try makes sense.
type unguarded struct{ error }

// NonRetriable says so to the SDK.
func (unguarded) NonRetriable() {}

// Unwrap returns the reason.
func (u unguarded) Unwrap() error { return u.error }
