package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// An assertionSource asks a pipeline's service for an assertion: a statement about
// the run that Microsoft Entra takes for a credential.
type assertionSource struct {
	method, url string
	query       map[string]string // to be added to what url has
	token       string            // that the service knows the run by
	field       string            // of the answer, with the assertion
	options     policy.ClientOptions
}

// fetch returns a new assertion. Its errors name the host and the status, and
// nothing of what was sent or received.
func (s *assertionSource) fetch(ctx context.Context) (string, error) {
	u, err := url.Parse(s.url)
	if err != nil || u.Scheme != "https" {
		return "", errors.New("the address for assertions is no https URL")
	}
	query := u.Query()
	for name, value := range s.query {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	req, err := runtime.NewRequest(ctx, s.method, u.String())
	if err != nil {
		return "", fmt.Errorf("ask %s for an assertion: %w", u.Host, err)
	}
	req.Raw().Header.Set("Authorization", "Bearer "+s.token)
	req.Raw().Header.Set("Accept", "application/json")
	req.Raw().Header.Set("X-TFS-FedAuthRedirect", "Suppress") // Azure Pipelines: 401, not a page to sign in on
	resp, err := runtime.NewPipeline(module, "", runtime.PipelineOptions{}, &s.options).Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s for an assertion: %w", u.Host, withoutURL(err))
	}
	defer resp.Body.Close()
	body, err := runtime.Payload(resp)
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", u.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask %s for an assertion: it answered %s", u.Host, resp.Status)
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("ask %s for an assertion: the answer is not JSON", u.Host)
	}
	assertion, _ := answer[s.field].(string)
	if assertion == "" {
		return "", fmt.Errorf("ask %s for an assertion: the answer has no %s", u.Host, s.field)
	}
	return assertion, nil
}

// withoutURL is the cause of an error of a request, whose URL may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
