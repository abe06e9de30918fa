package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

const (
	// firstEntry and lastEntry are between which fleetctl is killed: the rollout has some
	// more than these, of which the number depends on how long things take.
	firstEntry = 2
	lastEntry  = 40
)

// killed is the rollout of act 2 once more, with a journal in Azure Storage, and its runner
// is killed in the middle of it.
func (i *incident) killed(ctx context.Context) (string, error) {
	w, err := i.serving(ctx)
	if err != nil {
		return "", err
	}
	storage, steer, err := i.storage(ctx)
	if err != nil {
		return "", err
	}
	p, err := newProxy(ctx, w.endpoint, storage)
	if err != nil {
		return "", err
	}
	defer p.close()
	w.endpoint = p.address
	foreseen, err := w.plan(ctx, "1.7.0")
	if err != nil {
		return "", err
	}
	random := rand.New(rand.NewPCG(i.seed, 4)) //nolint:gosec // it is to be repeated
	at, late := firstEntry+random.IntN(lastEntry-firstEntry+1), random.IntN(2) == 0
	when := "before it is written"
	if late {
		when = "as soon as it is durable"
	}
	i.Note("The rollout of act 2 again, with its journal in append blobs. Seed %d: SIGKILL at entry %d, %s.", i.seed, at, when)

	w.shown("rollout run 1.7.0 --yes")
	started := make(chan *command, 1)
	p.killAt(at, late, func() {
		c := <-started
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.done
	})
	run, err := w.start(ctx, "rollout", "run", "1.7.0", "--yes")
	if err != nil {
		return "", err
	}
	started <- run
	<-run.done
	status, _ := run.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err := holds(status.Signaled() && status.Signal() == syscall.SIGKILL, "fleetctl was killed at entry %d: %s after %d entries\n%s", at, run.cmd.ProcessState, p.written(), tail(run.errs.String())); err != nil {
		return "", err
	}
	i.Fact("fleetctl is dead, and nobody watches the canary")
	out, err := w.start(ctx, "rollout", "run", "1.7.0", "--yes")
	if err != nil {
		return "", err
	}
	if err := out.wait(3); err != nil {
		return "", err
	}
	if err := holds(strings.Contains(out.errs.String(), fmt.Sprintf("process %d", run.cmd.Process.Pid)), "the other one says who has the lock: %s", out.errs.String()); err != nil {
		return "", err
	}
	i.Fact("another one keeps off while the lease of the dead one lasts, and says whose it is: exit code 3")
	i.Note("A minute passes in the storage account.")
	if err := stage.Ask(ctx, "POST", steer+"/v1/clock", map[string]any{"advance": "1m"}, nil); err != nil {
		return "", err
	}
	w.shown("rollout run 1.7.0 --yes")
	if _, err := w.run(ctx, 5, "rollout", "run", "1.7.0", "--yes"); err != nil {
		return "", err
	}
	v, err := w.show(ctx, "1")
	if err != nil {
		return "", err
	}
	ran, err := w.blast(ctx, &v, &foreseen)
	if err != nil {
		return "", err
	}
	if err := holds(len(ran) == 1, "exactly one member ever had 1.7.0: %v", ran); err != nil {
		return "", err
	}
	if err := w.keptAway(ctx, &v); err != nil {
		return "", err
	}
	if err := w.awaitAll(ctx, map[string]int{east + " 1.6.0": 5, west + " 1.6.0": 10}); err != nil {
		return "", err
	}
	i.Fact("it goes on from the blob to the end of act 2: halted, one member had 1.7.0, all 15 are Healthy on 1.6.0, and 1.7.0 is demoted and marked failed")
	return fmt.Sprintf("killed at entry %d of %d, another fleetctl went on from the blob to the same end, and did nothing twice", at, p.written()), w.nothingTwice(ctx, nameOf(ran[0]))
}

// storage starts a simulator for the journal.
func (i *incident) storage(ctx context.Context) (endpoint, control string, err error) {
	file, ready := filepath.Join(i.stage.Dir, "storage.yaml"), filepath.Join(i.stage.Dir, "storage.json")
	text, err := files.ReadFile("storage.yaml")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err == nil {
		_, err = i.stage.Start("storage", "fleetsim", "arm", "--scenario", file, "--control", "127.0.0.1:0", "--ready-file", ready)
	}
	if err != nil {
		return "", "", err
	}
	return i.addresses(ctx, ready)
}

// nothingTwice asserts by the simulator's own records that both runners together did each
// thing once.
func (w *world) nothingTwice(ctx context.Context, canary string) error {
	disks, err := w.disks(ctx)
	if err != nil {
		return err
	}
	var versions []string
	for _, d := range disks {
		if d.Member == canary {
			versions = append(versions, d.Version)
		}
	}
	if err := holds(len(disks) == 15+2 && slices.Equal(versions, []string{"1.6.0", "1.7.0", "1.6.0"}), "one disk was replaced, and replaced back: %d disks, of the canary %v", len(disks), versions); err != nil {
		return err
	}
	writes, err := w.writes(ctx)
	if err != nil {
		return err
	}
	count := make(map[string]int)
	for _, r := range writes {
		if r.Status < 300 {
			count[r.Method+" "+strings.ToLower(nameOf(r.Path))]++
		}
	}
	for what, want := range map[string]int{
		"POST manualupgrade": 2, // there and back
		"PATCH " + east:      2, // the model, there and back
		"PATCH 1.7.0":        1, // the tag; it was excluded all along
	} {
		if err := holds(count[what] == want, "%s was asked %d times, and not %d: %v", what, count[what], want, count); err != nil {
			return err
		}
	}
	w.i.Fact("nothing was done twice: one disk there and back, one model there and back, one tag, by the simulator's record")
	return nil
}
