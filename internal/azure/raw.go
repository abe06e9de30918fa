package azure

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// A capture keeps the answer to a question, for what the SDK's types leave out.
type capture struct{ resp *http.Response }

func (c *capture) in(ctx context.Context) context.Context {
	return policy.WithCaptureResponse(ctx, &c.resp)
}

// body returns the answer's text, or nil.
func (c *capture) body() []byte {
	if c.resp == nil {
		return nil
	}
	text, err := runtime.Payload(c.resp)
	if err != nil {
		return nil
	}
	return text
}

// url returns the address of what answered.
func (c *capture) url() string {
	if c.resp == nil || c.resp.Request == nil {
		return ""
	}
	return c.resp.Request.URL.String()
}

// isPage says whether an answer is a page of a list. The SDK takes one without a body
// or without values for an empty page.
func isPage(raw []byte) bool {
	var answer struct{ Value json.RawMessage }
	return json.Unmarshal(raw, &answer) == nil && answer.Value != nil
}

// properties returns the object "properties" of a resource as it was read.
func properties(raw []byte) map[string]any {
	var resource struct{ Properties map[string]any }
	if json.Unmarshal(raw, &resource) != nil {
		return nil
	}
	return resource.Properties
}

// propertiesByID returns the same for each resource of a page of a list, by its id in
// lower case.
func propertiesByID(raw []byte) map[string]map[string]any {
	var answer struct {
		Value []struct {
			ID         string
			Properties map[string]any
		}
	}
	if json.Unmarshal(raw, &answer) != nil {
		return nil
	}
	all := make(map[string]map[string]any, len(answer.Value))
	for _, v := range answer.Value {
		all[strings.ToLower(v.ID)] = v.Properties
	}
	return all
}
