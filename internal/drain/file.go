package drain

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
)

// fileSystem is what a journal needs of one: few calls, so that a test can fail
// each of them.
type fileSystem interface {
	// MakeDir makes a directory with mode 0700, and its parents, unless it is
	// there. One that others can write to is refused, and so is, by the calls
	// below, what is no regular file.
	MakeDir(dir string) error
	// ReadFile reads at most limit bytes.
	ReadFile(name string, limit int64) ([]byte, error)
	// Append opens a file for appending and makes it, with mode 0600, unless it
	// is there.
	Append(name string) (file, error)
	// Create makes an empty file with mode 0600, in the place of any other.
	Create(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes durable which files a directory has.
	SyncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Sync() error
	// Gone reports whether the name of the file leads to another one now, or
	// nowhere, or the file has less than size bytes.
	Gone(size int64) (bool, error)
}

type osFile struct{ *os.File }

func (f osFile) Gone(size int64) (bool, error) {
	there, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	here, err := f.Stat()
	return err == nil && (!os.SameFile(here, there) || here.Size() < size), err
}

func open(name string, flags int) (file, error) {
	f, err := safefile.OpenRegular(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// osFiles is the file system of the machine.
type osFiles struct{}

func (osFiles) MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return safefile.CheckDir(dir)
}

func (osFiles) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := safefile.OpenRegular(filepath.Clean(name), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (osFiles) Append(name string) (file, error) {
	return open(name, os.O_APPEND)
}

func (osFiles) Create(name string) (file, error) {
	return open(name, os.O_TRUNC)
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) Remove(name string) error { return os.Remove(name) }

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
