package agent

import (
	"context"
	"errors"
	"fmt"
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
//
// In the sandbox of the package the directory itself cannot be made again: /run is
// read-only there, and the mount that let the agent write went with the directory.
// systemd makes it for every start, so that the agent ends to be started anew: in
// service only, where nothing is lost with the flags. That drains nothing, and probes
// wait in the socket.
type runDirWatch struct {
	dir      string
	socket   *controlListener
	flags    *flags
	accounts *accounts
	logger   *slog.Logger
	// mayRestart reports whether to end the agent is to start it anew, and loses no
	// flag.
	mayRestart func() bool

	problem atomic.Pointer[string] // of the last look; nil: all was there
}

// Run looks until ctx is done. It returns an error when the directory cannot be made
// again by anybody but systemd.
func (w *runDirWatch) Run(ctx context.Context) error {
	looked := time.Time{}
	for {
		if now := time.Now(); looked.IsZero() || now.Sub(looked) >= groupsLook {
			looked = now
			w.accounts.group(adminGroup)
		}
		var err error
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			err = w.look(ctx)
		}()
		select {
		case <-looked:
			if err != nil && w.mayRestart() {
				return fmt.Errorf("make %s again: %w", w.dir, err)
			}
		case <-ctx.Done(): // not waited for longer: the file system may hang
			select {
			case <-looked:
			case <-time.After(flagPatience):
			}
			return nil
		}
		if !sleep(ctx, runDirLook) {
			return nil
		}
	}
}

// look makes again what is not there. The error says that the directory is not.
func (w *runDirWatch) look(ctx context.Context) error {
	gone, err := w.restore(ctx)
	if len(gone) == 0 {
		w.problem.Store(nil)
		return nil
	}
	what := strings.Join(gone, ", ")
	text := fmt.Sprintf("somebody removed %s; it was made again", what)
	if err != nil {
		text = fmt.Sprintf("somebody removed %s, and it cannot be made again: %v; sudo systemctl restart fleet-agent makes it, and drains nothing", what, err)
	}
	old := w.problem.Swap(&text)
	switch {
	case old != nil && *old == text: // it was said
	case err != nil:
		w.logger.Error("run directory was taken away and cannot be made again", "missing", gone, "err", err)
	default:
		w.logger.Warn("run directory was taken away and made again", "missing", gone)
	}
	if isDir(w.dir) {
		return nil
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// restore names what is not there, and why it could not be made again.
func (w *runDirWatch) restore(ctx context.Context) (gone []string, err error) {
	if !isDir(w.dir) {
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
