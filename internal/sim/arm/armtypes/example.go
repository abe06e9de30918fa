package armtypes

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// An Example is a request with Azure's answer, as Microsoft publishes them.
type Example struct {
	Name     string // the file, below the directory
	Method   string
	URL      *url.URL
	Body     any // nil: none
	Response any // nil: none
}

// exampleFile has both forms of a file: a recorded request, or the parameters and
// responses of a specification.
type exampleFile struct {
	Request *struct {
		Method string          `json:"method"`
		URL    string          `json:"url"`
		Body   json.RawMessage `json:"body"`
	} `json:"request"`
	Response json.RawMessage `json:"response"`

	Parameters json.RawMessage `json:"parameters"`
	Responses  map[string]struct {
		Body json.RawMessage `json:"body"`
	} `json:"responses"`
}

// Examples reads every example below a directory. A file without a request, such as a
// template to deploy, is none.
func Examples(dir string) ([]Example, error) {
	var list []Example
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var f exampleFile
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("example %s: %w", path, err)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		found, err := f.examples(name)
		if err != nil {
			return fmt.Errorf("example %s: %w", path, err)
		}
		list = append(list, found...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	return list, nil
}

func (f exampleFile) examples(name string) ([]Example, error) {
	switch {
	case f.Request != nil:
		e, err := example(name, f.Request.Method, f.Request.URL, f.Request.Body, f.Response)
		return []Example{e}, err
	case f.Responses != nil:
		return f.specified(name)
	}
	return nil, nil
}

// specified is an example of the specification of Image Builder: the URL is made of its
// parameters, and each answer is an example.
func (f exampleFile) specified(name string) ([]Example, error) {
	var p struct {
		Version  string          `json:"api-version"`
		Template string          `json:"imageTemplateName"`
		Group    string          `json:"resourceGroupName"`
		Output   string          `json:"runOutputName"`
		Body     json.RawMessage `json:"parameters"`
	}
	if err := json.Unmarshal(f.Parameters, &p); err != nil {
		return nil, err
	}
	path := "/subscriptions/{subscription-id}/resourceGroups/" + p.Group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/" + p.Template
	method := http.MethodGet
	switch {
	case p.Output != "":
		path += "/runOutputs/" + p.Output
	case p.Body != nil:
		method = http.MethodPut
	case f.Responses["202"].Body == nil && f.Responses["200"].Body == nil:
		method, path = http.MethodPost, path+"/run"
	}
	var list []Example
	for _, status := range []string{"200", "201"} {
		answer, ok := f.Responses[status]
		if !ok {
			continue
		}
		e, err := example(name, method, "https://management.azure.com"+path+"?api-version="+p.Version, p.Body, answer.Body)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func example(name, method, address string, body, response json.RawMessage) (Example, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Example{}, err
	}
	e := Example{Name: name, Method: method, URL: u}
	if body != nil {
		if e.Body, err = Decode(body); err != nil {
			return Example{}, err
		}
	}
	if response != nil {
		if e.Response, err = Decode(response); err != nil {
			return Example{}, err
		}
	}
	return e, nil
}

var group = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/?$`)

// A Target is what a path of Azure Resource Manager leads to.
type Target struct {
	Type string // Microsoft.Compute/virtualMachineScaleSets
	// Rest is what follows the last name: nothing for a resource, an action's name, or
	// the last part of the type for a list of its resources.
	Rest string
}

// Locate takes a path apart. It knows no types: .../galleries is a list of galleries,
// as .../galleries/galProd/share is an action, by their number of parts alone. A
// resource group, which has no provider in its path, is of Microsoft.Resources.
func Locate(path string) (Target, bool) {
	if group.MatchString(path) {
		return Target{Type: "Microsoft.Resources/resourceGroups"}, true
	}
	at := strings.LastIndex(strings.ToLower(path), "/providers/")
	if at < 0 {
		return Target{}, false
	}
	parts := strings.Split(strings.Trim(path[at+len("/providers/"):], "/"), "/")
	if len(parts) < 2 {
		return Target{}, false
	}
	t := Target{Type: parts[0]}
	for rest := parts[1:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) == 1 {
			t.Rest = rest[0]
			break
		}
		t.Type += "/" + rest[0]
	}
	return t, true
}
