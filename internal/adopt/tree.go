package adopt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	maxFile  = 256 << 10  // of a unit file or drop-in
	maxHops  = 16         // of links that lead to links
	tempMark = ".#fleet-" // what begins so is no unit's name, and systemd passes it over
)

// tree is a directory that stands for "/". The paths of its methods are absolute
// and mean what they mean to the system in the tree: an absolute link does not
// lead out of it.
type tree string

// resolve returns where a path is outside the tree, with every link followed;
// the last part is followed only if asked for. What is not there stays as it is.
func (t tree) resolve(p string, last bool) (string, error) {
	done, hops := "/", 0
	rest := strings.Split(p, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		next := path.Join(done, part) // cleans "", "." and ".."
		if part == ".." || len(rest) == 0 && !last {
			done = next
			continue
		}
		target, err := os.Readlink(filepath.Join(string(t), next))
		if err != nil { // no link, or nothing
			done = next
			continue
		}
		if hops++; hops > maxHops {
			return "", fmt.Errorf("follow %s: too many links", p)
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(string(t), done), nil
}

func (t tree) exists(p string) bool {
	at, err := t.resolve(p, false)
	if err == nil {
		_, err = os.Lstat(at)
	}
	return err == nil
}

// readLink returns where a link leads, as an absolute path, and "" for what is
// no link.
func (t tree) readLink(p string) (string, error) {
	at, err := t.resolve(p, false)
	if err != nil {
		return "", err
	}
	target, err := os.Readlink(at)
	if errors.Is(err, syscall.EINVAL) { // readlink(2): not a link
		return "", nil
	}
	if err == nil && !path.IsAbs(target) {
		target = path.Join(path.Dir(p), target)
	}
	return target, err
}

// readFile reads a file. /dev/null reads as empty, there or not.
func (t tree) readFile(p string) (string, error) {
	at, err := t.resolve(p, true)
	if err != nil || at == filepath.Join(string(t), os.DevNull) {
		return "", err
	}
	f, err := os.OpenFile(at, os.O_RDONLY|syscall.O_NONBLOCK, 0) // the open of a pipe would wait
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("read %s: larger than %d bytes", p, maxFile)
	}
	return string(text), err
}

// readDir returns the sorted names in a directory, none when it is not there.
func (t tree) readDir(p string) ([]string, error) {
	at, err := t.resolve(p, true)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// writeFile puts a file in the place of another, whole or not at all.
func (t tree) writeFile(p, text string) error {
	return t.replace(p, func(temp string) error {
		f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		if err == nil {
			err = f.Chmod(0o644) // whatever the umask
		}
		if err == nil {
			err = f.Sync()
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}

// link puts a link in the place of another, and says whether it had to.
func (t tree) link(target, p string) (bool, error) {
	old, err := t.readLink(p)
	switch {
	case err == nil && old == target:
		return false, nil
	case err == nil && old == "":
		return false, fmt.Errorf("%s is there and is no link", p)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	return true, t.replace(p, func(temp string) error { return os.Symlink(target, temp) })
}

// replace renames what a function creates to p, and makes p's directory.
func (t tree) replace(p string, create func(temp string) error) error {
	dir, err := t.resolve(path.Dir(p), true)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp := filepath.Join(dir, tempMark+path.Base(p))
	_ = os.Remove(temp) // left by one that was interrupted
	err = create(temp)
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, path.Base(p)))
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(dir)
}

// remove removes a file or a link, and its directory if that is empty then. It
// says whether the file was there.
func (t tree) remove(p string) (bool, error) {
	at, err := t.resolve(p, false)
	if err == nil {
		err = os.Remove(at)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	dir := filepath.Dir(at)
	if os.Remove(dir) == nil { // fails unless it is empty
		dir = filepath.Dir(dir)
	}
	return true, syncDir(dir)
}

// syncDir makes durable which files a directory has.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
