package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// runDirLook is how often the run directory is looked at.
	runDirLook = time.Second
	// groupsLook is how often the group of the administrators is looked up, for who
	// may take the connections that are kept for them.
	groupsLook = 10 * time.Second
)

// A runDirWatch notices when somebody takes away the run directory, or the control
// socket or a flag in it, under the running agent: makes them again, and says so.
type runDirWatch struct {
	dir      string
	socket   *controlListener
	flags    *flags
	accounts *accounts
	logger   *slog.Logger

	problem atomic.Pointer[string] // of the last look; nil: all was there
}

// Run looks until ctx is done.
func (w *runDirWatch) Run(ctx context.Context) error {
	looked := time.Time{}
	for {
		if now := time.Now(); looked.IsZero() || now.Sub(looked) >= groupsLook {
			looked = now
			w.accounts.group(adminGroup)
		}
		w.look(ctx)
		if !sleep(ctx, runDirLook) {
			return nil
		}
	}
}

// look makes again what is not there.
func (w *runDirWatch) look(ctx context.Context) {
	gone, err := w.restore(ctx)
	if len(gone) == 0 {
		w.problem.Store(nil)
		return
	}
	what := strings.Join(gone, ", ")
	text := fmt.Sprintf("somebody removed %s; it was made again", what)
	if err != nil {
		text = fmt.Sprintf("somebody removed %s, and it cannot be made again: %v; sudo systemctl restart fleet-agent makes it, and drains nothing", what, err)
	}
	if old := w.problem.Swap(&text); old != nil && *old == text {
		return // it was said
	}
	if err != nil {
		w.logger.Error("run directory was taken away and cannot be made again", "missing", gone, "err", err)
		return
	}
	w.logger.Warn("run directory was taken away and made again", "missing", gone)
}

// restore names what is not there, and why it could not be made again.
func (w *runDirWatch) restore(ctx context.Context) (gone []string, err error) {
	if _, statErr := os.Stat(w.dir); errors.Is(statErr, fs.ErrNotExist) {
		gone = append(gone, w.dir)
		if err := makeRunDir(w.dir); err != nil {
			return gone, err
		}
	}
	if !w.socket.isThere() {
		gone = append(gone, w.socket.path)
		err = w.socket.renew(ctx)
	}
	if missing := w.flags.missing(); len(missing) > 0 {
		gone = append(gone, missing...)
		err = errors.Join(err, w.flags.restore())
	}
	return gone, err
}

// makeRunDir makes the directory as systemd would, whatever the umask.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// warning says what was not there at the last look, or "".
func (w *runDirWatch) warning() string {
	if problem := w.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}
