package azure

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// The variables of the environment that say where Azure is. The SDK's own
// variables, AZURE_CLIENT_ID and the like, say who asks.
const (
	// EndpointVariable names a simulator, http or https, on a loopback address.
	EndpointVariable = "FLEETCTL_ARM_ENDPOINT"
	// CAVariable names a file with certificates (PEM) that a simulator's is trusted by.
	CAVariable = "FLEETCTL_ARM_CA"
	// AuthorityVariable is the SDK's: where tokens come from. It chooses the cloud.
	AuthorityVariable = "AZURE_AUTHORITY_HOST"
)

// A place is where Azure is.
type place struct {
	cloud     cloud.Configuration
	simulator bool
	// tokens says that the place has a service for tokens. A simulator has one when
	// AuthorityVariable names it, on a loopback address too.
	tokens bool
	caFile string
}

func (p place) endpoint() string { return p.cloud.Services[cloud.ResourceManager].Endpoint }

// newPlace reads the environment.
func newPlace(getenv func(string) string) (place, error) {
	authority := getenv(AuthorityVariable)
	if endpoint := getenv(EndpointVariable); endpoint != "" {
		return newSimulator(endpoint, authority, getenv(CAVariable))
	}
	if getenv(CAVariable) != "" {
		return place{}, usageError(fmt.Errorf("%s is for a simulator, and %s is not set", CAVariable, EndpointVariable),
			"to trust another authority for Azure, such as a proxy's, set SSL_CERT_FILE")
	}
	p := place{cloud: cloudOf(authority), tokens: true}
	if authority != "" {
		p.cloud.ActiveDirectoryAuthorityHost = authority
	}
	return p, nil
}

// cloudOf returns the cloud that an authority belongs to: the public one, unless it
// is known to be another's.
func cloudOf(authority string) cloud.Configuration {
	u, err := url.Parse(authority)
	if err != nil {
		return cloud.AzurePublic
	}
	switch strings.ToLower(u.Hostname()) {
	case "login.microsoftonline.us":
		return cloud.AzureGovernment
	case "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return cloud.AzureChina
	}
	return cloud.AzurePublic
}

// newSimulator returns the place of a simulator. It must be on a loopback address:
// what is meant for Azure is never sent elsewhere by a variable that was left behind.
func newSimulator(endpoint, authority, caFile string) (place, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
		return place{}, usageError(fmt.Errorf("%s is not a URL of a simulator", EndpointVariable), "write http://127.0.0.1:PORT, as fleetsim arm prints it")
	case !loopback(u):
		return place{}, usageError(fmt.Errorf("%s: %s is not a loopback address", EndpointVariable, u.Hostname()), "it is for a simulator on this machine; unset it to speak to Azure")
	}
	base := u.Scheme + "://" + u.Host
	p := place{simulator: true, caFile: caFile, cloud: cloud.Configuration{
		ActiveDirectoryAuthorityHost: cloud.AzurePublic.ActiveDirectoryAuthorityHost,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: base, Audience: base},
		},
	}}
	if a, err := url.Parse(authority); err == nil && u.Scheme == "https" && a.Scheme == "https" && loopback(a) {
		p.tokens = true
		p.cloud.ActiveDirectoryAuthorityHost = authority
	}
	return p, nil
}

// loopback says whether u is on this machine, whatever a resolver says.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback() || u.Hostname() == "localhost"
}

// sameHost says whether u is at the endpoint, or at a region's part of it:
// eastus.management.azure.com.
func sameHost(endpoint string, u *url.URL) bool {
	e, err := url.Parse(endpoint)
	if err != nil || u.Scheme != e.Scheme {
		return false
	}
	return strings.EqualFold(u.Host, e.Host) || strings.HasSuffix(strings.ToLower(u.Host), "."+strings.ToLower(e.Host))
}
