package agent

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// killHard ends the agent as SIGKILL does, as far as its files go: the journal is
// put back as it was.
func (w *world) killHard(journal []byte) {
	w.t.Helper()
	w.kill()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.conf.StateDir, "journal"), journal, 0o600))
}

func (w *world) journalFile() []byte {
	w.t.Helper()
	require.NoError(w.t, w.agent.journal.Durable())
	data, err := os.ReadFile(filepath.Join(w.conf.StateDir, "journal"))
	require.NoError(w.t, err)
	return data
}

// TestKilledBeforeAnythingWasDurable: the flag alone tells the next agent of the
// drain, and the cause decides what becomes of it.
func TestKilledBeforeAnythingWasDurable(t *testing.T) {
	lost := func(t *testing.T, w *world, drained func()) {
		t.Helper()
		w.serving()
		before := w.journalFile()
		drained()
		w.killHard(before)
		w.start()
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
	}
	t.Run("an operator's", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			lost(t, w, func() {
				w.drain()
				w.awaitState(control.StateDrained, 30*time.Second)
			})
			w.pass(time.Minute)
			require.Equal(t, control.StateDrained, w.status().State, "steps without a durable end run again")
			require.Equal(t, "operator", w.status().Drain.Cause.Kind)
			w.undrain()
			w.awaitState(control.StateServing, 10*time.Second)
			_, _, undone := w.steps[0].counts()
			require.Equal(t, 1, undone)
		})
	})
	t.Run("an event that still stands is drained for and acked again", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			var id string
			lost(t, w, func() {
				id = w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
				w.awaitState(control.StateDraining, 5*time.Second)
				w.pass(2500 * time.Millisecond)
			})
			w.awaitState(control.StateDrained, 30*time.Second)
			w.pass(3 * time.Second)
			require.Equal(t, 1, w.accepted(id))
		})
	})
	t.Run("an event that is gone", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			lost(t, w, func() {
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				w.awaitState(control.StateDraining, 5*time.Second)
				w.pass(3 * time.Second)
				require.NoError(t, w.sim.Cancel(id))
			})
			w.awaitState(control.StateServing, 20*time.Second)
			_, _, undone := w.steps[0].counts()
			require.Equal(t, 1, undone, "what the lost drain had stopped is started")
		})
	})
	t.Run("an operator who joined a drain that is durable", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.serving()
			id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
			w.awaitState(control.StateDrained, 30*time.Second)
			before := w.journalFile()
			w.drain()
			w.pass(time.Second)
			w.killHard(before)
			w.start()
			require.NoError(t, w.sim.Complete(id))
			w.pass(20 * time.Second)
			require.Equal(t, control.StateDrained, w.status().State)
		})
	})
	t.Run("a reboot forgets the flag", func(t *testing.T) {
		inWorld(t, func(_ *testing.T, w *world) {
			w.serving()
			before := w.journalFile()
			w.drain()
			w.awaitState(control.StateDrained, 30*time.Second)
			w.killHard(before)
			w.boot = "boot-2" // and the flag is still there
			w.start()
			w.awaitState(control.StateServing, 10*time.Second)
		})
	})
}

// TestMaintenanceOutlivesAJournalThatCannotBeRead by its flag.
func TestMaintenanceOutlivesAJournalThatCannotBeRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 600})
		require.NoError(t, err)
		w.kill()
		journal := filepath.Join(w.conf.StateDir, "journal")
		require.NoError(t, os.Rename(journal, journal+".away"))
		require.NoError(t, os.Mkdir(journal, 0o700))
		w.start()
		w.pass(time.Minute)
		require.Equal(t, control.StateMaintenance, w.status().State)
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		require.NoError(t, os.Remove(journal))
		require.NoError(t, os.Rename(journal+".away", journal))
		w.agent.journal.Note(drain.Entry{Kind: drain.BootSeen}) // any entry makes it look again
		w.pass(time.Second)
		require.True(t, w.agent.journal.Opened())
		w.pass(10 * time.Minute)
		require.Equal(t, control.StateServing, w.status().State, "its time is over")
	})
}

// TestADrainThatUndoesItself when its time is over, also over a restart; whoever
// asks again says anew for how long.
func TestADrainThatUndoesItself(t *testing.T) {
	ask := func(w *world, seconds float64) control.Accepted {
		w.t.Helper()
		a, err := w.ops().Drain(w.t.Context(), root, control.DrainRequest{ForSeconds: seconds})
		require.NoError(w.t, err)
		return a
	}
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.Contains(t, ask(w, 60).Message, "drain begun; it undoes itself at 2000-01-01T00:01:0")
		w.pass(30 * time.Second)
		w.restart()
		w.pass(20 * time.Second)
		require.Equal(t, control.StateDrained, w.status().State)
		require.Contains(t, w.status().Reason, ", until 00:01:0")
		ask(w, 60)
		w.pass(55 * time.Second)
		require.Equal(t, control.StateDrained, w.status().State)
		w.awaitState(control.StateServing, 10*time.Second)
		require.Equal(t, "the time that it was asked for is over", w.agent.journal.History()[0].UndrainReason)

		ask(w, 60)
		ask(w, 0)
		w.pass(time.Hour)
		require.Equal(t, control.StateDrained, w.status().State, "the last word counts")
		w.undrain()
		w.awaitState(control.StateServing, 10*time.Second)
		_, err := w.ops().Drain(t.Context(), root, control.DrainRequest{ForSeconds: 1e7})
		require.ErrorContains(t, err, "for_seconds")
	})
}

// TestAnOperatorIsToldWhatIsNotOnDisk, for each thing that is to last.
func TestAnOperatorIsToldWhatIsNotOnDisk(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, os.RemoveAll(w.conf.StateDir))
		require.NoError(t, os.WriteFile(w.conf.StateDir, nil, 0o600)) // a file in its place
		const told = "; it is not on disk yet, and a crash of the machine would forget it: "
		drained, err := w.ops().Drain(t.Context(), root, control.DrainRequest{})
		require.NoError(t, err)
		require.Contains(t, drained.Message, "drain begun"+told)
		w.awaitState(control.StateDrained, 30*time.Second)
		maintained, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 60})
		require.NoError(t, err)
		require.Contains(t, maintained.Message, told)
		require.NoError(t, os.Remove(w.conf.StateDir))
		w.undrain()
		again, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{})
		require.NoError(t, err)
		require.NotContains(t, again.Message, told)
	})
}

// TestRunDirHangsAtTheStart for a moment: there is no flag, and so nothing that keeps
// the node out of service, or says so.
func TestRunDirHangsAtTheStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.prepare = func(a *Agent) { a.gate.flags.working, a.gate.flags.behind = true, true } // with what does not end
		w.start()
		w.pass(time.Second)
		go w.agent.gate.flags.work() // it answers again
		w.awaitState(control.StateServing, 5*time.Second)
		require.Equal(t, http.StatusOK, w.code("/readyz"))
	})
}
