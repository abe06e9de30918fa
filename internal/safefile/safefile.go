// Package safefile answers: is what stands at this path what the agent would
// have put there?
//
// A pipe in the place of a file blocks whoever opens it, a link leads a write
// elsewhere, and in a directory of somebody else's nothing is what it was a
// moment ago. Each is refused, by name and with the command that mends it; none
// is waited for. The package starts no goroutines, and its functions are safe for
// concurrent use.
package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// A RefusedError says that something may not be used as it is.
type RefusedError struct {
	Path string
	Why  string // goes on after the path: "is a named pipe, …"
	Run  string // the command that mends it
}

// Error names the path, says why, and what to do.
func (r *RefusedError) Error() string { return r.Path + " " + r.Why + "; run: " + r.Run }

// OpenRegular is os.OpenFile for a name that is a regular file, or may be made
// one. A pipe, a socket, a device, a directory and a symbolic link, wherever it
// leads, are a *RefusedError; none is waited for. Who can write to the file is not
// asked: ask [CheckDir] about the directory.
func OpenRegular(name string, flags int, perm fs.FileMode) (*os.File, error) {
	// The open of a pipe would wait for its other end, and that of a terminal
	// would make it ours.
	f, err := os.OpenFile(name, flags|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, perm)
	if err != nil {
		// What is there says more than the ELOOP, ENXIO or EISDIR that it causes.
		if info, statErr := os.Lstat(name); statErr == nil && !info.Mode().IsRegular() {
			return nil, odd(name, info.Mode())
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = odd(name, info.Mode())
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// CheckDir returns a *RefusedError unless dir is a directory in which only root and
// this process's user can make, rename and remove files. Of a symbolic link of
// root's or of this user's, what counts is the directory that it leads to. A
// sticky directory, as /tmp is one, is refused too: others can make files in it.
// A directory that is not there is an fs.ErrNotExist.
func CheckDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if r := foreign(dir, info, nil); r != nil {
			r.Why, r.Run = "is a symbolic link that "+r.Why, "rm "+dir
			return r
		}
		if info, err = os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return &RefusedError{dir, "is a symbolic link to nowhere", "rm " + dir}
		} else if err != nil {
			return err
		}
	}
	if !info.IsDir() {
		return &RefusedError{dir, "is " + kind(info.Mode()) + ", not a directory", "rm " + dir}
	}
	return Trusted(dir, info)
}

// Trusted returns a *RefusedError when somebody other than root, this process's user
// and the owners, which are uids, can write to what stands at path.
func Trusted(path string, info fs.FileInfo, owners ...int) error {
	if r := foreign(path, info, owners); r != nil {
		return r
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return &RefusedError{path, fmt.Sprintf("can be written by others (mode %04o)", mode), "chmod go-w " + path}
	}
	return nil
}

func foreign(path string, info fs.FileInfo, owners []int) *RefusedError {
	us := os.Geteuid()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 || int(stat.Uid) == us || slices.Contains(owners, int(stat.Uid)) {
		return nil
	}
	return &RefusedError{path, fmt.Sprintf("belongs to uid %d", stat.Uid), "chown " + strconv.Itoa(us) + " " + path}
}

// odd refuses what is no regular file.
func odd(name string, mode fs.FileMode) *RefusedError {
	r := &RefusedError{name, "is " + kind(mode) + ", not a regular file", "rm " + name}
	if mode.IsDir() {
		r.Run = "mv " + name + " " + name + ".old" // there may be something in it
	}
	return r
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "a device"
	default:
		return "something unknown"
	}
}
