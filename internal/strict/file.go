package strict

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFileSize bounds a file, in bytes.
const maxFileSize = 1 << 20

// ReadFile reads a regular file of at most 1 MiB. Of a symbolic link, what counts is
// the file that it leads to. With trusted, which may be nil, a caller refuses a file
// for what it is.
func ReadFile(path string, trusted func(fs.FileInfo) error) ([]byte, error) {
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
	if trusted != nil {
		if err := trusted(info); err != nil {
			return nil, err
		}
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

// FileError makes an Error of one that is about a whole file.
func FileError(file string, err error) *Error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", pe.Op, pe.Err) // the path is told already
	}
	return &Error{File: file, Message: err.Error()}
}
