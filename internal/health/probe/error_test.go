package probe

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"deadline":    {context.DeadlineExceeded, "timed out"},
		"canceled":    {&url.Error{Op: "Get", URL: "http://secret", Err: context.Canceled}, "canceled"},
		"net timeout": {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "timed out"},
		"refused":     {&url.Error{Op: "Get", URL: "http://secret", Err: refused}, "connection refused"},
		"path":        {&os.PathError{Op: "open", Path: "/secret", Err: syscall.EACCES}, "permission denied"},
		"other":       {errors.New("odd"), "odd"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, describe(tc.err)) })
	}
}

func TestDays(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"14d": 14 * day, "13d23h": 14*day - time.Second, "5h": 5*time.Hour + 59*time.Minute, "20m0s": 20 * time.Minute, "0s": 0,
	} {
		require.Equal(t, want, days(d))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("two\nlines\t\x1b[31m\u202e")
	f.Add(strings.Repeat("ä", maxQuote))
	f.Add("\xff\xfe" + strings.Repeat("\xf0\x9f\x98\x80", 40))
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, maxQuote)
		require.LessOrEqual(t, len(got), maxQuote)
		require.True(t, utf8.ValidString(got))
		require.NotContains(t, got, "\n")
		require.NotContains(t, got, "\x1b")
		require.Equal(t, got, clean(got, maxQuote))
	})
}
