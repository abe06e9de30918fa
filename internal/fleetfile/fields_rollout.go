package fleetfile

import "github.com/fleet-agent/fleet-agent/internal/strict"

func rolloutFields() []strict.Field {
	return []strict.Field{
		{
			Path: "rollout", Example: "{waves: [{name: all, scale_sets: [vmss-authz], soak: 1h}], journal: rollouts}",
			Doc: "How a version reaches the scale sets.",
		},
		{
			Path: "rollout.waves", Required: true, Max: "100", Example: "[{name: canary, scale_sets: [vmss-authz], instances: 1, soak: 30m}]",
			Doc: "The waves, in order. A wave takes what is not yet on the version, so a set may stand in two: a few of its members first.",
		},
		{
			Path: "rollout.waves[].name", Required: true, Format: strict.FormatName, Example: "canary",
			Doc: "The name of the wave.",
		},
		{
			Path: "rollout.waves[].scale_sets", Required: true, Format: strict.FormatNames, Example: "[vmss-authz]",
			Doc: "Its scale sets.",
		},
		{
			Path: "rollout.waves[].instances", Default: "0", Min: "0", Max: "1000", Example: "1",
			Doc: "How many members of each set it takes: `0` is all. A wave with a number halts at any failure. Not for sets with a driver of the platform.",
		},
		{
			Path: "rollout.waves[].soak", Default: "0s", Min: "0s", Max: "30d", Example: "4h",
			Doc: "How long the wave is watched before the next one.",
		},
		{
			Path: "rollout.waves[].approve", Default: "false",
			Doc: "The wave waits for `fleetctl rollout approve`.",
		},
		{
			Path: "rollout.observe_every", Default: "5m", Min: "30s", Max: "1h",
			Doc: "How often the rollout is looked at. Time counts for `soak` and `healthy_for` only between looks that are this close.",
		},
		{
			Path: "rollout.drain", Default: "none", OneOf: []string{"none", "run-command"},
			Doc: "`run-command`: a member is drained by its own agent before its disk is replaced.",
		},
		{
			Path: "rollout.on_halt", Example: "{scope: rollout, diagnose: run-command}",
			Doc: "What a rollout that halts does beside going back.",
		},
		{
			Path: "rollout.on_halt.scope", Default: "rollout", OneOf: []string{"rollout", "wave"},
			Doc: "What is taken back: all waves, or the one under way and the scale sets in which a member failed.",
		},
		{
			Path: "rollout.on_halt.diagnose", Default: "none", OneOf: []string{"none", "run-command"},
			Doc: "`run-command`: up to three failing members are asked for their own words before they are taken back.",
		},
		{
			Path: "rollout.on_halt.notify", Format: strict.FormatURL, Secret: strict.URLPath, Example: "https://hooks.example/rollout",
			Doc: "The URL of a webhook that is told. Left out: none.",
		},
		{
			Path: "rollout.journal", Required: true, Format: formatJournal, Example: "https://stpay.blob.core.windows.net/fleetctl/pay",
			Doc: "Where rollouts are journaled: the https URL of a container in Azure Storage and a path in it, or a local directory, from that of fleet.yaml on. One journal has one unfinished rollout.",
		},
	}
}

func gateFields() []strict.Field {
	return []strict.Field{
		{
			Path: "rollout.gates", Example: "{healthy_within: 10m, healthy_for: 1m}",
			Doc: "What a rollout asks before it goes on.",
		},
		{
			Path: "rollout.gates.healthy_within", Default: "10m", Min: "1m", Max: "24h",
			Doc: "How long an upgraded member may take to be Healthy.",
		},
		{
			Path: "rollout.gates.healthy_for", Default: "1m", Min: "0s", Max: "24h",
			Doc: "How long it has to stay so.",
		},
		{
			Path: "rollout.gates.stuck", Default: "30m", Min: "1m", Max: "24h",
			Doc: "How long a rollout may make no progress before it pauses.",
		},
		{
			Path: "rollout.gates.prometheus", Max: "50", Example: "[{name: errors, url: \"http://prometheus:9090\", query: 'sum(rate(http_errors[5m]))', above: 0.01}]",
			Doc: "Questions to Prometheus. Each has exactly one of `above` and `below`.",
		},
		{
			Path: "rollout.gates.prometheus[].name", Required: true, Format: strict.FormatName, Example: "errors",
			Doc: "The name of the gate.",
		},
		{
			Path: "rollout.gates.prometheus[].url", Required: true, Format: strict.FormatURL, Secret: strict.URLLogin, Example: "http://prometheus:9090",
			Doc: "The URL of the server.",
		},
		{
			Path: "rollout.gates.prometheus[].auth", Default: "none", OneOf: []string{"none", "azure"},
			Doc: "`azure`: with a token of Azure, for an Azure Monitor workspace.",
		},
		{
			Path: "rollout.gates.prometheus[].headers", Secret: strict.MapValues, Example: "{Authorization: \"Bearer ${PROMETHEUS_TOKEN}\"}",
			Doc: "Headers of the question, such as a bearer token from the environment.",
		},
		{
			Path: "rollout.gates.prometheus[].query", Required: true, Format: formatQuery, Example: "'sum(rate(http_errors{image=\"{{.Version}}\"}[5m]))'",
			Doc: "The question, in PromQL, whose answer is one number. `{{.Version}}` stands for the image version.",
		},
		{
			Path: "rollout.gates.prometheus[].above", Min: "-1000000000000", Max: "1000000000000", Example: "0.01",
			Doc: "The gate fails while the answer is above this.",
		},
		{
			Path: "rollout.gates.prometheus[].below", Min: "-1000000000000", Max: "1000000000000", Example: "0.99",
			Doc: "The gate fails while the answer is below this.",
		},
		{
			Path: "rollout.gates.prometheus[].step", Default: "1m", Min: "1s", Max: "1h",
			Doc: "How often it is asked.",
		},
		{
			Path: "rollout.gates.prometheus[].for", Default: "5", Min: "1", Max: "100",
			Doc: "How many answers in a row have to be wrong.",
		},
		{
			Path: "rollout.gates.prometheus[].no_data", Default: "pause", OneOf: []string{"pass", "pause", "fail"},
			Doc: "What no answer means.",
		},
		{
			Path: "rollout.gates.prometheus[].traffic", Example: "{query: 'sum(rate(http_requests[5m]))', at_least: 1}",
			Doc: "The traffic without which the answer means nothing. Left out: none is asked for.",
		},
		{
			Path: "rollout.gates.prometheus[].traffic.query", Required: true, Format: formatQuery, Example: "'sum(rate(http_requests{image=\"{{.Version}}\"}[5m]))'",
			Doc: "The question, in PromQL.",
		},
		{
			Path: "rollout.gates.prometheus[].traffic.at_least", Required: true, Min: "0", Max: "1000000000000", Example: "1",
			Doc: "The least answer with which the gate is asked.",
		},
		{
			Path: "rollout.gates.window", Example: "{from: \"09:00\", to: \"16:00\", timezone: Europe/Berlin}",
			Doc: "When new batches may begin. The way back asks nobody. Left out: at any time.",
		},
		{
			Path: "rollout.gates.window.days", OneOf: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, Example: "[mon, tue, wed, thu]",
			Doc: "The days on which it opens. Left out: all.",
		},
		{
			Path: "rollout.gates.window.from", Required: true, Format: formatClock, Example: `"09:00"`,
			Doc: "When it opens.",
		},
		{
			Path: "rollout.gates.window.to", Required: true, Format: formatClock, Example: `"16:00"`,
			Doc: "When it closes; before `from`, on the next day.",
		},
		{
			Path: "rollout.gates.window.timezone", Required: true, Format: formatTimezone, Example: "Europe/Berlin",
			Doc: "The time zone of the two, as the IANA names it.",
		},
	}
}
