package judgeproxy

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
)

// An Exchange is a request and its answer.
type Exchange struct {
	Method   string
	URL      *url.URL
	Sent     []byte
	Status   int
	Header   http.Header
	Answered []byte
}

// A judge judges one exchange.
type judge struct {
	cfg      Config
	exchange Exchange
	count    func(what, resourceType string)
	sent     map[string]int
	found    []Finding
}

func (j *judge) findings() []Finding {
	e := j.exchange
	target, located := armtypes.Locate(e.URL.EscapedPath())
	if located && len(e.Sent) > 0 {
		j.request(target)
	}
	switch {
	case j.cfg.Sent:
		switch {
		case len(e.Sent) > 0 && !located && manager.MatchString(e.URL.Path):
			j.unjudged("this path leads to no resource and no action")
		case len(e.Sent) == 0 && located && j.wantsBody(target):
			j.report(armtypes.Finding{Kind: armtypes.Missing, Path: "$", Message: "a request without its body"})
		}
	case e.Status >= http.StatusBadRequest:
		j.refusal()
	case e.Status >= http.StatusMultipleChoices:
	default:
		j.links()
		if len(e.Answered) > 0 && e.Method != http.MethodHead {
			j.answer(target, located)
		}
	}
	return j.found
}

// manager is the path of a request to Azure Resource Manager: not one for a token, nor
// one to Azure Storage.
var manager = regexp.MustCompile(`(?i)^/(subscriptions|providers)/`)

func (j *judge) report(list ...armtypes.Finding) {
	where := j.exchange.Method + " " + j.exchange.URL.EscapedPath()
	if !j.cfg.Sent {
		where += ": " + strconv.Itoa(j.exchange.Status)
	}
	for _, f := range list {
		j.found = append(j.found, Finding{where, f})
	}
}

func (j *judge) envelope(path, format string, args ...any) {
	j.report(armtypes.Finding{Kind: Envelope, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (j *judge) wantsBody(target armtypes.Target) bool {
	switch j.exchange.Method {
	case http.MethodPut, http.MethodPatch:
		return true
	case http.MethodPost:
		return j.into(target) != nil
	default:
		return false
	}
}

func (j *judge) into(target armtypes.Target) any {
	if j.cfg.Into == nil {
		return nil
	}
	return j.cfg.Into(j.exchange.Method, target)
}

func (j *judge) unjudged(why string) {
	j.report(armtypes.Finding{Kind: Unjudged, Path: "$", Message: why})
}

func (j *judge) version(resourceType string) string {
	return j.cfg.Types.Nearest(resourceType, j.exchange.URL.Query().Get("api-version"))
}

// request judges what was sent.
func (j *judge) request(target armtypes.Target) {
	e := j.exchange
	body, err := armtypes.Decode(e.Sent)
	if err != nil {
		j.envelope("$", "the request: %v", err)
		return
	}
	version, published := j.version(target.Type), true
	switch {
	case e.Method == http.MethodPost && j.cfg.Types.HasAction(target.Type, version, target.Rest):
		j.count("actions", target.Type)
		j.report(j.cfg.Types.CheckAction(target.Type, version, target.Rest, body, armtypes.Request)...)
	case e.Method == http.MethodPut && version != "":
		j.count("PUT bodies", target.Type)
		j.report(j.cfg.Types.Check(target.Type, version, body, armtypes.Request)...)
	case e.Method == http.MethodPatch && version != "":
		j.count("PATCH bodies", target.Type)
		j.report(j.cfg.Types.Check(target.Type, version, body, armtypes.Patch)...)
	default:
		published = false
		j.count("bodies without a type", "")
	}
	into := j.into(target)
	if into != nil {
		j.count("bodies decoded strictly", "")
		j.report(strict(e.Sent, body, into)...)
	}
	what := strings.TrimSpace(e.Method + " " + target.Type + " " + target.Rest)
	if j.cfg.Sent && into == nil && (e.Method != http.MethodPut || !published) {
		j.unjudged("nobody knows the body of " + what)
		return
	}
	j.sent[what]++
}

// strict decodes a body into what a client has for it, and finds what is lost.
func strict(text []byte, body any, into any) []armtypes.Finding {
	if err := json.Unmarshal(text, into); err != nil {
		return []armtypes.Finding{{Kind: Lost, Path: "$", Message: fmt.Sprintf("decode into %T: %v", into, err)}}
	}
	again, err := json.Marshal(into)
	if err != nil {
		return []armtypes.Finding{{Kind: Lost, Path: "$", Message: fmt.Sprintf("encode %T: %v", into, err)}}
	}
	kept, err := armtypes.Decode(again)
	if err != nil {
		return []armtypes.Finding{{Kind: Lost, Path: "$", Message: err.Error()}}
	}
	var list []armtypes.Finding
	for _, path := range Missing(body, kept) {
		list = append(list, armtypes.Finding{Kind: Lost, Path: path, Message: fmt.Sprintf("%T does not know it", into)})
	}
	return list
}

// code is what the code of an error looks like.
var code = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]*$`)

// refusal judges an error.
func (j *judge) refusal() {
	j.count("errors", "")
	if j.exchange.Method == http.MethodHead {
		return
	}
	var body struct {
		Error struct{ Code, Message string }
	}
	switch err := json.Unmarshal(j.exchange.Answered, &body); {
	case err != nil:
		j.envelope("$", "an error that is no JSON: %v", err)
	case !code.MatchString(body.Error.Code):
		j.envelope("$.error.code", "%q is no code", body.Error.Code)
	case body.Error.Message == "":
		j.envelope("$.error.message", "an error without words")
	}
	if j.exchange.Status == http.StatusTooManyRequests {
		if _, err := strconv.Atoi(j.exchange.Header.Get("Retry-After")); err != nil {
			j.envelope("Retry-After", "%q is no number of seconds", j.exchange.Header.Get("Retry-After"))
		}
	}
}

// links judges where a long-running operation is to be followed.
func (j *judge) links() {
	operation := false
	for _, name := range []string{"Azure-AsyncOperation", "Location"} {
		link := j.exchange.Header.Get(name)
		if link == "" {
			continue
		}
		operation = true
		if u, err := url.Parse(link); err != nil || !u.IsAbs() || u.Query().Get("api-version") == "" {
			j.envelope(name, "%q is no absolute URL with an api-version", link)
		}
	}
	if j.exchange.Status == http.StatusAccepted && !operation {
		j.envelope("Location", "202, and nothing to follow")
	}
}

// answer judges what was answered.
func (j *judge) answer(target armtypes.Target, located bool) {
	e := j.exchange
	if media, _, err := mime.ParseMediaType(e.Header.Get("Content-Type")); err != nil || media != "application/json" {
		j.envelope("Content-Type", "%q is not JSON", e.Header.Get("Content-Type"))
	}
	decoded, err := armtypes.Decode(e.Answered)
	if err != nil {
		j.envelope("$", "%v", err)
		return
	}
	body, isObject := decoded.(map[string]any)
	lower := strings.ToLower(target.Type)
	switch {
	case !isObject:
		j.envelope("$", "the answer is no object")
	case strings.HasSuffix(lower, "/locations/operations"):
		j.operation(body)
	case strings.HasSuffix(lower, "/locations/operationresults"):
		j.output(body)
	case e.Method == http.MethodPost:
		j.acted(target, body)
	case entity.MatchString(e.URL.Path):
		j.count("answers without a type", "")
		j.identity(body)
	case !located:
		j.count("answers without a type", "")
	case target.Rest == "":
		j.resource("$", target.Type, body)
		j.identity(body)
	case strings.EqualFold(target.Rest, "instanceView"):
		j.instanceView(target.Type, body)
	default:
		j.list(target, body)
	}
}

// entity is the path of what has an id and is no resource: a subscription, a resource
// group, a provider's registration.
var entity = regexp.MustCompile(`(?i)^/subscriptions/[^/]+(/(resourceGroups|providers)/[^/]+)?/?$`)

// identity judges whether a resource is the one that was asked for.
func (j *judge) identity(body map[string]any) {
	path, err := url.PathUnescape(strings.TrimSuffix(j.exchange.URL.EscapedPath(), "/"))
	if id, _ := body["id"].(string); err != nil || !strings.EqualFold(id, path) {
		j.envelope("$.id", "%q is not what was asked for", id)
	}
}

// resource judges a resource, of a type that the path says or that it says itself.
func (j *judge) resource(path, resourceType string, body map[string]any) {
	for _, name := range []string{"id", "name", "type"} {
		if s, _ := body[name].(string); s == "" {
			j.envelope(path+"."+name, "a resource without it")
		}
	}
	if own, _ := body["type"].(string); resourceType == "" {
		resourceType = own
	}
	version := j.version(resourceType)
	if version == "" {
		j.count("answers without a type", "")
		return
	}
	j.count("answers", resourceType)
	for _, f := range j.cfg.Types.Check(resourceType, version, body, armtypes.Response) {
		if f.Kind == armtypes.Case && f.Path == "$.type" {
			continue // Azure itself answers both autoscalesettings and autoscaleSettings
		}
		f.Path = path + strings.TrimPrefix(f.Path, "$")
		j.report(f)
	}
}

// list judges each resource of a list.
func (j *judge) list(target armtypes.Target, body map[string]any) {
	items, isList := body["value"].([]any)
	if !isList {
		j.envelope("$.value", "a list without it")
		return
	}
	if link, there := body["nextLink"]; there {
		s, _ := link.(string)
		if u, err := url.Parse(s); err != nil || !u.IsAbs() || u.Query().Get("api-version") == "" {
			j.envelope("$.nextLink", "%q is no absolute URL with an api-version", s)
		}
	}
	j.count("lists", "")
	itemType := strings.TrimSuffix(target.Type, "/locations") + "/" + target.Rest
	if j.version(itemType) == "" {
		j.count("lists without a type", "")
		return
	}
	for i, item := range items {
		at := "$.value[" + strconv.Itoa(i) + "]"
		object, isObject := item.(map[string]any)
		if !isObject {
			j.envelope(at, "it is no object")
			continue
		}
		j.resource(at, itemType, object)
	}
}

// instanceView judges a VM's instance view as the property of the VM that it is.
func (j *judge) instanceView(resourceType string, body map[string]any) {
	version := j.version(resourceType)
	j.count("instance views", resourceType)
	vm := map[string]any{"location": "any", "name": "any", "properties": map[string]any{"instanceView": body}}
	j.report(j.cfg.Types.Check(resourceType, version, vm, armtypes.Response)...)
}

// operation judges the status of a long-running operation.
func (j *judge) operation(body map[string]any) {
	j.count("operations", "")
	status, _ := body["status"].(string)
	if status == "" || strings.ContainsAny(status, " .") {
		j.envelope("$.status", "%q is no status", status)
	}
	switch _, failed := body["error"]; {
	case failed && status != "Failed" && status != "Canceled":
		j.envelope("$.error", "an error, and the status is %q", status)
	case !failed && status == "Failed":
		j.envelope("$.error", "failed, and no error says why")
	}
}

// output judges what an operation leaves: a resource, or an action's own words.
func (j *judge) output(body map[string]any) {
	if own, _ := body["type"].(string); j.version(own) != "" {
		j.resource("$", own, body)
		return
	}
	j.count("answers without a type", "")
}

// acted judges what an action answers at once.
func (j *judge) acted(target armtypes.Target, body map[string]any) {
	version := j.version(target.Type)
	if !j.cfg.Types.HasAction(target.Type, version, target.Rest) {
		j.count("answers without a type", "")
		return
	}
	j.count("answers", target.Type)
	j.report(j.cfg.Types.CheckAction(target.Type, version, target.Rest, body, armtypes.Response)...)
}

// Missing lists the paths of what is in want and not, or not the same, in got: keys that
// are not there, other values, arrays of another length. A null in want is nothing, and
// got may hold more. Numbers are the same by value.
func Missing(want, got any) []string {
	var list []string
	missing("$", want, got, &list)
	slices.Sort(list)
	return list
}

func missing(path string, want, got any, list *[]string) {
	switch want := want.(type) {
	case nil:
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			*list = append(*list, path)
			return
		}
		for name, v := range want {
			missing(path+"."+name, v, object[name], list)
		}
	case []any:
		items, ok := got.([]any)
		if !ok || len(items) != len(want) {
			*list = append(*list, path)
			return
		}
		for i := range want {
			missing(path+"["+strconv.Itoa(i)+"]", want[i], items[i], list)
		}
	default:
		if !same(want, got) {
			*list = append(*list, path)
		}
	}
}

// same compares two values that are neither objects nor arrays.
func same(a, b any) bool {
	n, numberA := a.(json.Number)
	m, numberB := b.(json.Number)
	if !numberA || !numberB {
		return a == b
	}
	x, errX := n.Float64()
	y, errY := m.Float64()
	return errX == nil && errY == nil && x == y
}
