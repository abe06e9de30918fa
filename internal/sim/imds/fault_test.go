package imds

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFaults(t *testing.T) {
	const compute = "/metadata/instance/compute?api-version=" + latest
	tests := map[string]struct {
		fault  Fault
		method string
		path   string
		check  func(t *testing.T, r response, err error, took time.Duration)
	}{
		"status": {
			fault: Fault{Kind: FaultStatus, Status: 410}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 410, r.status)
				require.JSONEq(t, `{"error":"Gone"}`, r.body)
			},
		},
		"status without a body": {
			fault: Fault{Kind: FaultStatus, Status: 204}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 204, r.status)
				require.Empty(t, r.body)
			},
		},
		"status with Retry-After": {
			fault: Fault{Kind: FaultStatus, Status: 429, RetryAfter: 1500 * time.Millisecond}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, "2", r.header.Get("Retry-After"))
			},
		},
		"body": {
			fault: Fault{Kind: FaultBody, Body: `{"Events":[null]}`}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 200, r.status)
				require.JSONEq(t, `{"Events":[null]}`, r.body)
			},
		},
		"clock": {
			fault: Fault{Kind: FaultClock, Ahead: 5 * time.Minute}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat), r.header.Get("Date"))
				require.Contains(t, r.body, "DocumentIncarnation")
			},
		},
		"delay": {
			fault: Fault{Kind: FaultDelay, Delay: 3 * second}, path: eventsPath,
			check: func(t *testing.T, r response, err error, took time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 200, r.status)
				require.Equal(t, 3*second, took)
			},
		},
		"hang until it is over": {
			fault: Fault{Kind: FaultHang, For: time.Minute}, path: eventsPath,
			check: func(t *testing.T, _ response, err error, took time.Duration) {
				t.Helper()
				require.ErrorIs(t, err, syscall.ECONNRESET)
				require.Equal(t, time.Minute, took)
			},
		},
		"reset": {
			fault: Fault{Kind: FaultReset}, path: eventsPath,
			check: func(t *testing.T, _ response, err error, _ time.Duration) {
				t.Helper()
				require.ErrorIs(t, err, syscall.ECONNRESET)
			},
		},
		"empty": {
			fault: Fault{Kind: FaultEmpty}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 200, r.status)
				require.Empty(t, r.body)
			},
		},
		"truncated": {
			fault: Fault{Kind: FaultTruncated}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, `{"DocumentIncarnat`, r.body)
			},
		},
		"partial events": {
			fault: Fault{Kind: FaultPartial}, path: eventsPath,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, `{"DocumentIncarnation":1}`, r.body)
			},
		},
		"partial instance": {
			fault: Fault{Kind: FaultPartial}, path: compute,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 200, r.status)
				require.NotContains(t, r.body, `"vmId"`)
				require.NotContains(t, r.body, `"name":"web_0"`)
				require.Contains(t, r.body, `"location":"westeurope"`)
			},
		},
		"partial instance lacks what was asked for": {
			fault: Fault{Kind: FaultPartial, Omit: []string{"zone"}}, path: compute,
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Contains(t, r.body, `"vmId"`)
				require.NotContains(t, r.body, `"zone"`)
			},
		},
		"partial instance with extended=true": {
			fault: Fault{Kind: FaultPartial}, path: compute + "&extended=true",
			check: func(t *testing.T, r response, err error, _ time.Duration) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, 500, r.status)
			},
		},
		"of another endpoint": {
			fault: Fault{Kind: FaultReset, Endpoint: EndpointInstance}, path: eventsPath, check: proper,
		},
		"of another method": {
			fault: Fault{Kind: FaultReset, Method: http.MethodPost}, path: eventsPath, check: proper,
		},
		"of another machine": {
			fault: Fault{Kind: FaultReset, VM: "web_1"}, path: eventsPath, check: proper,
		},
		"versions are left alone": {
			fault: Fault{Kind: FaultReset}, path: "/metadata/versions", check: proper,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(unlimited(Instance{Name: "web_0"}, Instance{Name: "web_1"}))
				require.NoError(t, s.SetFault(tt.fault))
				begin := time.Now()
				r, err := within(t, s, "web_0").do(http.MethodGet, tt.path, "")
				tt.check(t, r, err, time.Since(begin))

				s.ClearFaults()
				require.Empty(t, s.Faults())
				require.NotNil(t, within(t, s, "web_0").events())
			})
		})
	}
}

func proper(t *testing.T, r response, err error, took time.Duration) {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, 200, r.status)
	require.NotEmpty(t, r.body)
	require.Zero(t, took)
}

func TestFaultIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		m := within(t, s, "web_0")
		status := func() int {
			r, err := m.do(http.MethodGet, eventsPath, "")
			require.NoError(t, err)
			return r.status
		}
		require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 500, Count: 2}))
		require.Equal(t, 2, s.Faults()[0].Count)
		require.Equal(t, []int{500, 500, 200}, []int{status(), status(), status()})
		require.Empty(t, s.Faults())

		require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 403, For: 10 * second}))
		time.Sleep(10*second - 1)
		require.Equal(t, 403, status())
		require.Equal(t, time.Duration(1), s.Faults()[0].For)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 200, status())

		// The same requests: in its place. Other requests: beside it.
		require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 403}))
		require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 410}))
		require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 500, Endpoint: EndpointInstance}))
		require.Len(t, s.Faults(), 2)
		require.Equal(t, 410, status())
	})
}

// TestLostAnswer: an ack may have been taken although nobody heard so.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		m := within(t, s, "web_0")
		id := s.Publish(EventSpec{Type: Preempt})

		require.NoError(t, s.SetFault(Fault{Kind: FaultReset, Method: http.MethodPost, Count: 1}))
		_, err := m.do(http.MethodPost, eventsPath, `{"StartRequests":[{"EventId":"`+id+`"}]}`)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Empty(t, s.Acks())

		require.NoError(t, s.SetFault(Fault{Kind: FaultLost, Method: http.MethodPost, Count: 1}))
		_, err = m.do(http.MethodPost, eventsPath, `{"StartRequests":[{"EventId":"`+id+`"}]}`)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Len(t, s.Acks(), 1)
		require.Equal(t, Started, statusOf(t, s, id))
	})
}

func TestClearReleasesWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		require.NoError(t, s.SetFault(Fault{Kind: FaultHang, Count: 1}))
		failed := make(chan error)
		go func() {
			_, err := within(t, s, "web_0").do(http.MethodGet, eventsPath, "")
			failed <- err
		}()
		synctest.Wait()
		time.Sleep(time.Hour)
		s.ClearFaults()
		require.ErrorIs(t, <-failed, syscall.ECONNRESET)
	})
}

func TestFaultThatMakesNoSense(t *testing.T) {
	s := New(Config{})
	for name, tt := range map[string]struct {
		fault Fault
		want  string
	}{
		"no kind":        {Fault{}, `kind "" is none of status, delay, hang, reset, lost, empty, truncated, partial, body, clock`},
		"useless body":   {Fault{Kind: FaultHang, Body: "x"}, "body is for kind body only"},
		"useless clock":  {Fault{Kind: FaultHang, Ahead: 1}, "ahead is for kind clock only"},
		"no status":      {Fault{Kind: FaultStatus}, "status 0 is not between 200 and 599"},
		"useless status": {Fault{Kind: FaultHang, Status: 500}, "status is for kind status only"},
		"no delay":       {Fault{Kind: FaultDelay}, "delay is missing"},
		"endpoint":       {Fault{Kind: FaultHang, Endpoint: "attested"}, `endpoint "attested" is neither instance nor scheduledevents`},
		"method":         {Fault{Kind: FaultHang, Method: "get"}, `method "get" is neither GET nor POST`},
		"machine":        {Fault{Kind: FaultHang, VM: "web_9"}, `there is no machine "web_9"`},
		"negative":       {Fault{Kind: FaultHang, Count: -1}, "count, for, delay and retry_after are not negative"},
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, s.SetFault(tt.fault), "set fault: "+tt.want)
		})
	}
	require.Empty(t, s.Faults())
}

// TestFaultsOnTheWire: what a client meets over a real connection.
func TestFaultsOnTheWire(t *testing.T) {
	s := New(unlimited())
	web := httptest.NewServer(s)
	defer web.Close()
	m := &machine{t: t, base: web.URL, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}

	require.NoError(t, s.SetFault(Fault{Kind: FaultReset, Count: 1}))
	_, err := m.do(http.MethodGet, eventsPath, "")
	require.ErrorIs(t, err, syscall.ECONNRESET)

	require.NoError(t, s.SetFault(Fault{Kind: FaultEmpty, Count: 1}))
	r, err := m.do(http.MethodGet, eventsPath, "")
	require.NoError(t, err)
	require.Equal(t, 200, r.status)
	require.Equal(t, "0", r.header.Get("Content-Length"))

	require.NoError(t, s.SetFault(Fault{Kind: FaultStatus, Status: 204, Count: 1}))
	r, err = m.do(http.MethodGet, eventsPath, "")
	require.NoError(t, err)
	require.Equal(t, 204, r.status)

	// A client that gives up is let go of, and counted as not answered.
	require.NoError(t, s.SetFault(Fault{Kind: FaultHang, Count: 1}))
	changed := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(changed)
		for len(s.Faults()) > 0 {
			<-time.After(time.Millisecond)
		}
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+eventsPath, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Metadata", "true")
	resp, err := m.client.Do(req)
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorIs(t, err, context.Canceled)
	<-changed

	// Plain HTTP, as a shell script would write it.
	conn, err := net.Dial("tcp", web.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /metadata/instance/compute/name?api-version=2021-02-01&format=text HTTP/1.0\r\nMETADATA: TRUE\r\n\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(all), "HTTP/1.0 200 OK\r\n"), string(all))
	require.True(t, strings.HasSuffix(string(all), "\r\n\r\nweb_0"), string(all))
}

func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited(Instance{Name: "web_0"}, Instance{Name: "web_1"}))
		m := within(t, s, "web_1")
		m.events()
		m.events()
		require.Equal(t, 400, m.ack("x"))
		_, err := m.do("BREW", "/metadata/coffee", "")
		require.NoError(t, err)
		require.NoError(t, s.SetFault(Fault{Kind: FaultReset}))
		_, err = m.do(http.MethodGet, eventsPath, "")
		require.ErrorIs(t, err, syscall.ECONNRESET)

		require.Equal(t, []Count{
			{VM: "web_1", Endpoint: "", Method: "other", Status: 404, Count: 1},
			{VM: "web_1", Endpoint: "scheduledevents", Method: "GET", Status: 0, Count: 1},
			{VM: "web_1", Endpoint: "scheduledevents", Method: "GET", Status: 200, Count: 2},
			{VM: "web_1", Endpoint: "scheduledevents", Method: "POST", Status: 400, Count: 1},
		}, s.Counts())
		require.Len(t, s.Requests(), 5)
		require.Equal(t, Request{Time: time.Now(), VM: "web_1", Method: "BREW", Path: "/metadata/coffee", Status: 404}, s.Requests()[3])
	})
	list := []int{}
	for i := range 25 {
		list = appendBounded(list, i, 10)
		require.LessOrEqual(t, len(list), 10)
		require.Equal(t, i, list[len(list)-1])
	}
}
