package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestStoppingAnswersWhatWasAccepted stops a server in virtual time while a
// connection is in each of the states that it can be in.
func TestStoppingAnswersWhatWasAccepted(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(1500 * time.Millisecond)
		}
		fine(w, r)
	})
	send := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	tests := map[string]struct {
		before string        // sent before the server stops
		wait   time.Duration // after that
		after  string        // and then sent
		answer bool
		took   time.Duration // to stop
	}{
		"the request comes later":       {after: send("/"), wait: 900 * time.Millisecond, answer: true, took: 900 * time.Millisecond},
		"the request was sent in part":  {before: send("/")[:20], wait: 100 * time.Millisecond, after: send("/")[20:], answer: true, took: 100 * time.Millisecond},
		"the answer takes its time":     {before: send("/slow"), answer: true, took: 1500 * time.Millisecond},
		"no request comes":              {wait: 3 * time.Second, took: newBound},
		"a late request, a slow answer": {wait: 900 * time.Millisecond, after: send("/slow"), took: answerBound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := newPipeListener()
				stop := start(t, Config{Handler: slow}, listener)
				conn := listener.dial()
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				_, err := io.WriteString(conn, test.before)
				require.NoError(t, err)
				synctest.Wait()

				begun := time.Now()
				var took time.Duration
				var wg sync.WaitGroup
				wg.Go(func() {
					stop()
					took = time.Since(begun)
				})
				wg.Go(func() {
					time.Sleep(test.wait)
					_, _ = io.WriteString(conn, test.after) // fails where no answer is expected
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					_, err = copyBounded(io.Discard, resp.Body)
					_ = resp.Body.Close() // nothing to lose
				}
				wg.Wait()
				if test.answer {
					require.NoError(t, err)
					require.True(t, resp.Close, "the client is told that it is the last")
				} else {
					require.Error(t, err)
				}
				require.Equal(t, test.took, took)
				time.Sleep(answerBound) // a handler that was cut off ends too
			})
		})
	}
}

// TestStoppingClosesWhatIsIdle: a connection that is kept alive holds nothing up.
func TestStoppingClosesWhatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		stop := start(t, Config{Handler: fine}, listener)
		conn := listener.dial()
		_, err := io.WriteString(conn, probeRequest)
		require.NoError(t, err)
		answers := bufio.NewReader(conn)
		resp, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		_, err = copyBounded(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.False(t, resp.Close)
		synctest.Wait()
		begun := time.Now()
		stop()
		require.Zero(t, time.Since(begun))
		_, err = answers.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
}

// TestStoppingLeavesTheQueue: what was not accepted stays in the queue of a socket
// that another process holds too, and that process answers it.
func TestStoppingLeavesTheQueue(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	file, err := l.File() // systemd's
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, l.Close())
	inherit := func() net.Listener {
		again, err := net.FileListener(file)
		require.NoError(t, err)
		return again
	}
	stop := start(t, Config{Handler: fine}, inherit())
	stop()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	start(t, Config{Handler: fine}, inherit())
	require.NoError(t, probeOnce(conn))
}

// TestServesEveryListener: a socket unit may pass more than one.
func TestServesEveryListener(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	listeners := []net.Listener{listen(), listen()}
	stop := start(t, Config{Handler: fine}, listeners...)
	for _, l := range listeners {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, probeOnce(conn))
	}
	stop()

	broken := listen()
	require.NoError(t, broken.Close())
	err := New(Config{Handler: fine}).Run(t.Context(), listen(), broken)
	require.ErrorIs(t, err, net.ErrClosed, "one that fails ends the service")
}

// A failingListener fails as often as it is told to.
type failingListener struct {
	*pipeListener
	err   error
	times int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.times > 0 {
		l.times--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
	}
	return l.pipeListener.Accept()
}

// TestAcceptFails: what passes is waited for, and not long; what does not ends the
// server.
func TestAcceptFails(t *testing.T) {
	for _, passes := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EPROTO, unix.EPERM} {
		t.Run(passes.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := &failingListener{pipeListener: newPipeListener(), err: passes, times: 5}
				start(t, Config{Handler: fine}, listener)
				begun := time.Now()
				require.NoError(t, probeOnce(listener.dial()))
				require.Equal(t, 5*acceptPause, time.Since(begun))
			})
		})
	}
	t.Run("for good", func(t *testing.T) {
		listener := &failingListener{pipeListener: newPipeListener(), err: unix.EBADF, times: 1}
		require.ErrorIs(t, New(Config{Handler: fine}).Run(t.Context(), listener), unix.EBADF)
	})
	t.Run("and the server is stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			stop := start(t, Config{Handler: fine}, &failingListener{pipeListener: newPipeListener(), err: unix.EMFILE, times: 1000})
			time.Sleep(time.Second)
			begun := time.Now()
			stop()
			require.Zero(t, time.Since(begun))
		})
	})
}

// TestWithoutDescriptors: when the process has no descriptor left, the connection
// that is stale longest gives up its own.
func TestWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, now := newConnTable(10, nil), time.Now()
		conns := make([]net.Conn, 3)
		for i := range conns {
			conns[i], _ = net.Pipe()
			table.add(conns[i], now)
		}
		table.touch(conns[0], http.StateActive, now)
		require.Nil(t, table.stalest(now), "they are new")
		now = now.Add(minConnAge)
		require.Equal(t, conns[1], table.stalest(now), "not the one whose request is in flight")
		require.Equal(t, conns[2], table.stalest(now))
		require.Nil(t, table.stalest(now))
		require.Len(t, table.entries, 1)
	})
}

// TestNeverRead: a client that does not read its answer is cut off.
func TestNeverRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		ended := make(chan error, 1)
		start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 1<<20))
			ended <- err
		})}, listener)
		conn := listener.dial()
		defer conn.Close()
		begun := time.Now()
		_, err := io.WriteString(conn, probeRequest)
		require.NoError(t, err)
		err = <-ended
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, writeTimeout, time.Since(begun))
	})
}

// owned is a connection of somebody.
type owned struct {
	net.Conn
	owner uint32
}

// TestQuota: who has too many closes its own, never another's.
func TestQuota(t *testing.T) {
	const admin = 1
	table := newConnTable(8, &Quota{Each: 3, Kept: 3})
	now := time.Now()
	add := func(owner uint32) (conn, victim net.Conn) {
		a, _ := net.Pipe()
		conn = &owned{a, owner}
		return conn, table.addOwned(conn, owner, owner == admin, now)
	}
	var own []net.Conn
	for range 3 {
		conn, victim := add(1000)
		require.Nil(t, victim)
		own = append(own, conn)
	}
	table.touch(own[0], http.StateActive, now)
	table.touch(own[0], http.StateIdle, now) // it sent a request later than the others did
	fourth, victim := add(1000)
	require.Equal(t, own[1], victim, "its own oldest")
	for _, conn := range []net.Conn{own[0], own[2], fourth} {
		table.touch(conn, http.StateActive, now)
	}
	fifth, victim := add(1000)
	require.Equal(t, fifth, victim, "all of its own are at work: the new one goes")
	require.NotContains(t, table.entries, fifth)

	_, victim = add(1001)
	require.Nil(t, victim)
	last, victim := add(1002)
	require.Nil(t, victim)
	stranger, victim := add(1003)
	require.Equal(t, stranger, victim, "the rest is kept, and it has none of its own")
	again, victim := add(1002)
	require.Equal(t, last, victim, "its own makes room")
	for range 3 {
		_, victim = add(admin)
		require.Nil(t, victim)
	}
	require.Len(t, table.entries, 8)
	_, victim = add(admin)
	require.Equal(t, uint32(admin), victim.(*owned).owner)

	table.forget(again)
	_, victim = add(1003)
	require.NotNil(t, victim, "what is kept stays kept")
}
