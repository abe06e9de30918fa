// Package config answers: what was this agent told to do, and where was it told?
//
// A configuration is the defaults, then one YAML file, then the files of the
// directory conf.d beside it in the order of their names. Maps merge, a scalar
// that is given again replaces the earlier one, and the lists checks, drain.plan
// and notify append. A file that was named has to exist; without one the defaults
// run. Load reports every fault at once, each with its file, line
// and field and with what to write instead.
//
// One table (see fields.go) says for every key what it means, what it may be and
// what it is when nobody says: the defaults, the checks of the loader, the JSON
// Schema and the reference documentation all come from it.
//
// The package holds plain data, reads files, and starts no goroutines. A Config
// is not changed after Load and may be read from many goroutines.
package config

import (
	"fmt"
	"io"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// The words of package strict that a configuration is told in.
type (
	// Duration is a time.Duration that is written with its unit.
	Duration = strict.Duration
	// Size is a part of a whole or an amount.
	Size = strict.Size
	// Statuses is a set of HTTP status codes.
	Statuses = strict.Statuses
	// StatusRange is a range of HTTP status codes.
	StatusRange = strict.StatusRange
	// Error is one fault of a configuration and where it is. It never holds the value
	// of a header, of an environment variable, or of a webhook's URL.
	Error = strict.Error
	// Errors is every fault of a configuration, sorted by file, line and column.
	Errors = strict.Errors //nolint:errname // the name of what it is an alias of
)

// DefaultPath is where the agent looks for its configuration.
const DefaultPath = "/etc/fleet-agent/config.yaml"

// Config is the whole configuration of an agent.
type Config struct {
	Listen          Listen          `yaml:"listen"`
	Health          Health          `yaml:"health"`
	Checks          []Check         `yaml:"checks"`
	IMDS            IMDS            `yaml:"imds"`
	ScheduledEvents ScheduledEvents `yaml:"scheduled_events"`
	Drain           Drain           `yaml:"drain"`
	Notify          []Webhook       `yaml:"notify"`
	StateDir        string          `yaml:"state_dir"`
	RunDir          string          `yaml:"run_dir"`

	main    string
	files   []string
	origins strict.Origins
}

// Marshal writes the effective configuration as YAML that Load reads. Optional keys
// that were left out and have no default are left out here as well.
//
// What may be secret is replaced by REDACTED: the values of headers and of
// environment variables, user, password and query of the URLs of http checks, and
// all but scheme and host of the URLs of webhooks.
//
// With origin, a comment behind each value says where it was written
// ("file:line") or that it is the default.
func (c *Config) Marshal(w io.Writer, origin bool) error {
	var origins strict.Origins
	if origin {
		origins = c.origins
	}
	if err := newSchema().Marshal(w, c, origins); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// Files returns the files that the configuration was read from, in the order in
// which they were applied. It is empty when the defaults run alone.
func (c *Config) Files() []string { return c.files }

// MainFile returns the one of Files that is no drop-in; empty when there was none.
func (c *Config) MainFile() string { return c.main }

// Listen is where the agent answers over the network.
type Listen struct {
	Probe   string    `yaml:"probe"`   // host:port
	Metrics string    `yaml:"metrics"` // host:port; empty: no listener
	TLS     ListenTLS `yaml:"tls"`     // of the probe listener
}

// ListenTLS is the certificate of the probe listener; both are empty for plain
// HTTP.
type ListenTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Health is how the checks are run and their verdict is told.
type Health struct {
	StartGrace    Duration      `yaml:"start_grace"`
	MaxConcurrent int           `yaml:"max_concurrent"`
	CustomMetrics CustomMetrics `yaml:"custom_metrics"`
}

// CustomMetrics is what the probe answer tells a rolling upgrade.
type CustomMetrics struct {
	Enabled     bool   `yaml:"enabled"`
	Phase       int    `yaml:"phase"`
	SkipUpgrade string `yaml:"skip_upgrade"` // auto, always or never
}

// Check is one check. Exactly one of the pointers is set.
type Check struct {
	Name string `yaml:"name"`

	HTTP        *HTTPCheck        `yaml:"http"`
	TCP         *TCPCheck         `yaml:"tcp"`
	TLS         *TLSCheck         `yaml:"tls"`
	GRPC        *GRPCCheck        `yaml:"grpc"`
	DNS         *DNSCheck         `yaml:"dns"`
	Exec        *ExecCheck        `yaml:"exec"`
	Unit        *UnitCheck        `yaml:"unit"`
	Disk        *DiskCheck        `yaml:"disk"`
	File        *FileCheck        `yaml:"file"`
	Certificate *CertificateCheck `yaml:"certificate"`
	Pressure    *PressureCheck    `yaml:"pressure"`
	Clock       *ClockCheck       `yaml:"clock"`
	Heartbeat   *HeartbeatCheck   `yaml:"heartbeat"`

	Interval  Duration `yaml:"interval"`
	Timeout   Duration `yaml:"timeout"`
	FailAfter int      `yaml:"fail_after"`
	PassAfter int      `yaml:"pass_after"`
	Severity  string   `yaml:"severity"` // critical or warning
	Gates     []string `yaml:"gates"`    // of health, ready
	DependsOn []string `yaml:"depends_on"`
}

// Kind returns the kind of the check as it is written: "http", "tcp", and so on.
// It is empty only for a Check that Load did not return.
func (c Check) Kind() string {
	switch {
	case c.HTTP != nil:
		return "http"
	case c.TCP != nil:
		return "tcp"
	case c.TLS != nil:
		return "tls"
	case c.GRPC != nil:
		return "grpc"
	case c.DNS != nil:
		return "dns"
	case c.Exec != nil:
		return "exec"
	case c.Unit != nil:
		return "unit"
	case c.Disk != nil:
		return "disk"
	case c.File != nil:
		return "file"
	case c.Certificate != nil:
		return "certificate"
	case c.Pressure != nil:
		return "pressure"
	case c.Clock != nil:
		return "clock"
	case c.Heartbeat != nil:
		return "heartbeat"
	default:
		return ""
	}
}

// HTTPCheck asks for a URL.
type HTTPCheck struct {
	URL          string            `yaml:"url"`
	Method       string            `yaml:"method"`
	ExpectStatus Statuses          `yaml:"expect_status"`
	ExpectBody   string            `yaml:"expect_body"` // regular expression (RE2); empty: any body
	Headers      map[string]string `yaml:"headers"`     // may hold secrets
	UnixSocket   string            `yaml:"unix_socket"`
	TLS          *ClientTLS        `yaml:"tls"` // nil: the system's roots, no client certificate
}

// ClientTLS is how a check speaks TLS to what it checks.
type ClientTLS struct {
	CAFile             string `yaml:"ca_file"` // empty: the system's roots
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"` // empty: the host that is dialled
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// TCPCheck connects.
type TCPCheck struct {
	Address string `yaml:"address"`
}

// TLSCheck makes a TLS handshake and looks at the certificates.
type TLSCheck struct {
	Address       string   `yaml:"address"`
	ServerName    string   `yaml:"server_name"` // empty: the host of Address
	CAFile        string   `yaml:"ca_file"`     // empty: the system's roots
	CertFile      string   `yaml:"cert_file"`
	KeyFile       string   `yaml:"key_file"`
	ExpiresWithin Duration `yaml:"expires_within"`
}

// GRPCCheck asks a grpc.health.v1 service.
type GRPCCheck struct {
	Address string     `yaml:"address"`
	Service string     `yaml:"service"` // empty: the server as a whole
	TLS     *ClientTLS `yaml:"tls"`     // nil: plaintext
}

// DNSCheck resolves a name.
type DNSCheck struct {
	Name   string   `yaml:"name"`
	Type   string   `yaml:"type"`   // A, AAAA, CNAME or SRV; empty: A and AAAA
	Server string   `yaml:"server"` // host:port; empty: as programs ask
	Expect []string `yaml:"expect"` // all must be among the answers
}

// ExecCheck runs a command; exit status 0 passes.
type ExecCheck struct {
	Command []string          `yaml:"command"` // program and arguments; no shell
	Env     map[string]string `yaml:"env"`     // may hold secrets
}

// UnitCheck asks systemd whether a unit is active.
type UnitCheck struct {
	Name string `yaml:"name"`
}

// DiskCheck looks at the free space of a file system, and tries a write. At least
// one of the three is set.
type DiskCheck struct {
	Path          string `yaml:"path"`
	MinFree       Size   `yaml:"min_free"`        // percent or bytes
	MinFreeInodes Size   `yaml:"min_free_inodes"` // percent or number
	Writable      bool   `yaml:"writable"`
}

// FileCheck looks whether a file exists. Present and Absent are each other's
// opposite.
type FileCheck struct {
	Path    string   `yaml:"path"`
	Present bool     `yaml:"present"`
	Absent  bool     `yaml:"absent"`
	MaxAge  Duration `yaml:"max_age"` // since the last change of the content; 0: any
}

// CertificateCheck looks at a certificate on disk.
type CertificateCheck struct {
	File          string   `yaml:"file"`
	ExpiresWithin Duration `yaml:"expires_within"`
}

// PressureCheck reads the kernel's pressure stall information.
type PressureCheck struct {
	Resource   string  `yaml:"resource"`    // cpu, memory or io
	Avg10Below float64 `yaml:"avg10_below"` // percent, over 0 up to 100
}

// ClockCheck asks the kernel how it keeps time.
type ClockCheck struct {
	MaxOffset    Duration `yaml:"max_offset"` // 0: any
	Synchronized bool     `yaml:"synchronized"`
}

// HeartbeatCheck waits for the application to report in.
type HeartbeatCheck struct {
	TTL Duration `yaml:"ttl"`
}

// IMDS is where Azure's instance metadata service is.
type IMDS struct {
	Endpoint string `yaml:"endpoint"`
}

// ScheduledEvents is how the agent meets Azure's Scheduled Events.
type ScheduledEvents struct {
	PollInterval Duration `yaml:"poll_interval"`
	APIVersion   string   `yaml:"api_version"`
	SharedAck    string   `yaml:"shared_ack"` // never, first or always
	// Events is the policy by event type. The five known types are always there.
	Events map[string]EventPolicy `yaml:"events"`
}

// EventPolicy is what the agent does about events of one type.
type EventPolicy struct {
	Action      string   `yaml:"action"`       // drain, cordon or ignore
	Ack         string   `yaml:"ack"`          // after-drain, after-drain-even-if-failed, immediately, never or user-initiated
	LeadTime    Duration `yaml:"lead_time"`    // act this long before NotBefore; 0: as soon as the event is seen
	MinDuration Duration `yaml:"min_duration"` // leave events alone whose impact is known to be shorter; 0: none
}

// Drain is what happens when the node is about to go.
type Drain struct {
	Reserve Duration `yaml:"reserve"`
	Settle  Duration `yaml:"settle"`
	Plan    []Step   `yaml:"plan"`
}

// Step is one step of the drain plan. Exactly one of Target, Unit, Hook, Exec,
// Connections, Webhook and Sleep is set.
type Step struct {
	Name string `yaml:"name"`

	Target      string           `yaml:"target"`
	Unit        string           `yaml:"unit"`
	Hook        string           `yaml:"hook"` // NAME of fleet-hook@NAME.service
	Exec        *ExecStep        `yaml:"exec"`
	Connections *ConnectionsStep `yaml:"connections"`
	Webhook     *WebhookStep     `yaml:"webhook"`
	Sleep       Duration         `yaml:"sleep"`

	Max      Duration  `yaml:"max"`
	Min      Duration  `yaml:"min"`
	Optional bool      `yaml:"optional"`
	After    *[]string `yaml:"after"` // nil: the step before it
}

// Kind returns the kind of the step as it is written: "target", "unit", and so
// on. It is empty only for a Step that Load did not return.
func (s Step) Kind() string {
	switch {
	case s.Target != "":
		return "target"
	case s.Unit != "":
		return "unit"
	case s.Hook != "":
		return "hook"
	case s.Exec != nil:
		return "exec"
	case s.Connections != nil:
		return "connections"
	case s.Webhook != nil:
		return "webhook"
	case s.Sleep != 0:
		return "sleep"
	default:
		return ""
	}
}

// ExecStep runs a command.
type ExecStep struct {
	Command []string          `yaml:"command"` // program and arguments; no shell
	Env     map[string]string `yaml:"env"`     // may hold secrets
}

// ConnectionsStep waits until established connections on local ports are few.
type ConnectionsStep struct {
	Ports  []int `yaml:"ports"`
	AtMost int   `yaml:"at_most"`
}

// WebhookStep posts the cause to a URL and waits for the answer.
type WebhookStep struct {
	URL     string            `yaml:"url"`     // may hold secrets, in its path too
	Headers map[string]string `yaml:"headers"` // may hold secrets
}

// Webhook is somebody who is told of drains, without holding them up.
type Webhook struct {
	URL     string            `yaml:"url"` // may hold secrets, in its path too
	On      []string          `yaml:"on"`  // of drain-started, drain-finished, drain-failed
	Headers map[string]string `yaml:"headers"`
}
