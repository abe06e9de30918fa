package systemd

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the process that sockets are passed to.
func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_ACTIVATED") != "" {
		if err := activated(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// activated tells what was passed, and answers one connection on each socket
// named probe.
func activated() error {
	// Only the process itself knows its id, which systemd sets after the fork.
	if os.Getenv("LISTEN_PID") == "self" {
		if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	listeners, err := Listeners()
	if err != nil {
		return err
	}
	for _, env := range os.Environ() {
		if strings.HasPrefix(env, "LISTEN_") {
			return fmt.Errorf("left in the environment: %s", env)
		}
	}
	for name, ls := range listeners {
		for _, l := range ls {
			fmt.Println(name, l.Addr().Network())
		}
	}
	for _, l := range listeners["probe"] {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

// activate runs activated in a process of its own.
func activate(t *testing.T, pid, names string, files ...*os.File) (stdout string, err error) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "SYSTEMD_TEST_ACTIVATED=1", "LISTEN_PID="+pid,
		"LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	}
	return string(out), err
}

func file(t *testing.T, l interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := l.File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestListeners(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer tcp.Close()
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	require.NoError(t, err)
	defer local.Close()

	// A client that connected before the process was there is not refused.
	client, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	out, err := activate(t, "self", "probe:control", file(t, tcp), file(t, local))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"probe tcp", "control unix"}, strings.Split(strings.TrimSpace(out), "\n"))
	hello, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "hello", string(hello))
}

func TestListenersOfAnotherProcess(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer tcp.Close()
	out, err := activate(t, "1", "probe", file(t, tcp))
	require.NoError(t, err)
	require.Empty(t, out)
}

func TestListenersRefusesWhatDoesNotListen(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer udp.Close()
	notSocket, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer notSocket.Close()
	_, err = activate(t, "self", "probe:null", file(t, udp), notSocket)
	require.ErrorContains(t, err, `take over passed socket "probe": `)
	require.ErrorContains(t, err, `take over passed socket "null": `)
}

func TestListenersWithoutActivation(t *testing.T) {
	listeners, err := Listeners()
	require.NoError(t, err)
	require.Empty(t, listeners)
}
