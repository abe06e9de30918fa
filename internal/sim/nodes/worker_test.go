package nodes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A fake is a machine that does as it is told, and remembers it.
type fake struct {
	log *journal
	arm.Machine

	startErr error
	answer   Answer
	hangs    bool // scripts run until their time is over

	mu   sync.Mutex
	acks bool
	told []string
}

type journal struct {
	mu   sync.Mutex
	list []string
	made []*fake
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, line)
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := j.list
	j.list = nil
	return list
}

func (j *journal) last() *fake {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.made[len(j.made)-1]
}

func (f *fake) Start(context.Context) error {
	f.log.note("start " + f.Version)
	return f.startErr
}

func (f *fake) Stop(context.Context) error {
	f.log.note("stop " + f.Version)
	return nil
}

func (f *fake) Run(ctx context.Context, script string) (Output, error) {
	f.log.note("run " + script)
	if f.hangs {
		<-ctx.Done()
		return Output{}, ctx.Err()
	}
	return Output{Stdout: "out\n", Stderr: "err\n"}, nil
}

func (f *fake) Probe(context.Context, arm.HealthExtension) (Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answer, nil
}

func (f *fake) Tell(event arm.MachineEvent, notice time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.told, event.ID) {
		f.told = append(f.told, event.ID)
		f.log.note("told " + event.Type + " " + notice.Round(time.Second).String())
	}
}

func (f *fake) Acked(string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acks
}

// with runs a world whose machines are fakes, in virtual time.
func with(t *testing.T, factor float64, change func(*fake), story func(w *world, log *journal)) {
	synctest.Test(t, func(t *testing.T) {
		w, log := newWorld(t, factor), &journal{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Run(ctx, Config{Control: w.server, Make: func(m arm.Machine) Machine {
				f := &fake{log: log, Machine: m, answer: Answer{Status: 200, Body: []byte(`{"ApplicationHealthState":"Healthy"}`)}}
				if change != nil {
					change(f)
				}
				log.mu.Lock()
				defer log.mu.Unlock()
				log.made = append(log.made, f)
				return f
			}})
		}()
		story(w, log)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestMachinesFollow(t *testing.T) {
	with(t, 1, nil, func(w *world, log *journal) {
		w.put(2, "1.7.1", "8080", false)
		time.Sleep(29 * time.Second)
		require.Empty(t, log.take(), "they do not run yet")
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"start 1.7.1", "start 1.7.1"}, log.take())
		require.Equal(t, "healthy healthy", w.health())
		f := log.last()
		f.mu.Lock()
		f.answer.Status = 503
		f.mu.Unlock()
		time.Sleep(5 * time.Second)
		require.Contains(t, w.health(), "unknown")

		w.do("POST", f.ID+"/deallocate", "")
		time.Sleep(time.Second)
		require.Equal(t, []string{"stop 1.7.1"}, log.take())
		time.Sleep(time.Minute)
		w.do("POST", f.ID+"/start", "")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"start 1.7.1"}, log.take())
		require.Equal(t, "healthy healthy", w.health())

		w.do("PATCH", aSet, `{"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"`+compute+`galleries/galProd/images/ubuntu-app/versions/1.7.0"}}}}}`)
		w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+f.Name+`"]}`)
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"stop 1.7.1", "start 1.7.0"}, log.take(), "one after the other")
		w.do("DELETE", aSet, "")
		time.Sleep(time.Minute)
		require.ElementsMatch(t, []string{"stop 1.7.0", "stop 1.7.1"}, log.take())
	})
}

func TestMachinesEndWithTheWorker(t *testing.T) {
	var log *journal
	with(t, 60, nil, func(w *world, l *journal) {
		log = l
		w.put(1, "1.7.1", "8080", false)
		time.Sleep(2 * time.Second)
		require.Equal(t, "healthy", w.health(), "a minute passes in a second")
	})
	require.Equal(t, []string{"start 1.7.1", "stop 1.7.1"}, log.take())
}

func TestMachineThatDoesNotStart(t *testing.T) {
	with(t, 1, func(f *fake) { f.startErr = errors.New("no such image") }, func(w *world, log *journal) {
		w.put(1, "1.7.1", "8080", false)
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"start 1.7.1"}, log.take(), "once")
		require.Equal(t, "initializing", w.health(), "nobody says how it is")
	})
}

func TestEventAndAck(t *testing.T) {
	with(t, 10, nil, func(w *world, log *journal) {
		w.put(1, "1.7.1", "8080", true)
		time.Sleep(10 * time.Second)
		log.take()
		f := log.last()
		w.do("POST", f.ID+"/simulateEviction", "")
		time.Sleep(time.Second)
		require.Equal(t, []string{"told Preempt 3s"}, log.take(), "30 s of the simulation")
		f.mu.Lock()
		f.acks = true
		f.mu.Unlock()
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, "deallocated", w.health(), "before the notice is over")
		require.Equal(t, []string{"stop 1.7.1"}, log.take())
	})
}

func TestScripts(t *testing.T) {
	status := func(w *world, op string) string { return at(w.do("GET", op, ""), "status") }
	with(t, 1, nil, func(w *world, log *journal) {
		w.put(1, "1.7.1", "8080", false)
		time.Sleep(time.Minute)
		log.take()
		op := at(w.do("POST", log.last().ID+"/runCommand", `{"commandId":"RunShellScript","script":["true"]}`), "operation")
		time.Sleep(time.Second)
		require.Equal(t, []string{"run true\n"}, log.take(), "once")
		require.Equal(t, "InProgress", status(w, op))
		time.Sleep(20 * time.Second)
		require.Equal(t, "Succeeded", status(w, op))
		require.Empty(t, log.take())
	})
	with(t, 1, func(f *fake) { f.hangs = true }, func(w *world, log *journal) {
		w.put(1, "1.7.1", "8080", false)
		time.Sleep(time.Minute)
		op := at(w.do("POST", log.last().ID+"/runCommand", `{"commandId":"RunShellScript","script":["sleep 1d"]}`), "operation")
		time.Sleep(time.Minute)
		w.do("POST", log.last().ID+"/deallocate", "")
		time.Sleep(time.Minute)
		require.Equal(t, "Failed", status(w, op), "its machine has ended")
	})
}
