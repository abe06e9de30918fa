package drain

import (
	"io"
	"os"
	"path/filepath"
)

// fileSystem is what a journal needs of one: few calls, so that a test can fail
// each of them.
type fileSystem interface {
	// MakeDir makes a directory with mode 0700, and its parents, unless it is
	// there.
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
}

// osFiles is the file system of the machine.
type osFiles struct{}

func (osFiles) MakeDir(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFiles) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (osFiles) Append(name string) (file, error) {
	return os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

func (osFiles) Create(name string) (file, error) {
	return os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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
