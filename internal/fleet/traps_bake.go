package fleet

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// templates looks at every image template of Azure.
func (s *scene) templates(look func(*build, *Template) []Finding) []Finding {
	var all []Finding
	for i := range s.builds {
		if b := &s.builds[i]; b.template != nil {
			all = append(all, look(b, b.template)...)
		}
	}
	return all
}

func findFailedTemplate(s *scene) []Finding {
	return s.templates(func(b *build, t *Template) []Finding {
		if t.Provisioning != Failed {
			return nil
		}
		return one(b.say("", "provisioningState is Failed", "delete the image template "+t.ID.Name()+", and submit it under a new name"))
	})
}

// The longest that a build may take when it has no limit of its own, and what
// starting and ending may take besides.
const (
	defaultBuildTimeout = 240 * time.Minute
	buildSlack          = time.Hour
)

// inTransit are the states in which a template cannot be deleted.
var inTransit = []string{"Creating", "Updating", "Deleting", "Running", "Canceling"}

func findBusyTemplate(s *scene) []Finding {
	return s.templates(func(b *build, t *Template) []Finding {
		state := t.RunState
		if slices.Contains(inTransit, t.Provisioning) {
			state = t.Provisioning
		}
		if !slices.Contains(inTransit, state) {
			return nil
		}
		limit := defaultBuildTimeout
		if b.timeout != nil && *b.timeout > 0 {
			limit = *b.timeout
		}
		fix := "wait until it ends before you delete " + t.ID.Name()
		running := state == t.RunState && !t.RunStart.IsZero() && !s.now.IsZero()
		if running && s.now.Sub(t.RunStart) > limit+buildSlack {
			return one(b.say("", fmt.Sprintf("%s since %s, longer than its %s", state, t.RunStart.UTC().Format("2006-01-02 15:04 MST"), minutes(limit)),
				"leave "+t.ID.Name()+" alone and bake under a new name; it may still publish"))
		}
		return one(b.say("", "it is "+state, fix).less(SeverityNote))
	})
}

func findStaging(s *scene) []Finding {
	return s.templates(func(b *build, t *Template) []Finding {
		group := b.staging.Part("resourceGroups")
		if group == "" {
			return nil
		}
		inGroup := func(id ResourceID) bool {
			return strings.EqualFold(id.ResourceGroup(), group) && strings.EqualFold(id.Subscription(), b.staging.Subscription())
		}
		var holds string
		switch {
		case inGroup(t.ID):
			holds = "the template itself"
		case slices.ContainsFunc(s.live.Sets, func(set Set) bool { return inGroup(set.Model.ID) }):
			holds = "scale sets"
		case slices.ContainsFunc(s.live.Galleries, func(g Gallery) bool { return inGroup(g.ID) }):
			holds = "a gallery"
		default:
			return nil
		}
		return one(b.say("", fmt.Sprintf("the staging resource group %s holds %s", group, holds), "give "+t.ID.Name()+" an empty resource group in "+cmp.Or(t.Location, "its region")+", or none"))
	})
}

// The range of a build's timeout; 0 means the default.
const (
	leastBuild = 6 * time.Minute
	mostBuild  = 960 * time.Minute
)

var findBuildTimeout = eachBuild(func(_ *scene, b *build) []Finding {
	if b.timeout == nil || *b.timeout == 0 || *b.timeout >= leastBuild && *b.timeout <= mostBuild {
		return nil
	}
	return one(b.say(b.timeoutKey, "buildTimeoutInMinutes is "+strconv.Itoa(int(b.timeout.Minutes())), "set it to 6 to 960 minutes"))
})

// neededProviders are those that a build uses.
var neededProviders = []string{
	"Microsoft.VirtualMachineImages", "Microsoft.KeyVault", "Microsoft.Compute",
	"Microsoft.Storage", "Microsoft.Network", "Microsoft.ContainerInstance",
}

func findProviders(s *scene) []Finding {
	if s.live == nil || len(s.builds) == 0 {
		return nil
	}
	var missing, commands []string
	for _, provider := range neededProviders {
		state, told := s.live.Providers[strings.ToLower(provider)]
		if told && !strings.EqualFold(state, "Registered") {
			missing = append(missing, provider+" ("+state+")")
			commands = append(commands, "az provider register -n "+provider)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return one(Finding{
		Resource: Resource{Kind: kindSubscription, Name: s.subscription()}, Live: true,
		Seen: strings.Join(missing, ", "), Fix: strings.Join(commands, "; "),
	})
}

func (s *scene) subscription() string {
	if s.spec != nil {
		return s.spec.Subscription
	}
	for _, b := range s.builds {
		return b.resource.ID.Subscription()
	}
	return ""
}

// privateSubnets is when new subnets have lost their way out.
var privateSubnets = time.Date(2026, 3, 31, 0, 0, 0, 0, time.UTC)

var findBuildSubnet = eachBuild(func(_ *scene, b *build) []Finding {
	if b.subnet == "" {
		return nil
	}
	return one(b.say("properties.vmProfile.vnetConfig.subnetId", "it builds in the subnet "+ResourceID(b.subnet).Name()+", whose way out was not looked at",
		"give "+ResourceID(b.subnet).Name()+" a NAT gateway if it was made after "+privateSubnets.Format(time.DateOnly)))
})

var findPipefail = eachStep(func(_ *scene, b *build, st *step) []Finding {
	line := pipefailLine(strings.Join(st.inline, "\n"))
	if line == 0 || slices.ContainsFunc(bashPublishers, func(p string) bool { return strings.EqualFold(p, b.publisher) }) {
		return nil
	}
	f := b.say(st.inlineKey(line), fmt.Sprintf("line %d of %s sets pipefail, and inline commands are run by /bin/sh", line, st.label()),
		"move "+st.label()+" to a script that begins with #!/bin/bash, or wrap its commands in bash -c")
	if !slices.ContainsFunc(dashPublishers, func(p string) bool { return strings.EqualFold(p, b.publisher) }) {
		f.Severity = SeverityWarning // it is not known which shell /bin/sh is
	}
	return one(f)
})

// Publishers whose images have dash as /bin/sh, and those that have bash.
var (
	dashPublishers = []string{"Canonical", "Debian", "credativ"}
	bashPublishers = []string{"RedHat", "OpenLogic", "Oracle", "SUSE", "almalinux", "resf", "erockyenterprisesoftwarefoundationinc1653071250513", "MicrosoftCBLMariner"}
)

var findQuotedSubstitution = eachStep(func(_ *scene, b *build, st *step) []Finding {
	line, quoted := quotedSubstitution(strings.Join(st.inline, "\n"))
	if line == 0 {
		return nil
	}
	return one(b.say(st.inlineKey(line), fmt.Sprintf("line %d of %s writes %s as it stands", line, st.label(), shorten(quoted)), "use double quotes around $(…)"))
})

// maxQuote bounds a quotation in a message.
const maxQuote = 40

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxQuote {
		s = string(runes[:maxQuote-1]) + "…"
	}
	return "'" + s + "'"
}

func findFileCustomizer(s *scene) []Finding {
	elsewhere := eachStep(func(_ *scene, b *build, st *step) []Finding {
		to := path.Clean(st.to)
		if st.file == "" || st.to == "" || to == "/tmp" || strings.HasPrefix(to, "/tmp/") || strings.Contains(st.to, `\`) {
			return nil
		}
		return one(b.say(st.key+st.toKey(), st.label()+" is copied to "+st.to, "copy it below /tmp, and move it with a script"))
	})
	return append(elsewhere(s), findContent(trapFileCustomizer)(s)...)
}
