package azure

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// The bounds of what a question to Azure may cost.
const (
	maxAnswer    = 32 << 20         // bytes of one answer
	maxPages     = 10_000           // of one list
	maxRequests  = 8                // under way at once
	maxThrottled = 30 * time.Minute // that one request waits for its turn
	maxTries     = 3                // of a request that fails
	tryTimeout   = time.Minute      // of one try
)

// module is what Azure's records call this program. It is not longer than 24
// characters, which is what they keep.
const module = "fleetctl"

// Config says which Azure is spoken to, and as whom.
type Config struct {
	Auth    string              // one of Ways
	Version string              // of the program, for Azure's records
	Getenv  func(string) string // see the variables of this package
	Debug   io.Writer           // gets a line for each request; nil: nobody does
	Waiting func(Wait)          // is told of every long wait; nil: nobody is

	testOnlyTransport policy.Transporter // in the place of the network
}

// A Client asks Azure. It is safe for concurrent use.
type Client struct {
	options  *arm.ClientOptions
	cred     azcore.TokenCredential
	pipeline runtime.Pipeline
	endpoint string // of Azure Resource Manager

	blobs     runtime.Pipeline // for Azure Storage
	simulator bool             // blobs are below the endpoint, too
	clock     *clock
}

// New returns a client. It asks nothing yet, not for a token either.
func New(c Config) (*Client, error) {
	p, err := newPlace(c.Getenv)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(p.caFile)
	if err != nil {
		return nil, err
	}
	shared := policy.ClientOptions{Cloud: p.cloud, Transport: transport}
	if c.testOnlyTransport != nil {
		shared.Transport = c.testOnlyTransport
	}
	shared.Telemetry.ApplicationID = module
	if c.Debug != nil {
		shared.PerRetryPolicies = []policy.Policy{&debug{w: c.Debug}}
	}
	cred, err := newCredential(c.Auth, c.Getenv, p, shared)
	if err != nil {
		return nil, err
	}

	// The credentials have retries of their own, which know the services that they
	// ask. These are for Azure Resource Manager.
	options := arm.ClientOptions{ClientOptions: shared, DisableRPRegistration: true}
	options.InsecureAllowCredentialWithHTTP = p.simulator
	options.Retry.MaxRetries = -1
	now := &clock{}
	options.PerCallPolicies = []policy.Policy{home{endpoint: p.endpoint()}, spoken{}, newRetry(c.Waiting)}
	if p.simulator { // what calls itself Azure does not set the time
		options.PerCallPolicies = append(options.PerCallPolicies, now)
	}
	client, err := arm.NewClient(module, telemetryVersion(c.Version), cred, &options)
	if err != nil {
		return nil, err
	}
	return &Client{
		options: &options, cred: cred, pipeline: client.Pipeline(), endpoint: client.Endpoint(),
		blobs: newBlobPipeline(cred, options.ClientOptions, c, p), simulator: p.simulator, clock: now,
	}, nil
}

// newBlobPipeline is for Azure Storage, whose tokens are its own.
func newBlobPipeline(cred azcore.TokenCredential, options policy.ClientOptions, c Config, p place) runtime.Pipeline {
	options.PerCallPolicies = []policy.Policy{newRetry(c.Waiting)}
	token := runtime.NewBearerTokenPolicy(cred, []string{storageScope}, &policy.BearerTokenOptions{InsecureAllowCredentialWithHTTP: p.simulator})
	return runtime.NewPipeline(module, telemetryVersion(c.Version), runtime.PipelineOptions{PerRetry: []policy.Policy{token}}, &options)
}

// release is the part of a version that the SDK accepts: it refuses to make a client
// of any other.
var release = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)`)

// telemetryVersion is a version as the SDK accepts it, whatever was built: a build
// without a tag has a commit for a version.
func telemetryVersion(version string) string {
	m := release.FindStringSubmatch(version)
	if m == nil {
		return "v0.0.0"
	}
	return "v" + m[1]
}

// home keeps requests, and the tokens that they carry, at the endpoint: the links
// to further pages are part of an answer.
type home struct{ endpoint string }

func (h home) Do(req *policy.Request) (*http.Response, error) {
	if u := req.Raw().URL; !sameHost(h.endpoint, u) {
		return nil, final(&foreignLinkError{host: u.Host})
	}
	return req.Next()
}

// spoken refuses an answer that says nothing: the SDK takes it for a list without
// values, or for a resource without properties.
type spoken struct{}

func (spoken) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil || resp.StatusCode != http.StatusOK || req.Raw().Method != http.MethodGet {
		return resp, err
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return nil, err
	}
	if body = bytes.TrimSpace(body); len(body) == 0 || string(body) == "null" {
		return nil, final(errEmpty)
	}
	return resp, nil
}

// errEmpty says that an answer says nothing.
var errEmpty = errors.New("the answer is empty")
