package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// A refusal is a file that may not be used as it is, and the command that mends
// it.
type refusal struct{ why, run string }

func (r *refusal) Error() string { return r.why }

// readFile reads a file that nobody but root, this process's user and the owners
// can change. Of a symbolic link, what counts is the file that it leads to. Who
// can write to the directory is not asked: they can take files away, and link to
// another file of root's, but a text of their own is theirs, and refused.
func readFile(path string, owners []int) ([]byte, error) {
	// Without O_NONBLOCK the open of a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if err := trusted(path, info, owners); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("is larger than %d bytes", maxFileSize)
	}
	return data, nil
}

// trusted returns a refusal when somebody other than root, this process's user
// and the owners can write to the file.
func trusted(path string, info fs.FileInfo, owners []int) error {
	const danger = ", who could make the agent run any command"
	uid := os.Geteuid()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != uid && !slices.Contains(owners, int(stat.Uid)) {
		return &refusal{
			fmt.Sprintf("belongs to uid %d%s", stat.Uid, danger),
			"chown " + strconv.Itoa(uid) + " " + path,
		}
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return &refusal{
			fmt.Sprintf("can be written by others (mode %04o)%s", mode, danger),
			"chmod go-w " + path,
		}
	}
	return nil
}
