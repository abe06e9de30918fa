// Package systemdtest answers: how do tests meet systemd and logind where
// neither runs?
//
// Start runs a real dbus-daemon of the machine, private to the test, with a fake
// org.freedesktop.systemd1 and a fake org.freedesktop.login1 on it. The fakes
// speak the real wire: jobs that end by JobRemoved, only told to those who
// subscribed; PropertiesChanged; delay locks that are descriptors. The bus can be
// stopped and restarted under its clients; the fakes keep their state as PID 1
// does. Methods that wait end the test when they waited for too long.
//
// The goroutines of a Bus end with the test that started it.
package systemdtest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/godbus/dbus/v5"
)

// patience bounds every wait of this package. It is long, because it is spent
// only when a test fails.
const patience = 20 * time.Second

// Bus is a private system bus. Its methods are safe for concurrent use, but for
// those that stop and start it.
type Bus struct {
	Systemd *Systemd
	Logind  *Logind

	tb     testing.TB
	config string
	socket string

	daemon *exec.Cmd // nil while the bus is down
	stderr bytes.Buffer
}

// Start starts a bus for the test, and ends it with the test. Where there is no
// dbus-daemon the test is skipped, or fails when the variable CI is set.
func Start(tb testing.TB) *Bus {
	tb.Helper()
	testkit.Tool(tb, "dbus-daemon", "dbus-daemon")
	dir, err := os.MkdirTemp("", "bus") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &Bus{tb: tb, config: filepath.Join(dir, "bus.conf"), socket: filepath.Join(dir, "bus")}
	if err := os.WriteFile(b.config, fmt.Appendf(nil, busConfig, b.socket), 0o600); err != nil {
		tb.Fatal(err)
	}
	b.Systemd = newSystemd(tb, b.Address())
	b.Logind = newLogind(tb, b.Address())
	b.Start()
	tb.Cleanup(func() {
		b.Stop()
		b.Systemd.end()
		b.Logind.end()
	})
	return b
}

// busConfig is a bus on which everybody may do everything.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

// Address is the D-Bus address of the bus. It stays the same over restarts.
func (b *Bus) Address() string { return "unix:path=" + b.socket }

// Start starts a stopped bus; both fakes join it.
func (b *Bus) Start() {
	b.tb.Helper()
	if b.daemon != nil {
		b.tb.Fatal("the bus runs already")
	}
	b.stderr.Reset()
	_ = os.Remove(b.socket)                                            // left by a daemon that was killed
	daemon := exec.CommandContext(context.Background(), "dbus-daemon", // Stop ends it
		"--config-file="+b.config, "--nofork", "--nopidfile", "--nosyslog", "--print-address")
	daemon.Stderr = &b.stderr
	stdout, err := daemon.StdoutPipe()
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		b.tb.Fatal(err)
	}
	// It prints its address when it listens, or ends.
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		_ = daemon.Wait() // the pipe's end says more
		b.tb.Fatalf("dbus-daemon does not start: %s", strings.TrimSpace(b.stderr.String()))
	}
	b.daemon = daemon
	b.Systemd.join()
	b.Logind.join()
}

// Stop kills the bus; every connection to it breaks. The fakes go on without it.
func (b *Bus) Stop() {
	if b.daemon == nil {
		return
	}
	_ = b.daemon.Process.Kill()
	_ = b.daemon.Wait() // was killed
	b.daemon = nil
	b.Systemd.leave()
	b.Logind.leave()
}

// Restart stops and starts the bus.
func (b *Bus) Restart() {
	b.tb.Helper()
	b.Stop()
	b.Start()
}

// Freeze stops the bus process without ending it, as if the machine hung, until
// the returned function is called.
func (b *Bus) Freeze() (thaw func()) {
	b.tb.Helper()
	if err := b.daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		b.tb.Fatal(err)
	}
	process := b.daemon.Process
	return func() { _ = process.Signal(syscall.SIGCONT) }
}

// Dial returns one more connection to the bus, closed with the test.
func (b *Bus) Dial() *dbus.Conn {
	b.tb.Helper()
	conn, err := dbus.Connect(b.Address())
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// service is what both fakes share: a name on the bus and a loop that answers
// calls one after the other.
type service struct {
	tb      testing.TB
	name    string
	address string
	// handle answers a call. It must not block. After, if any, runs when the
	// reply has been sent.
	handle func(*dbus.Message) (reply []any, after func(), err *dbus.Error)

	mu   sync.Mutex // guards conn and the state of the fake that embeds it
	cond *sync.Cond // on mu: the state has changed
	conn *dbus.Conn // nil while off the bus
	loop sync.WaitGroup
}

func (s *service) init(tb testing.TB, name, address string, handle func(*dbus.Message) ([]any, func(), *dbus.Error)) {
	tb.Helper()
	s.tb, s.name, s.address, s.handle = tb, name, address, handle
	s.cond = sync.NewCond(&s.mu)
}

// join enters the bus and returns when the name is ours.
func (s *service) join() {
	s.tb.Helper()
	gone := make(chan struct{})
	conn, err := dbus.Connect(s.address, dbus.WithHandler(mute{gone}))
	if err != nil {
		s.tb.Fatalf("connect %s: %v", s.name, err)
	}
	context.AfterFunc(conn.Context(), func() { close(gone) })
	// Raw messages: godbus' own dispatch gives no order between a reply and
	// what follows it. The channel is never full as far as tests go.
	messages := make(chan *dbus.Message, 4096)
	conn.Eavesdrop(messages)
	conn.BusObject().Go("org.freedesktop.DBus.RequestName", dbus.FlagNoReplyExpected, nil, s.name, uint32(dbus.NameFlagDoNotQueue))
	timeout := time.After(patience)
	for acquired := false; !acquired; {
		select {
		case msg, ok := <-messages:
			if !ok {
				s.tb.Fatalf("%s: connection lost", s.name)
			}
			acquired = msg.Type == dbus.TypeSignal && member(msg) == "NameAcquired" && msg.Body[0] == s.name
		case <-timeout:
			s.tb.Fatalf("%s: the bus does not give the name", s.name)
		}
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	s.loop.Go(func() {
		for {
			select {
			case <-gone:
				return
			case msg, ok := <-messages:
				if !ok { // the bus has gone
					return
				}
				if msg.Type == dbus.TypeMethodCall {
					s.answer(conn, msg)
				}
			}
		}
	})
}

// mute answers no call. A connection has it for the moment between the end of
// its eavesdropping and its own.
type mute struct{ gone <-chan struct{} }

// LookupObject implements dbus.Handler.
func (m mute) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) {
	<-m.gone // then the answer is not sent any more
	return nil, false
}

// leave leaves the bus.
func (s *service) leave() {
	s.mu.Lock()
	conn := s.conn
	s.conn = nil
	s.mu.Unlock()
	if conn != nil {
		conn.Eavesdrop(nil) // godbus sends to a channel that its Close has closed
		_ = conn.Close()
		s.loop.Wait()
	}
}

func (s *service) answer(conn *dbus.Conn, call *dbus.Message) {
	body, after, err := s.handle(call)
	reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: call.Headers[dbus.FieldSender],
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
	}, Body: body}
	if err != nil {
		reply.Type, reply.Body = dbus.TypeError, err.Body
		reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(err.Name)
	}
	if len(reply.Body) > 0 {
		reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(reply.Body...))
	}
	if call.Flags&dbus.FlagNoReplyExpected == 0 {
		conn.Send(reply, nil)
	}
	if after != nil {
		after()
	}
}

// emit sends a signal to everybody who asked for it. The caller holds mu.
func (s *service) emit(path dbus.ObjectPath, name string, args ...any) {
	if s.conn != nil {
		_ = s.conn.Emit(path, name, args...) // fails when the bus goes down, as it may
	}
}

// await waits until ok holds, which is asked with mu held.
func (s *service) await(what string, ok func() bool) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, s.cond.Broadcast)()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !ok() {
		if ctx.Err() != nil {
			s.tb.Errorf("%s: waited too long for %s", s.name, what)
			return
		}
		s.cond.Wait()
	}
}

func member(msg *dbus.Message) string {
	name, _ := msg.Headers[dbus.FieldMember].Value().(string)
	return name
}

func objectPath(msg *dbus.Message) dbus.ObjectPath {
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	return path
}

func sender(msg *dbus.Message) string {
	name, _ := msg.Headers[dbus.FieldSender].Value().(string)
	return name
}

// failure is an error reply.
func failure(name, format string, args ...any) *dbus.Error {
	return dbus.NewError(name, []any{fmt.Sprintf(format, args...)})
}

// properties answers Get and GetAll from a table of interfaces.
func properties(msg *dbus.Message, table map[string]map[string]any) ([]any, *dbus.Error) {
	var iface, name string
	switch member(msg) {
	case "GetAll":
		if err := dbus.Store(msg.Body, &iface); err != nil {
			return nil, failure("org.freedesktop.DBus.Error.InvalidArgs", "%v", err)
		}
		all := make(map[string]dbus.Variant)
		for key, value := range table[iface] {
			all[key] = dbus.MakeVariant(value)
		}
		return []any{all}, nil
	case "Get":
		if err := dbus.Store(msg.Body, &iface, &name); err != nil {
			return nil, failure("org.freedesktop.DBus.Error.InvalidArgs", "%v", err)
		}
		value, ok := table[iface][name]
		if !ok {
			return nil, failure("org.freedesktop.DBus.Error.UnknownProperty", "Unknown interface %s or property %s.", iface, name)
		}
		return []any{dbus.MakeVariant(value)}, nil
	}
	return nil, unknownMethod(msg)
}

func unknownMethod(msg *dbus.Message) *dbus.Error {
	return failure("org.freedesktop.DBus.Error.UnknownMethod", "Unknown method %s.", member(msg))
}
