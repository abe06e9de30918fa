package imds

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A checker collects what is wrong with a scenario that could be decoded.
type checker struct {
	file string
	root *yaml.Node
	errs []error
}

func (c *checker) scenario(f *scenarioFile) {
	if f.FirstCallDelay < 0 {
		c.fail(`it is not negative`, "first_call_delay")
	}
	names := map[string]bool{}
	for i, m := range f.VMs {
		name := strings.ToLower(m.withDefaults().Name)
		if names[name] {
			c.fail(fmt.Sprintf("there are two machines named %q", m.Name), "vms", i)
		}
		names[name] = true
	}
	server := New(Config{VMs: dedupe(f.VMs)}) // knows which faults and machines are possible

	events, last := map[string]bool{}, span(0)
	for i, step := range f.Timeline {
		if step.At != nil {
			if *step.At < last {
				c.fail(fmt.Sprintf("steps happen in the order of the file, and one before this is at %v", time.Duration(last)), "timeline", i, "at")
			}
			last = max(last, *step.At)
		}
		if step.After < 0 {
			c.fail("it is not negative", "timeline", i, "after")
		}
		if n := step.actions(); n != 1 {
			c.fail(fmt.Sprintf("a step does exactly one of publish, start, complete, cancel, fault, clear_faults, reset_incarnation and set_instance; this one does %d", n), "timeline", i)
		}
		for _, use := range []struct{ key, id string }{
			{"when", step.When.event}, {"start", step.Start}, {"complete", step.Complete}, {"cancel", step.Cancel},
		} {
			if use.id != "" && !events[use.id] {
				c.fail(fmt.Sprintf("no step before this publishes %q", use.id), "timeline", i, use.key)
			}
		}
		switch {
		case step.Publish != nil:
			c.check(checkEvent(step.Publish.spec()), "timeline", i, "publish")
			if id := step.Publish.ID; id != "" && events[id] {
				c.fail(fmt.Sprintf("the id %q is taken", id), "timeline", i, "publish", "id")
			}
			events[step.Publish.ID] = true
		case step.Fault != nil:
			c.check(server.validateFault(step.Fault.fault()), "timeline", i, "fault")
		case step.SetInstance != nil && server.find(step.SetInstance.VM) == nil:
			c.fail(fmt.Sprintf("there is no machine %q", step.SetInstance.VM), "timeline", i, "set_instance")
		}
	}
}

func (s scenarioStep) actions() int {
	n := 0
	for _, has := range []bool{
		s.Publish != nil, s.Start != "", s.Complete != "", s.Cancel != "",
		s.Fault != nil, s.ClearFaults, s.ResetIncarnation != nil, s.SetInstance != nil,
	} {
		if has {
			n++
		}
	}
	return n
}

// check reports each of the errors that err joins.
func (c *checker) check(err error, at ...any) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			c.check(err, at...)
		}
	} else if err != nil {
		c.fail(err.Error(), at...)
	}
}

func (c *checker) fail(text string, at ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s: %s", c.file, c.line(at), pathText(at), text))
}

// line is the line of the deepest node of a path that is there.
func (c *checker) line(at []any) int {
	node := c.root
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	line := node.Line
	for _, step := range at {
		var next *yaml.Node
		switch step := step.(type) {
		case int:
			if node.Kind == yaml.SequenceNode && step < len(node.Content) {
				next = node.Content[step]
			}
		case string:
			for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == step {
					line, next = node.Content[i].Line, node.Content[i+1]
				}
			}
		}
		if next == nil {
			return line
		}
		if next.Kind == yaml.AliasNode {
			next = next.Alias
		}
		if _, ok := step.(int); ok {
			line = next.Line
		}
		node = next
	}
	return line
}

func pathText(at []any) string {
	var b strings.Builder
	for i, step := range at {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// dedupe leaves out machines whose name came before.
func dedupe(vms []Instance) []Instance {
	var unique []Instance
	for _, m := range vms {
		same := func(o Instance) bool { return strings.EqualFold(o.withDefaults().Name, m.withDefaults().Name) }
		if !slices.ContainsFunc(unique, same) {
			unique = append(unique, m)
		}
	}
	return unique
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (?s:(.*))$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type imds\.(\w+)$`)
	yamlType    = regexp.MustCompile(`^cannot unmarshal !!(\w+)(?: (.*))? into (\S+)$`)
)

// placed turns the decoder's errors into ones with file and line, in the words
// of somebody who writes a scenario.
func placed(file string, err error) error {
	texts := []string{err.Error()}
	if typeErr, ok := errors.AsType[*yaml.TypeError](err); ok {
		texts = typeErr.Errors
	}
	var errs []error
	for _, text := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits
			text = m[2]
		}
		if m := yamlUnknown.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("unknown key %q; known are %s", m[1], strings.Join(keysOf(m[2]), ", "))
		} else if m := yamlType.FindStringSubmatch(text); m != nil {
			text = strings.TrimSpace(m[2]+" ("+m[1]+")") + " is not the kind of value that belongs here"
		}
		text = strings.Join(strings.Fields(strings.TrimPrefix(text, "yaml: ")), " ") // a key may have lines
		errs = append(errs, fmt.Errorf("%s:%d: %s", file, line, text))
	}
	return errors.Join(errs...)
}

// keysOf returns the keys of a mapping by the name of its Go type.
func keysOf(name string) []string {
	var keys []string
	for _, v := range []any{scenarioFile{}, scenarioStep{}, instanceChange{}, eventRequest{}, faultRequest{}, Instance{}} {
		t := reflect.TypeOf(v)
		if t.Name() != name {
			continue
		}
		for field := range t.Fields() {
			keys = append(keys, field.Tag.Get("yaml"))
		}
	}
	return keys
}
