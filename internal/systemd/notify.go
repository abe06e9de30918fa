package systemd

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// maxStatus bounds the text of STATUS= in bytes.
	maxStatus = 512
	// maxOwed bounds the messages that are kept for a service manager that does
	// not take them.
	maxOwed = 8
)

// NotifierConfig says where notifications go.
type NotifierConfig struct {
	// Socket is the value of NOTIFY_SOCKET: an absolute path, or @ and a name
	// in the abstract namespace. Empty: nobody listens, and nothing is sent.
	Socket string
	// Watchdog is the time within which the service manager expects a
	// Watchdog notification; 0: it expects none.
	Watchdog time.Duration
	// Logger is told once when sending begins to fail and once when it works
	// again. Nil discards.
	Logger *slog.Logger
}

// Notifier tells the service manager how the agent is doing, as sd_notify(3)
// says. Its methods are safe for concurrent use, never wait, and do nothing on a
// nil Notifier or on one without a socket. The queue of the socket is full when
// PID 1 hangs: what it does not take then is sent before the next message of any
// kind, such as the watchdog's; only Watchdog and ExtendTimeout, which are about
// their own moment, are not. The methods return no error: delivery is not
// confirmed by the protocol, and no caller could do more about a failure than the
// log line that the Notifier writes.
type Notifier struct {
	socket   string
	watchdog time.Duration
	logger   *slog.Logger

	mu      sync.Mutex
	status  string   // last text that was asked for
	owed    []string // messages that were not taken, oldest first
	failing bool
}

// NewNotifier returns a Notifier for an explicit socket.
func NewNotifier(cfg NotifierConfig) *Notifier {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Notifier{socket: cfg.Socket, watchdog: max(cfg.Watchdog, 0), logger: cfg.Logger}
}

// FromEnvironment returns a Notifier for the socket that the service manager
// named in the environment, and removes NOTIFY_SOCKET, WATCHDOG_USEC and
// WATCHDOG_PID, so that no child takes them for its own. Outside a service the
// Notifier does nothing.
func FromEnvironment(logger *slog.Logger) *Notifier {
	cfg := NotifierConfig{Socket: takeEnv("NOTIFY_SOCKET"), Logger: logger}
	usec, pid := takeEnv("WATCHDOG_USEC"), takeEnv("WATCHDOG_PID")
	n := NewNotifier(cfg)
	if cfg.Socket != "" && cfg.Socket[0] != '/' && cfg.Socket[0] != '@' {
		n.logger.Warn("notify socket is of an unsupported kind, notifications are off", "socket", cfg.Socket)
		n.socket = ""
	}
	interval, err := parseWatchdog(usec, pid, os.Getpid())
	if err != nil {
		n.logger.Warn("watchdog setting of the service manager is invalid, the watchdog is off", "err", err)
	}
	n.watchdog = interval
	return n
}

// takeEnv reads and removes a variable.
func takeEnv(name string) string {
	value := os.Getenv(name)
	_ = os.Unsetenv(name) // fails only for an invalid name
	return value
}

// parseWatchdog interprets WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)).
// It returns 0 when the watchdog is off or meant for another process.
func parseWatchdog(usec, pid string, self int) (time.Duration, error) {
	if usec == "" {
		return 0, nil
	}
	if pid != "" {
		p, err := strconv.Atoi(pid)
		if err != nil || p <= 0 {
			return 0, fmt.Errorf("parse WATCHDOG_PID %q: not a process id", pid)
		}
		if p != self {
			return 0, nil
		}
	}
	const limit = uint64(1<<63-1) / uint64(time.Microsecond)
	v, err := strconv.ParseUint(usec, 10, 64)
	if err != nil || v == 0 || v > limit {
		return 0, fmt.Errorf("parse WATCHDOG_USEC %q: not a positive number of microseconds", usec)
	}
	return time.Duration(v) * time.Microsecond, nil
}

// WatchdogInterval is the time within which the service manager expects
// Watchdog; 0 means that it does not expect any.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil || n.socket == "" {
		return 0
	}
	return n.watchdog
}

// Managed reports whether a service manager has started this process and listens.
func (n *Notifier) Managed() bool { return n != nil && n.socket != "" }

// Ready says that the start, or a reload, is complete.
func (n *Notifier) Ready() { n.send("READY=1", true) }

// Reloading says that a reload begins; Ready must follow. The message carries
// the monotonic time, without which `systemctl reload` of a Type=notify-reload
// unit would hang.
func (n *Notifier) Reloading() {
	n.send("RELOADING=1\nMONOTONIC_USEC="+strconv.FormatInt(monotonicUsec(), 10), true)
}

// Stopping says that the agent really ends. It is final: systemd kills what is
// left after the stop timeout, whatever is said later. It never means draining.
func (n *Notifier) Stopping() { n.send("STOPPING=1", true) }

// Watchdog says that the agent makes progress.
func (n *Notifier) Watchdog() { n.send("WATCHDOG=1", false) }

// ExtendTimeout asks for d more from now for the start or stop under way. It
// must be repeated within d for as long as the work goes on; see [Extender].
func (n *Notifier) ExtendTimeout(d time.Duration) {
	n.send("EXTEND_TIMEOUT_USEC="+strconv.FormatInt(max(d, 0).Microseconds(), 10), false)
}

// Status sets the line that `systemctl status` shows. Line breaks and other
// control characters become spaces, and the text is cut at 512 bytes. A text
// that is shown already is not sent again.
func (n *Notifier) Status(text string) {
	if n == nil || n.socket == "" {
		return
	}
	text = oneLine(text)
	n.mu.Lock()
	defer n.mu.Unlock()
	if text == n.status {
		return
	}
	n.status = text
	n.owed = slices.DeleteFunc(n.owed, isStatus) // an older one is of no interest
	n.sendLocked(statusKey+text, true)
}

const statusKey = "STATUS="

func isStatus(message string) bool { return strings.HasPrefix(message, statusKey) }

func (n *Notifier) send(message string, keep bool) {
	if n == nil || n.socket == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sendLocked(message, keep)
}

// sendLocked sends what is owed and then the message, which is owed if it is to
// be kept and was not taken. The lock keeps messages of concurrent callers in the
// order of their effects.
func (n *Notifier) sendLocked(message string, keep bool) {
	for len(n.owed) > 0 {
		if !n.try(n.owed[0]) {
			break
		}
		n.owed = n.owed[1:]
	}
	if len(n.owed) == 0 && n.try(message) || !keep {
		return
	}
	n.owed = append(n.owed, message)
	n.owed = n.owed[max(0, len(n.owed)-maxOwed):]
}

// try reports whether the service manager's queue took the message.
func (n *Notifier) try(message string) bool {
	err := sendDatagram(n.socket, message)
	if failing := err != nil; failing != n.failing {
		n.failing = failing
		if failing {
			n.logger.Warn("service manager does not take notifications", "socket", n.socket, "err", err)
		} else {
			n.logger.Info("service manager takes notifications again", "socket", n.socket)
		}
	}
	return err == nil
}

// sendDatagram sends without waiting. It has a socket of its own for each
// message: the manager's may have been replaced, and messages are rare.
func sendDatagram(socket, message string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket for notifications: %w", err)
	}
	defer unix.Close(fd)
	err = unix.Sendto(fd, []byte(message), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket})
	if err != nil {
		return fmt.Errorf("send notification: %w", err)
	}
	return nil
}

// oneLine makes text fit into one assignment of the notify protocol.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.TrimSpace(text)
	if len(text) <= maxStatus {
		return text
	}
	const mark = "…"
	cut := maxStatus - len(mark)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}

// monotonicUsec reads CLOCK_MONOTONIC, the clock that systemd compares with;
// package time does not show its value.
func monotonicUsec() int64 {
	var ts unix.Timespec
	// Fails only for an unknown clock, which this one is not on Linux.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano() / int64(time.Microsecond)
}
