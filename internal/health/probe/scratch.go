package probe

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// scratchName is the file that a write is tried with. It is there only for the
// moment of the write; an agent that is killed in it leaves one, which the next
// write removes.
const scratchName = ".fleet-agent-writable"

// tryWrite writes a few bytes to the disk under a directory: the data and the
// directory's entry, and takes them away again.
func tryWrite(dir string) (err error) {
	name := filepath.Join(dir, scratchName)
	f, err := createScratch(name)
	if err != nil {
		return err
	}
	defer func() {
		// Another check of the same directory may have removed it.
		if removed := os.Remove(name); err == nil && !errors.Is(removed, os.ErrNotExist) {
			err = removed
		}
	}()
	_, err = f.WriteString("fleet-agent writes here to see whether it can\n")
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// createScratch makes the file anew, and follows no link that somebody else may
// have put there.
func createScratch(name string) (f *os.File, err error) {
	for range 3 { // another check of the same directory may come in between
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return nil, err
}
