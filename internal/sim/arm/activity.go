package arm

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An event is an entry of the activity log: somebody did something to a resource.
type event struct {
	At        time.Time `json:"at"`
	Seq       int64     `json:"seq"`
	Operation string    `json:"operation"` // such as Microsoft.Compute/virtualMachines/delete
	Status    string    `json:"status,omitempty"`
	Caller    string    `json:"caller"`
	Resource  string    `json:"resource"`
	Category  string    `json:"category,omitempty"`
	Error     string    `json:"error,omitempty"` // code and message
}

// The callers that are no client.
const (
	platform   = "Microsoft.Compute"
	autoscaler = "Microsoft.Insights/autoscaleSettings"
)

// maxEvents bounds the activity log; the oldest half goes first.
const maxEvents = 10_000

// note writes an entry of the activity log.
func (tx *txn) note(e event) {
	before := tx.store.Events
	e.At, e.Seq = tx.now, 1
	if n := len(before); n > 0 {
		e.Seq += before[n-1].Seq
	}
	e.Status, e.Category = cmp.Or(e.Status, statusSucceeded), cmp.Or(e.Category, "Administrative")
	if len(before) >= maxEvents {
		tx.store.Events = slices.Clone(before[maxEvents/2:])
	}
	tx.store.Events = append(tx.store.Events, e) // in place: an undo brings the old length back
	tx.undo = append(tx.undo, func() { tx.store.Events = before })
}

// noteCall writes what a client did, by the action of a call that was routed. What goes on
// is written once more at its end.
func (tx *txn) noteCall(action string, c *call, a answer) {
	if c.Method == http.MethodGet || c.Method == http.MethodHead || action == "" {
		return
	}
	e := event{Operation: action, Caller: caller(c.Header), Resource: strings.TrimSuffix(c.Target.id(), "/")}
	if a.Operation != nil {
		e.Status = "Accepted"
		tx.update(a.Operation.ID, func(o *operation) { o.Event = &e })
	}
	tx.note(e)
}

// noteEnd writes how an operation of a client's ended.
func (tx *txn) noteEnd(o *operation) {
	if o.Event == nil {
		return
	}
	e := *o.Event
	e.Status = o.Status
	if o.Error != nil {
		e.Error = o.Error.Error()
	}
	tx.note(e)
}

// activityLog answers with the entries of the activity log that a filter lets through, the
// newest first.
func (s *Server) activityLog(tx *txn, c *call) (answer, error) {
	keep, err := eventFilter(c.query("$filter"))
	if err != nil {
		return answer{}, err
	}
	skip := 0
	if token := c.query("$skiptoken"); token != "" {
		if skip, err = strconv.Atoi(token); err != nil || skip < 0 {
			return answer{}, errorf(http.StatusBadRequest, "InvalidSkipToken", "The provided skip token '%s' is invalid.", token)
		}
	}
	list, found := []any{}, 0
	body := object{}
	for _, e := range slices.Backward(tx.store.Events) {
		if !keep(e) {
			continue
		}
		if found++; found <= skip {
			continue
		}
		if len(list) == s.cfg.PageSize {
			body["nextLink"] = c.nextLink(strconv.Itoa(skip + s.cfg.PageSize))
			break
		}
		list = append(list, s.eventBody(e))
	}
	body["value"] = list
	return ok(body), nil
}

func (s *Server) eventBody(e event) object {
	named := func(value string) object { return object{"value": value, "localizedValue": value} }
	level := "Informational"
	if e.Status == statusFailed {
		level = "Error"
	}
	id := guid("event", strconv.FormatInt(e.Seq, 10))
	t, _ := parsePath(e.Resource) // it was one
	properties := object{}
	if e.Error != "" {
		properties["statusMessage"] = e.Error
	}
	return object{
		"id":          e.Resource + "/events/" + id + "/ticks/" + strconv.FormatInt(e.At.UnixNano()/100, 10),
		"eventDataId": id, "correlationId": id, "operationId": id, "level": level, "caller": e.Caller, "channels": "Operation",
		"eventTimestamp": stamp(e.At), "submissionTimestamp": stamp(e.At), "subscriptionId": s.cfg.Subscription, "tenantId": tenantID,
		"resourceId": e.Resource, "resourceGroupName": t.group, "resourceProviderName": named(t.namespace), "resourceType": named(t.kind()),
		"operationName": named(e.Operation), "status": named(e.Status), "subStatus": named(""), "category": named(e.Category),
		"eventName": named("EndRequest"), "description": "", "properties": properties,
	}
}

// eventFilter understands the documented filters of the activity log: a time from which
// on, maybe one until which, and maybe a resource group, a resource or a provider.
func eventFilter(filter string) (func(e event) bool, error) {
	refuse := func(why string) error {
		return errorf(http.StatusBadRequest, "BadRequest", "The $filter '%s' is not valid: %s.", filter, why)
	}
	var from, until time.Time
	equal := map[string]string{}
	for part := range splitWords(filter, " and ") {
		fields := strings.Fields(part)
		if len(fields) != 3 {
			return nil, refuse("it is NAME ge|le|eq 'VALUE', joined by and")
		}
		name, op, value := strings.ToLower(fields[0]), strings.ToLower(fields[1]), strings.Trim(fields[2], "'")
		switch {
		case name == "eventtimestamp" && (op == "ge" || op == "le"):
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return nil, refuse("'" + value + "' is no time")
			}
			if op == "ge" {
				from = at
			} else {
				until = at
			}
		case op == "eq" && slices.Contains([]string{"resourcegroupname", "resourceuri", "resourceid", "resourceprovider", "eventchannels"}, name):
			equal[name] = strings.ToLower(value)
		default:
			return nil, refuse("fleetsim does not know '" + part + "'")
		}
	}
	if from.IsZero() {
		return nil, refuse("eventTimestamp ge '...' is missing")
	}
	return func(e event) bool {
		if e.At.Before(from) || !until.IsZero() && e.At.After(until) {
			return false
		}
		t, _ := parsePath(e.Resource) // it was one
		is := map[string]string{
			"resourcegroupname": t.group, "resourceuri": e.Resource, "resourceid": e.Resource, "resourceprovider": t.namespace, "eventchannels": "operation",
		}
		for name, value := range equal {
			if !strings.EqualFold(is[name], value) {
				return false
			}
		}
		return true
	}, nil
}

// An UpgradeWindow is a time in which the platform upgrades its own agent on the members
// of a scale set, and refuses writes to the set and to them.
type UpgradeWindow struct {
	Set        string        // pattern of the scale set's name; "" means any
	After, For time.Duration // since the simulation was started
}

// blocked refuses a write to a scale set, to what is below it or to one of its members,
// while the platform upgrades its own agent there.
func (tx *txn) blocked(c *call) error {
	if c.Method == http.MethodGet || c.Method == http.MethodHead || len(c.Target.names) == 0 {
		return nil
	}
	t := c.Target
	r := tx.get(t.scope + "/providers/" + t.namespace + "/" + t.types[0] + "/" + t.names[0])
	if r != nil && r.Type == vmType {
		r = tx.get(setOf(r))
	}
	if r == nil || r.Type != setType {
		return nil
	}
	if !tx.upgrading(r) {
		return nil
	}
	return conflict("OperationNotAllowed", "The operation '%s' is not allowed on Virtual Machine Scale Set '%s', "+
		"because the platform is upgrading the virtual machine agent of its instances. Please retry later.", c.Method, r.name())
}

// upgrading says whether the platform upgrades its own agent on the members of a set now:
// by the rules, or because it was told to.
func (tx *txn) upgrading(r *resource) bool {
	return stamp(tx.now) < str(r.Hidden, "upgrading") || slices.ContainsFunc(tx.server.rules.Platform.Upgrades, func(u UpgradeWindow) bool {
		from := tx.server.began.Add(u.After)
		return matchName(u.Set, r.name()) && !tx.now.Before(from) && tx.now.Before(from.Add(u.For))
	})
}
