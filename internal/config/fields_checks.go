package config

import "github.com/fleet-agent/fleet-agent/internal/strict"

// checkFields are the keys of a check.
func checkFields() []strict.Field {
	fields := []strict.Field{
		{
			Path: "checks", Max: "1000",
			Doc: "What must hold for the node to serve. Each check has a `name` and exactly one kind: " +
				"`http`, `tcp`, `tls`, `grpc`, `dns`, `exec`, `unit`, `disk`, `file`, `certificate`, `pressure`, `clock` or `heartbeat`. " +
				"The node is healthy when every check passes that is critical and gates `health`. The files of `conf.d` append checks.",
		},
		{
			Path: "checks[].name", Required: true, Format: strict.FormatName, Example: "web",
			Doc: "The name of the check in reports, metrics and `depends_on`: letters, digits, `.`, `_` and `-`, at most 63. No two checks may share it.",
		},
	}
	fields = append(fields, networkCheckFields()...)
	fields = append(fields, localCheckFields()...)
	return append(fields, []strict.Field{
		{
			Path: "checks[].interval", Default: "5s", Min: "100ms", Max: "24h",
			Doc: "How often the check runs.",
		},
		{
			Path: "checks[].timeout", Default: "2s", Min: "10ms", Max: "10m",
			Doc: "How long one run may take before it counts as a failure.",
		},
		{
			Path: "checks[].fail_after", Default: "2", Min: "1", Max: "1000",
			Doc: "How many runs in a row must fail before the check is failing.",
		},
		{
			Path: "checks[].pass_after", Default: "1", Min: "1", Max: "1000",
			Doc: "How many runs in a row must pass before the check is passing.",
		},
		{
			Path: "checks[].severity", Default: "critical", OneOf: []string{"critical", "warning"},
			Doc: "A `warning` is shown and gates nothing.",
		},
		{
			Path: "checks[].gates", Default: "[health, ready]", OneOf: []string{"health", "ready"},
			Doc: "Which answers a critical check decides: `health` is `/healthz`, `ready` is `/readyz`. An instance that is not healthy may be replaced; one that is not ready only gets no traffic.",
		},
		{
			Path: "checks[].depends_on", Format: strict.FormatNames, Example: "[dns]",
			Doc: "The checks without which this one makes no sense. While one of them does not pass, this check is blocked: it is not run, and it is not reported as a root cause.",
		},
	}...)
}

func networkCheckFields() []strict.Field {
	fields := []strict.Field{
		{
			Path: "checks[].http", Example: `{url: "http://127.0.0.1:8000/health", expect_body: ok}`,
			Doc: "Ask for a URL and look at the answer. Proxy variables of the environment are ignored.",
		},
		{
			Path: "checks[].http.url", Required: true, Format: strict.FormatURL, Secret: strict.URLLogin, Example: "http://127.0.0.1:8000/health",
			Doc: "The URL.",
		},
		{
			Path: "checks[].http.method", Default: "GET", OneOf: []string{"GET", "HEAD", "POST", "PUT", "OPTIONS"},
			Doc: "The method.",
		},
		{
			Path: "checks[].http.expect_status", Default: "[2xx]", Example: "[200, 204, 3xx]",
			Doc: "The status codes that pass: `200`, `2xx`, `200-204`, or a list of such.",
		},
		{
			Path: "checks[].http.expect_body", Format: strict.FormatRegexp, Example: `'"status": *"up"'`,
			Doc: "A regular expression ([RE2](https://github.com/google/re2/wiki/Syntax)) that the body must match somewhere in its first 64 KiB. The server is asked not to compress it.",
		},
		{
			Path: "checks[].http.headers", Format: formatHeaders, Secret: strict.MapValues, Example: "{Host: app.example}",
			Doc: "Headers to send.",
		},
		{
			Path: "checks[].http.unix_socket", Format: strict.FormatPath, Example: "/run/app/http.sock",
			Doc: "Connect to this socket instead of the host of the URL, which is then only the `Host` that is sent.",
		},
		{
			Path: "checks[].http.tls", Example: `{ca_file: /etc/ssl/app-ca.pem}`,
			Doc: "How to speak TLS, for an `https` URL.",
		},
	}
	fields = append(fields, clientTLSFields("checks[].http.tls")...)
	fields = append(fields, []strict.Field{
		{
			Path: "checks[].tcp", Example: `{address: "127.0.0.1:5432"}`,
			Doc: "Open a connection and close it. When a name has several addresses, here as in `http`, `tls` and `grpc`, one that does not answer within 250 ms does not keep the next from being tried.",
		},
		{
			Path: "checks[].tcp.address", Required: true, Format: strict.FormatAddress, Example: "127.0.0.1:5432",
			Doc: "The `host:port` to connect to.",
		},
		{
			Path: "checks[].tls", Example: `{address: "hsm.internal:1792", cert_file: /etc/ssl/client.crt, key_file: /etc/ssl/client.key}`,
			Doc: "Make a TLS handshake and verify the chain, the name and the dates of the server's certificate.",
		},
		{
			Path: "checks[].tls.address", Required: true, Format: strict.FormatAddress, Example: "hsm.internal:1792",
			Doc: "The `host:port` to connect to.",
		},
		{
			Path: "checks[].tls.server_name", Example: "hsm.internal",
			Doc: "The name that the certificate must bear. Left out: the host of `address`.",
		},
		{
			Path: "checks[].tls.ca_file", Format: strict.FormatPath, Example: "/etc/ssl/hsm-ca.pem",
			Doc: "The authorities to trust, in PEM. Left out: the system's.",
		},
		{
			Path: "checks[].tls.cert_file", Format: strict.FormatPath, Example: "/etc/ssl/client.crt",
			Doc: "The client certificate to show, in PEM; goes with `key_file`.",
		},
		{
			Path: "checks[].tls.key_file", Format: strict.FormatPath, Example: "/etc/ssl/client.key",
			Doc: "The key of the client certificate, in PEM.",
		},
		{
			Path: "checks[].tls.expires_within", Default: "0s", Min: "0s", Max: "87600h", Example: "336h",
			Doc: "Fail when a certificate of the server's chain expires this soon. Early notice is best given by a second check of severity `warning`: every node of a scale set reaches the day at once.",
		},
		{
			Path: "checks[].grpc", Example: `{address: "127.0.0.1:9090", service: app.v1.Orders}`,
			Doc: "Ask a `grpc.health.v1` service.",
		},
		{
			Path: "checks[].grpc.address", Required: true, Format: strict.FormatAddress, Example: "127.0.0.1:9090",
			Doc: "The `host:port` to connect to.",
		},
		{
			Path: "checks[].grpc.service", Example: "app.v1.Orders",
			Doc: "The service to ask about. Left out: the server as a whole.",
		},
		{
			Path: "checks[].grpc.tls", Example: `{ca_file: /etc/ssl/app-ca.pem}`,
			Doc: "How to speak TLS. Left out: plaintext; `{}`: TLS with the system's authorities.",
		},
	}...)
	fields = append(fields, clientTLSFields("checks[].grpc.tls")...)
	return append(fields, []strict.Field{
		{
			Path: "checks[].dns", Example: `{name: hsm.internal}`,
			Doc: "Resolve a name.",
		},
		{
			Path: "checks[].dns.name", Required: true, Format: strict.FormatHost, Example: "hsm.internal",
			Doc: "The name.",
		},
		{
			Path: "checks[].dns.type", OneOf: []string{"A", "AAAA", "CNAME", "SRV"}, Example: "AAAA",
			Doc: "The type of record to ask for. Left out: A and AAAA, asked at once, of which one address will do, whatever the server says to the other question.",
		},
		{
			Path: "checks[].dns.server", Format: strict.FormatAddress, Example: "168.63.129.16:53",
			Doc: "The `host:port` of the server to ask. Left out: ask as programs do, with `/etc/hosts` and `/etc/resolv.conf`.",
		},
		{
			Path: "checks[].dns.expect", Format: strict.FormatTexts, Example: "[10.0.0.4]",
			Doc: "Answers that must all be there: addresses, `name:port` for SRV, names for CNAME. When one is missing and a question failed, the failure is the reason. Left out: any answer will do.",
		},
	}...)
}

// clientTLSFields are the keys of a ClientTLS at the given path.
func clientTLSFields(path string) []strict.Field {
	return []strict.Field{
		{
			Path: path + ".ca_file", Format: strict.FormatPath, Example: "/etc/ssl/app-ca.pem",
			Doc: "The authorities to trust, in PEM. Left out: the system's.",
		},
		{
			Path: path + ".cert_file", Format: strict.FormatPath, Example: "/etc/ssl/client.crt",
			Doc: "The client certificate to show, in PEM; goes with `key_file`.",
		},
		{
			Path: path + ".key_file", Format: strict.FormatPath, Example: "/etc/ssl/client.key",
			Doc: "The key of the client certificate, in PEM.",
		},
		{
			Path: path + ".server_name", Example: "app.example",
			Doc: "The name that the certificate must bear. Left out: the host that is dialled.",
		},
		{
			Path: path + ".insecure_skip_verify", Default: "false",
			Doc: "Accept any certificate: for a certificate that the application signed itself, on the loopback interface.",
		},
	}
}

func localCheckFields() []strict.Field {
	return []strict.Field{
		{
			Path: "checks[].exec", Example: `{command: [/usr/local/bin/check-app, --quick]}`,
			Doc: "Run a command; exit status 0 passes. Its output is bounded and becomes the reason of a failure; at the timeout it and all that it started are killed. " +
				"It runs as the agent's own user, in the agent's sandbox.",
		},
		{
			Path: "checks[].exec.command", Required: true, Format: strict.FormatCommand, Example: "[/usr/local/bin/check-app, --quick]",
			Doc: "The program and its arguments. There is no shell.",
		},
		{
			Path: "checks[].exec.env", Format: formatEnv, Secret: strict.MapValues, Example: "{PGUSER: probe}",
			Doc: "Variables to add to the environment.",
		},
		{
			Path: "checks[].unit", Example: `{name: nginx.service}`,
			Doc: "Ask systemd whether a unit is active. A change is noticed at once, by D-Bus signal.",
		},
		{
			Path: "checks[].unit.name", Required: true, Format: formatUnit, Example: "nginx.service",
			Doc: "The unit, with its suffix.",
		},
		{
			Path: "checks[].disk", Example: `{path: /var, min_free: 10%}`,
			Doc: "Look at a file system: at least one of `min_free`, `min_free_inodes` and `writable`. When it does not answer, the check fails at its timeout, and from then on at once until it does.",
		},
		{
			Path: "checks[].disk.path", Required: true, Format: strict.FormatPath, Example: "/var",
			Doc: "A directory or file on the file system; a directory with `writable`.",
		},
		{
			Path: "checks[].disk.min_free", Format: strict.FormatBytes, Example: "10%",
			Doc: "The space that must be free for ordinary users: a percentage, or an amount such as `5GiB` or `500MB`.",
		},
		{
			Path: "checks[].disk.min_free_inodes", Format: strict.FormatCount, Example: "5%",
			Doc: "The inodes that must be free: a percentage or a number.",
		},
		{
			Path: "checks[].disk.writable", Default: "false",
			Doc: "Write a small file in `path` (`.fleet-agent-writable`), sync it to the disk and remove it, at every run: a file system that went read-only, and one whose writes hang, are seen. " +
				"The agent's user has to be able to write there, which takes `ReadWritePaths=` in a drop-in of its unit; see [health.md](health.md#a-disk-that-no-longer-takes-writes).",
		},
		{
			Path: "checks[].file", Example: `{path: /var/lib/app/warm}`,
			Doc: "Look whether a file exists.",
		},
		{
			Path: "checks[].file.path", Required: true, Format: strict.FormatPath, Example: "/var/lib/app/warm",
			Doc: "The file.",
		},
		{
			Path: "checks[].file.present", Default: "true",
			Doc: "The file must exist. The opposite of `absent`; only one of the two need be given.",
		},
		{
			Path: "checks[].file.absent", Default: "false",
			Doc: "The file must not exist.",
		},
		{
			Path: "checks[].file.max_age", Default: "0s", Min: "0s", Max: "87600h", Example: "10m",
			Doc: "How long ago its content may last have changed. `0s`: any time.",
		},
		{
			Path: "checks[].certificate", Example: `{file: /etc/ssl/app.crt, expires_within: 336h}`,
			Doc: "Look at the dates of a certificate on disk.",
		},
		{
			Path: "checks[].certificate.file", Required: true, Format: strict.FormatPath, Example: "/etc/ssl/app.crt",
			Doc: "The certificate, in PEM. Of several every one is looked at.",
		},
		{
			Path: "checks[].certificate.expires_within", Default: "0s", Min: "0s", Max: "87600h", Example: "336h",
			Doc: "Fail when the certificate expires this soon.",
		},
		{
			Path: "checks[].pressure", Example: `{resource: memory, avg10_below: 40}`,
			Doc: "Read the kernel's pressure stall information.",
		},
		{
			Path: "checks[].pressure.resource", Required: true, OneOf: []string{"cpu", "memory", "io"}, Example: "memory",
			Doc: "What tasks wait for.",
		},
		{
			Path: "checks[].pressure.avg10_below", Required: true, Min: "0.01", Max: "100", Example: "40",
			Doc: "The share of the last ten seconds, in percent, in which some task waited, must be below this.",
		},
		{
			Path: "checks[].clock", Example: `{max_offset: 100ms}`,
			Doc: "Ask the kernel whether the clock is kept right. `{}` asks that it is synchronised.",
		},
		{
			Path: "checks[].clock.max_offset", Default: "0s", Min: "0s", Max: "1h", Example: "100ms",
			Doc: "The largest offset from the time source, either way. `0s`: any.",
		},
		{
			Path: "checks[].clock.synchronized", Default: "true",
			Doc: "The kernel must call the clock synchronised.",
		},
		{
			Path: "checks[].heartbeat", Example: `{ttl: 30s}`,
			Doc: "Wait for the application to report in, with `fleet-agent report NAME pass` or over the control socket. " +
				"Reports from before the node was last out of service do not count.",
		},
		{
			Path: "checks[].heartbeat.ttl", Required: true, Min: "1s", Max: "24h", Example: "30s",
			Doc: "How long a report is good for. Without a newer one the check fails.",
		},
	}
}
