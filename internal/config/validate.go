package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/graph"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// validator checks what no single value can tell: how values go together.
type validator struct {
	*Config
	whole bool // every file could be read, so that a name that is not there is unknown
	errs  Errors
}

// validate completes the values whose defaults follow from others, and returns
// the faults of the whole. When a file could not be read, whole is false, and what
// depends on names that may be there is not told.
func (c *Config) validate(whole bool) Errors {
	v := validator{Config: c, whole: whole}
	v.listen()
	for i := range c.Checks {
		v.check(&c.Checks[i], item("checks", i))
	}
	v.checkOrder()
	v.events()
	for i := range c.Drain.Plan {
		v.step(&c.Drain.Plan[i], item("drain.plan", i))
	}
	v.stepOrder()
	return v.errs
}

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func (v *validator) given(path string) bool { return v.origins.Given(path) }

func (v *validator) fail(path, hint, format string, args ...any) {
	v.errs = append(v.errs, v.origins.Fault(path, hint, format, args...))
}

func (v *validator) listen() {
	l := v.Listen
	v.pair("listen.tls", l.TLS.CertFile, l.TLS.KeyFile)
	if l.Probe == l.Metrics && !strings.HasSuffix(l.Probe, ":0") {
		v.fail("listen.metrics", `choose another port, or "" for no metrics`, "is the address of listen.probe")
	}
}

// pair requires that a certificate comes with its key.
func (v *validator) pair(path, cert, key string) {
	switch {
	case cert != "" && key == "":
		v.fail(path+".cert_file", "add key_file", "is given without key_file")
	case cert == "" && key != "":
		v.fail(path+".key_file", "add cert_file", "is given without cert_file")
	}
}

func (v *validator) check(c *Check, path string) {
	if h := c.HTTP; h != nil {
		u, err := url.Parse(h.URL)
		if err == nil && h.TLS != nil && u.Scheme == "http" {
			v.fail(path+".http.tls", "write https:// or remove tls", "is given for an http:// URL")
		}
		if h.TLS != nil {
			v.pair(path+".http.tls", h.TLS.CertFile, h.TLS.KeyFile)
		}
	}
	if t := c.TLS; t != nil {
		v.pair(path+".tls", t.CertFile, t.KeyFile)
	}
	if g := c.GRPC; g != nil && g.TLS != nil {
		v.pair(path+".grpc.tls", g.TLS.CertFile, g.TLS.KeyFile)
	}
	if d := c.Disk; d != nil && d.MinFree.IsZero() && d.MinFreeInodes.IsZero() && !d.Writable &&
		!v.given(path+".disk.min_free") && !v.given(path+".disk.min_free_inodes") {
		v.fail(path+".disk", "add min_free: 10%", "checks nothing: it has neither min_free nor min_free_inodes nor writable")
	}
	if f := c.File; f != nil {
		v.file(f, path+".file")
	}
	if k := c.Clock; k != nil && !k.Synchronized && k.MaxOffset == 0 {
		v.fail(path+".clock", "add max_offset: 100ms", "checks nothing: synchronized is false and max_offset is left out")
	}
}

// file makes present and absent each other's opposite.
func (v *validator) file(f *FileCheck, path string) {
	present, absent := v.given(path+".present"), v.given(path+".absent")
	switch {
	case present && absent && f.Present == f.Absent:
		v.fail(path+".absent", "keep one of the two", "contradicts present")
		return
	case present:
		f.Absent = !f.Present
	case absent:
		f.Present = !f.Absent
	}
	if f.Absent && f.MaxAge != 0 {
		v.fail(path+".max_age", "remove it", "makes no sense for a file that must be absent")
	}
}

func (v *validator) checkOrder() {
	nodes := make([]graph.Node, len(v.Checks))
	for i, c := range v.Checks {
		nodes[i] = graph.Node{Name: c.Name, DependsOn: c.DependsOn}
	}
	v.order("checks", "check", nodes, func(i, dep int) string {
		return item(item("checks", i)+".depends_on", dep)
	})
}

func (v *validator) stepOrder() {
	plan := v.Drain.Plan
	nodes := make([]graph.Node, len(plan))
	for i, s := range plan {
		nodes[i] = graph.Node{Name: s.Name}
		switch {
		case s.After != nil:
			nodes[i].DependsOn = *s.After
		case i > 0:
			nodes[i].DependsOn = []string{plan[i-1].Name}
		}
	}
	v.order("drain.plan", "step", nodes, func(i, dep int) string {
		if plan[i].After == nil {
			return item("drain.plan", i) + ".after"
		}
		return item(item("drain.plan", i)+".after", dep)
	})
}

// order requires that the nodes of a list have names of their own and depend on
// each other without a cycle. dependency returns the path of one dependency.
func (v *validator) order(list, word string, nodes []graph.Node, dependency func(i, dep int) string) {
	_, err := graph.Order(nodes)
	for _, e := range graph.Errors(err) {
		if e.Name == "" || (e.Kind == graph.Unknown && !v.whole) {
			continue // reported as missing, or perhaps in a file that could not be read
		}
		switch e.Kind {
		case graph.Duplicate:
			v.fail(item(list, e.Node)+".name", "rename one of the two", "the name %q is given twice, first %s",
				strict.Clip(e.Name), v.origins[item(list, e.First)+".name"])
		case graph.Unknown:
			hint := "there is no other " + word
			if e.Suggestion != "" {
				hint = fmt.Sprintf("did you mean %q?", e.Suggestion)
			} else if known := others(nodes, e.Node); known != "" {
				hint = "known: " + known
			}
			v.fail(dependency(e.Node, e.Dep), hint, "unknown %s %q", word, strict.Clip(e.Name))
		case graph.Cycle:
			hint := "remove one of these dependencies"
			if word == "step" {
				hint += `; a step without "after" waits for the one before it`
			}
			v.fail(dependency(e.Node, e.Dep), hint, "dependency cycle: %s", chain(e.Cycle))
		}
	}
}

// others returns the names of the nodes but one, as far as they are worth
// reading.
func others(nodes []graph.Node, but int) string {
	const limit = 10
	var names []string
	for i, n := range nodes {
		if i == but || n.Name == "" {
			continue
		}
		if len(names) == limit {
			names = append(names, "…")
			break
		}
		names = append(names, strict.Clip(n.Name))
	}
	return strings.Join(names, ", ")
}

// chain writes a cycle, the middle of a very long one left out.
func chain(names []string) string {
	const limit = 20
	if len(names) > limit {
		names = slices.Concat(names[:limit/2], []string{"…"}, names[len(names)-limit/2:])
	}
	return strings.Join(names, " -> ")
}

// events makes an ack follow its action, and sees to it that a type has one policy:
// types are compared in any letter case.
func (v *validator) events() {
	spelled := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.ScheduledEvents.Events)) {
		if first, again := spelled[strings.ToLower(name)]; again {
			v.fail("scheduled_events.events."+name, "leave one of them out", "%s is the same type of event as %s", name, first)
		}
		spelled[strings.ToLower(name)] = name
		p := v.ScheduledEvents.Events[name]
		if p.Action == "drain" || !strings.HasPrefix(p.Ack, "after-drain") {
			continue
		}
		path := "scheduled_events.events." + name + ".ack"
		if v.given(path) {
			v.fail(path, "write immediately, never or user-initiated, or action: drain", "%s never comes: the action is %s", p.Ack, p.Action)
			continue
		}
		p.Ack = "never"
		v.ScheduledEvents.Events[name] = p
	}
}

func (v *validator) step(s *Step, path string) {
	if s.Sleep > 0 {
		switch {
		case !v.given(path + ".max"):
			s.Max = s.Sleep
		case s.Max < s.Sleep:
			v.fail(path+".max", "write max: "+s.Sleep.String()+" or remove it", "%s is shorter than the sleep of %s", s.Max, s.Sleep)
		}
	}
	if s.Min > s.Max {
		v.fail(path+".min", "write min: "+s.Max.String()+" or a larger max", "%s is longer than max, which is %s", s.Min, s.Max)
	}
}
