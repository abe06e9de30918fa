package config

import "github.com/fleet-agent/fleet-agent/internal/strict"

// A FieldDoc is all that there is to know about one key of the configuration.
type FieldDoc = strict.Field

// Reference returns every key, in the order in which they are printed, with a
// section ahead of its keys.
func Reference() []FieldDoc {
	return newSchema().Fields()
}

// fieldTable is the one place that says what the keys are. Type is left out: it
// comes from the Go type.
func fieldTable() []strict.Field {
	var all []strict.Field
	for _, rows := range [][]strict.Field{listenFields(), healthFields(), checkFields(), eventFields(), drainFields(), notifyFields(), directoryFields()} {
		all = append(all, rows...)
	}
	return all
}

func listenFields() []strict.Field {
	return []strict.Field{
		{
			Path: "listen",
			Doc: "Where the agent answers over the network. Each address is `host:port`; an empty host means every address of the node. " +
				"A change of an address takes effect at the next start.",
		},
		{
			Path: "listen.probe", Default: "127.0.0.1:8080", Required: true, Format: strict.FormatListen, Example: "127.0.0.1:8080",
			Doc: "The address of `/healthz`, `/readyz` and `/livez`. The Application Health extension asks on `localhost`; a load balancer needs an address that it can reach. " +
				"When systemd passes a socket named `probe`, that one is used instead.",
		},
		{
			Path: "listen.metrics", Default: "127.0.0.1:9810", Format: strict.FormatListen, Example: "127.0.0.1:9810",
			Doc: "The address of `/metrics`, for Prometheus. Empty turns it off.",
		},
		{
			Path: "listen.tls", Example: `{cert_file: /etc/fleet-agent/tls/probe.crt, key_file: /etc/fleet-agent/tls/probe.key}`,
			Doc: "The certificate of the probe listener. With both files it speaks HTTPS, without it speaks HTTP; one alone is an error. " +
				"The files are read again when they change; while they cannot be read the old pair stays in use.",
		},
		{
			Path: "listen.tls.cert_file", Format: strict.FormatPath, Example: "/etc/fleet-agent/tls/probe.crt",
			Doc: "The certificate and the intermediates that it needs, in PEM.",
		},
		{
			Path: "listen.tls.key_file", Format: strict.FormatPath, Example: "/etc/fleet-agent/tls/probe.key",
			Doc: "The private key, in PEM.",
		},
	}
}

func healthFields() []strict.Field {
	return []strict.Field{
		{
			Path: "health",
			Doc:  "How the checks are run, and how their verdict is told.",
		},
		{
			Path: "health.start_grace", Default: "0s", Min: "0s", Max: "24h",
			Doc: "How long after its start the agent may answer \"starting\" instead of \"unhealthy\", until the first healthy verdict, " +
				"and how long after a drain a healthy answer stays while the checks do not pass yet. " +
				"An unhealthy answer while the node boots would end the grace period of the Application Health extension.",
		},
		{
			Path: "health.max_concurrent", Default: "256", Min: "1", Max: "1000",
			Doc: "How many checks may run at the same time; of kind `exec` at most 32, whatever is written here. " +
				"Checks whose last run took all of its timeout get at most half of these places: when more hang than that, they are run less often, and the others keep their interval.",
		},
		{
			Path: "health.custom_metrics",
			Doc:  "What a healthy answer tells a rolling upgrade of the scale set (`CustomMetrics`).",
		},
		{
			Path: "health.custom_metrics.enabled", Default: "false",
			Doc: "Whether `CustomMetrics` is part of the answer.",
		},
		{
			Path: "health.custom_metrics.phase", Default: "0", Min: "0", Max: "1000000",
			Doc: "The `PhaseOrderingNumber`: nodes of a lower phase are upgraded first.",
		},
		{
			Path: "health.custom_metrics.skip_upgrade", Default: "auto", OneOf: []string{"auto", "always", "never"},
			Doc: "When to ask that this node be left out of an upgrade. `auto` asks while the node drains or is in maintenance.",
		},
	}
}

func eventFields() []strict.Field {
	return []strict.Field{
		{
			Path: "imds",
			Doc:  "Azure's instance metadata service. Proxy variables of the environment are ignored.",
		},
		{
			Path: "imds.endpoint", Default: "http://169.254.169.254", Required: true, Format: strict.FormatEndpoint, Example: "http://169.254.169.254",
			Doc: "Its base URL. Only a test or a simulator needs another.",
		},
		{
			Path: "scheduled_events",
			Doc:  "How the agent meets Azure's Scheduled Events.",
		},
		{
			Path: "scheduled_events.poll_interval", Default: "1s", Min: "1s", Max: "1m",
			Doc: "How often to ask. A Preempt gives 30 s of notice at best; Azure recommends one second.",
		},
		{
			Path: "scheduled_events.api_version", Default: `"2020-07-01"`, Required: true, Format: formatAPIVersion, Example: `"2020-07-01"`,
			Doc: "The version of the document to ask for. An older one hides event types and fields.",
		},
		{
			Path: "scheduled_events.shared_ack", Default: "never", OneOf: []string{"never", "first", "always"},
			Doc: "Whether to acknowledge an event that names other VMs too. An acknowledgement releases the event for all of them. " +
				"`first` acknowledges when this VM is the first that the event lists; `always` lets whoever is ready first decide for all.",
		},
		{
			Path: "scheduled_events.events", Example: "{Reboot: {action: drain}}",
			Default: "{Preempt: {action: drain, ack: after-drain}, Terminate: {action: drain, ack: after-drain}, " +
				"Reboot: {action: drain, ack: after-drain}, Redeploy: {action: drain, ack: after-drain}, Freeze: {action: ignore, ack: never}}",
			Format: formatEventTypes,
			Doc: "What to do, by event type. The keys are `Preempt`, `Terminate`, `Reboot`, `Redeploy`, `Freeze`, and any other type as Azure spells it, known to this version or not; " +
				"what is left out of a known type keeps its default.",
		},
		{
			Path: "scheduled_events.events.*.action", Default: "ignore", OneOf: []string{"drain", "cordon", "ignore"},
			Doc: "`drain` runs the drain plan, `cordon` only makes `/readyz` answer 503, `ignore` only shows the event.",
		},
		{
			Path: "scheduled_events.events.*.ack", Default: "never", OneOf: []string{"after-drain", "after-drain-even-if-failed", "immediately", "never", "user-initiated"},
			Doc: "When to tell Azure that it need not wait for NotBefore: after a drain that succeeded, after any drain, as soon as the event is seen, or never. " +
				"`user-initiated` is `after-drain` for an event that a user asked for (`EventSource` is `User`), `immediately` when `action` is not `drain`, and `never` for all other events. " +
				"When `action` is not `drain` and `ack` is left out, it is `never`.",
		},
		{
			Path: "scheduled_events.events.*.lead_time", Default: "15m", Min: "0s", Max: "720h",
			Doc: "How long before NotBefore to act. An event that is further away, such as the maintenance of failing hardware in a week, is shown and waits. " +
				"`0s` acts as soon as an event is seen.",
		},
		{
			Path: "scheduled_events.events.*.min_duration", Default: "0s", Min: "0s", Max: "24h",
			Doc: "Leave events alone whose impact Azure expects to be shorter. An event of unknown duration is never left alone for it. " +
				"With `Freeze: {action: drain, min_duration: 10s}` a pause of five seconds is sat out.",
		},
	}
}

func drainFields() []strict.Field {
	return []strict.Field{
		{
			Path: "drain",
			Doc: "What happens when the node is about to go: it becomes unready, waits for `settle`, and runs the plan, " +
				"all of it between now and the deadline, which is NotBefore less `reserve`. `fleet-agent plan` shows what fits into a notice.",
		},
		{
			Path: "drain.reserve", Default: "2s", Min: "0s", Max: "5m",
			Doc: "The time kept free before NotBefore, for the journal and the acknowledgement. It is at most half of what is left when the event is seen.",
		},
		{
			Path: "drain.settle", Default: "10s", Min: "0s", Max: "10m",
			Doc: "How long to wait between becoming unready and the first step, so that load balancers notice. It shrinks when the deadline is near.",
		},
		{
			Path: "drain.plan", Default: "[{name: workloads, target: fleet-serving.target, max: 60s}]", Max: "100",
			Doc: "The steps, each after the one before it unless `after` says otherwise. A plan in the main file replaces the default plan; the files of `conf.d` append to it. " +
				"Each step has a `name` and exactly one of `target`, `unit`, `hook`, `exec`, `connections`, `webhook` and `sleep`. " +
				"`exec`, `hook` and `webhook` are told the cause: `FLEET_CAUSE`, `FLEET_EVENT_ID`, `FLEET_EVENT_TYPE` and `FLEET_DEADLINE`; control characters in them are written as `\\u0000`. " +
				"A step may run a second time after a crash, so it must bear that.",
		},
		{
			Path: "drain.plan[].name", Required: true, Format: strict.FormatName, Example: "workloads",
			Doc: "The name of the step in reports, metrics and `after`: letters, digits, `.`, `_` and `-`, at most 63. No two steps may share it.",
		},
		{
			Path: "drain.plan[].target", Format: formatTarget, Example: "fleet-serving.target",
			Doc: "Stop a systemd target: every unit that joined it stops, in parallel, by its own rules.",
		},
		{
			Path: "drain.plan[].unit", Format: formatUnit, Example: "nginx.service",
			Doc: "Stop one systemd unit. As packaged, the agent may stop only `fleet-serving.target`: a unit that cannot join it (`fleet-agent adopt`) needs [a polkit rule](security-model.md#one-more-unit).",
		},
		{
			Path: "drain.plan[].hook", Format: formatHook, Example: "deregister",
			Doc: "Start `fleet-hook@NAME.service` and wait for its end.",
		},
		{
			Path: "drain.plan[].exec", Example: `{command: [/usr/local/bin/deregister, --now]}`,
			Doc: "Run a command; exit status 0 is success.",
		},
		{
			Path: "drain.plan[].exec.command", Required: true, Format: strict.FormatCommand, Example: "[/usr/local/bin/deregister, --now]",
			Doc: "The program and its arguments. There is no shell.",
		},
		{
			Path: "drain.plan[].exec.env", Format: formatEnv, Secret: strict.MapValues, Example: "{REGION: westeurope}",
			Doc: "Variables to add to the environment. Names that begin with `FLEET_` are the agent's own.",
		},
		{
			Path: "drain.plan[].connections", Example: `{ports: [443], at_most: 0}`,
			Doc: "Wait until the established connections on local ports are few.",
		},
		{
			Path: "drain.plan[].connections.ports", Required: true, Min: "1", Max: "65535", Example: "[443]",
			Doc: "The local ports to count on.",
		},
		{
			Path: "drain.plan[].connections.at_most", Default: "0", Min: "0", Max: "1000000",
			Doc: "How many connections may be left.",
		},
		{
			Path: "drain.plan[].webhook", Example: `{url: "https://hooks.example/drain"}`,
			Doc: "Post the cause, as JSON, to a URL and wait for the answer; any 2xx is success.",
		},
		{
			Path: "drain.plan[].webhook.url", Required: true, Format: strict.FormatURL, Secret: strict.URLPath, Example: "https://hooks.example/drain",
			Doc: "The URL.",
		},
		{
			Path: "drain.plan[].webhook.headers", Format: formatHeaders, Secret: strict.MapValues, Example: "{Authorization: Bearer abc}",
			Doc: "Headers to send.",
		},
		{
			Path: "drain.plan[].sleep", Min: "1ms", Max: "24h", Example: "5s",
			Doc: "Wait.",
		},
		{
			Path: "drain.plan[].max", Default: "30s", Min: "1ms", Max: "24h",
			Doc: "The longest that the step may take. A `sleep` step's is the sleep itself.",
		},
		{
			Path: "drain.plan[].min", Default: "0s", Min: "0s", Max: "24h",
			Doc: "The shortest time in which the step makes sense. When the deadline is near, steps shrink towards it. A step never begins with less: when its minimum does not fit beside those of the required steps before it, it is skipped, and the drain fails.",
		},
		{
			Path: "drain.plan[].optional", Default: "false",
			Doc: "Whether the step may be left out when time is short. The last optional step goes first. One runs only if its minimum fits beside those of all required steps, of which each counts with a tenth of its `max`, up to 1s, if its `min` is less.",
		},
		{
			Path: "drain.plan[].after", Format: strict.FormatNames, Example: "[workloads]",
			Doc: "The steps that must have ended before this one begins. Left out: the step before it. `[]`: none. Steps that share an `after` run in parallel.",
		},
	}
}

func notifyFields() []strict.Field {
	return []strict.Field{
		{
			Path: "notify", Max: "100",
			Doc: "Who is told of drains. A notification never holds up a step; it is retried in the background and given up at the deadline.",
		},
		{
			Path: "notify[].url", Required: true, Format: strict.FormatURL, Secret: strict.URLPath, Example: "https://hooks.example/fleet",
			Doc: "Where to post the notification, as JSON.",
		},
		{
			Path: "notify[].on", Default: "[drain-started, drain-finished, drain-failed]", OneOf: []string{"drain-started", "drain-finished", "drain-failed"},
			Doc: "Which moments to tell.",
		},
		{
			Path: "notify[].headers", Format: formatHeaders, Secret: strict.MapValues, Example: "{Authorization: Bearer abc}",
			Doc: "Headers to send.",
		},
	}
}

func directoryFields() []strict.Field {
	return []strict.Field{
		{
			Path: "state_dir", Default: "/var/lib/fleet-agent", Required: true, Format: strict.FormatPath, Example: "/var/lib/fleet-agent",
			Doc: "The directory of the journal. It must survive a reboot. A change takes effect at the next start.",
		},
		{
			Path: "run_dir", Default: "/run/fleet-agent", Required: true, Format: formatRunDir, Example: "/run/fleet-agent",
			Doc: "The directory of the control socket and of the flag file `draining`. A change takes effect at the next start.",
		},
	}
}
