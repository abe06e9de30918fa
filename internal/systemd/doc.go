// Package systemd answers: how does the agent speak with the machine that it
// runs on?
//
// It is the only package that knows systemd. It has four parts, each usable
// alone, and each harmless where systemd is absent:
//
//   - [Notifier], [Watchdog] and [Extender] talk to the service manager over
//     the notify socket (sd_notify(3)).
//   - [Listeners] takes over the sockets that a socket unit passed
//     (sd_listen_fds(3)).
//   - [Manager] starts, stops, kills and observes units over D-Bus
//     (org.freedesktop.systemd1(5)). Where polkit cannot allow single units, it
//     starts and stops them by way of a bridge that the package installs.
//   - [Inhibitor] holds a delay lock of logind and tells when the machine is
//     about to shut down (org.freedesktop.login1(5)). [InhibitDelayConfig] says
//     which file set the length of that delay.
//
// Draining is never told to systemd as STOPPING=1: that stops the agent itself
// and cannot be taken back. A drain is a StopUnit job.
//
// # Why D-Bus without go-systemd
//
// D-Bus is spoken through godbus directly. The dbus package of go-systemd
// sends job results while it holds its lock, so that one abandoned result
// channel stops the connection for good; it has no reconnect; and as root it
// falls back to PID 1's private socket, which is not there for the unprivileged
// agent, so that tests as root would prove nothing. What is left of it, a dozen
// method calls, is short enough to own. Here signals are handled on the
// connection's reader, in order, and never block it; a signal counts only when
// the bus says that the service itself sent it.
//
// # A connection's life
//
// Manager and Inhibitor each keep one connection while their Run runs:
//
//	           dial, authenticate, subscribe
//	connecting ------------------------------> connected
//	  ^    |                                     |
//	  |    | error                               | bus gone, or the service
//	  |    v                                     | has a new owner
//	  +-- waiting (1 s) <------------------------+
//
// A call made while there is no connection fails at once with [ErrNoBus]; only
// during the first attempt, and for three seconds after a connection was lost,
// does it wait, so that a restart of the bus fails nothing.
//
// # Goroutines
//
// Run of each type owns the goroutines of that type and waits for them. The
// reader of a D-Bus connection belongs to godbus and ends when the connection
// is closed, which Run does before it returns. Nothing else starts goroutines.
package systemd
