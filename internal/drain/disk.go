package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
)

const (
	journalName = "journal"
	scratchName = "journal.new"
	// maxRead bounds how much of a file is read; a journal is far smaller.
	maxRead = 64 << 20
	// compactAbove is the size of the file, in bytes, above which what no
	// longer matters is dropped from it.
	compactAbove = 256 << 10
)

// fileState says whether the file can stay as it is.
type fileState int

const (
	keepFile    fileState = iota
	mayReplace            // it is torn, or long
	mustReplace           // it is gone, or what it holds is not known
)

// A disk is the file of a journal. Every call may block for as long as the disk
// does. It is not safe for concurrent use.
type disk struct {
	dir, path string
	files     fileSystem
	log       *slog.Logger

	file    file  // nil: not open
	lost    bool  // what the file holds is not known
	torn    bool  // it has lines that are not whole, perhaps the last
	reopen  bool  // the descriptor is not to be written to any more
	syncDir bool  // the directory must be synced
	size    int64 // in bytes
	limit   int64 // above which it is worth replacing
}

func newDisk(dir string, files fileSystem, log *slog.Logger) *disk {
	return &disk{dir: dir, path: filepath.Join(dir, journalName), files: files, log: log, limit: compactAbove}
}

// load reads the entries of the file.
func (d *disk) load() (replay, error) {
	if err := d.files.MakeDir(d.dir); err != nil {
		return replay{}, fmt.Errorf("make the directory: %w", err)
	}
	data, err := d.files.ReadFile(d.path, maxRead)
	if errors.Is(err, fs.ErrNotExist) {
		return replay{}, nil
	}
	if err != nil {
		return replay{}, fmt.Errorf("read: %w", err)
	}
	r := parse(data)
	if r.bad > 0 {
		d.log.Warn("journal lines skipped that are not whole", "path", d.path,
			"lines", r.bad, "first_line", r.firstBad, "err", r.firstError)
	}
	d.size, d.torn = int64(len(data)), r.torn || r.bad > 0
	return r, nil
}

// ready opens the file for appending, unless it is open and still there, and says
// what is to be done with it.
func (d *disk) ready() (fileState, error) {
	if d.file != nil {
		gone, err := d.file.Gone(d.size)
		if err != nil {
			return keepFile, d.failed("look whether it is still there", err)
		}
		if gone && !d.lost {
			d.log.Warn("journal is gone, writing it anew", "path", d.path)
			d.lost = true
		}
		if gone || d.reopen {
			_ = d.close() // what was written to it and is missing is written again
		}
	}
	if d.file == nil {
		if err := d.open(); err != nil {
			return keepFile, err
		}
	}
	switch {
	case d.lost:
		return mustReplace, nil
	case d.torn || d.size > d.limit:
		return mayReplace, nil
	default:
		return keepFile, nil
	}
}

func (d *disk) open() error {
	if err := d.files.MakeDir(d.dir); err != nil {
		return d.failed("make the directory", err)
	}
	f, err := d.files.Append(d.path)
	if err != nil {
		return d.failed("open", err)
	}
	d.file = f
	d.syncDir = true // the file may be new
	return nil
}

// add appends entries and makes them durable.
func (d *disk) add(entries []Entry) error {
	var buf []byte
	if d.torn {
		buf = append(buf, '\n')
	}
	buf, err := encodeAll(buf, entries)
	if err != nil {
		return err
	}
	n, err := d.file.Write(buf)
	d.size += int64(n)
	if err != nil {
		return d.failed("write", err)
	}
	if err := d.file.Sync(); err != nil {
		return d.failed("sync", err)
	}
	d.torn = false
	if d.syncDir {
		if err := d.files.SyncDir(d.dir); err != nil {
			return d.failed("sync the directory", err)
		}
		d.syncDir = false
	}
	return nil
}

// replace puts a file with these entries in the place of the one that is there,
// which stays until the new one is durable.
func (d *disk) replace(entries []Entry) error {
	buf, err := encodeAll(nil, entries)
	if err != nil {
		return err
	}
	scratch := filepath.Join(d.dir, scratchName)
	if err := d.swap(scratch, buf); err != nil {
		_ = d.files.Remove(scratch) // the next attempt truncates it anyway
		return d.failed("compact", err)
	}
	// From here the path may name either file after a crash, and the open
	// descriptor is of the old one: nothing is durable until the directory is.
	d.lost = true
	_ = d.close() // nothing was written to it that is missing in the new one
	if err := d.files.SyncDir(d.dir); err != nil {
		return d.failed("compact: sync the directory", err)
	}
	d.size = int64(len(buf))
	d.limit = max(compactAbove, 2*d.size) // what is left matters: do not try again at once
	if err := d.open(); err != nil {
		return err
	}
	d.lost, d.torn, d.syncDir = false, false, false
	return nil
}

// swap writes the scratch file and puts it in the place of the journal.
func (d *disk) swap(scratch string, data []byte) error {
	f, err := d.files.Create(scratch)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return d.files.Rename(scratch, d.path)
}

// failed takes note of an error: what the file now ends in is not known, and what
// was written may be lost. The next write begins on a new line, with a new
// descriptor; the old one stays open until then, to tell whether it is still the
// same file.
func (d *disk) failed(doing string, err error) error {
	d.torn, d.reopen = true, true
	return fmt.Errorf("%s: %w", doing, err)
}

func (d *disk) close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file, d.reopen = nil, false
	return err
}

func encodeAll(buf []byte, entries []Entry) ([]byte, error) {
	var err error
	for _, e := range entries {
		if buf, err = encode(buf, e); err != nil {
			return nil, err
		}
	}
	return buf, nil
}
