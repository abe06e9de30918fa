package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// tarball packs a command for machines without dpkg: the binary, its licences, manual
// pages and completions, in a directory of its own. It has the same bytes each time.
func tarball(dir, binary string, s *stage, date time.Time) ([]byte, error) {
	files := map[string]string{ // in the archive, and where it comes from
		filepath.Base(binary): binary,
		"LICENSE":             "LICENSE",
		"notices.gz":          filepath.Join(s.dir, "notices.gz"),
	}
	for pattern, to := range map[string]string{"man/*.1.gz": "man/man1", "completion/*": "completion"} {
		found, err := filepath.Glob(filepath.Join(s.dir, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("there is no %s", pattern)
		}
		for _, file := range found {
			files[path.Join(to, filepath.Base(file))] = file
		}
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)

	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zip)
	for _, name := range names {
		data, err := os.ReadFile(files[name])
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(dir, name), Size: int64(len(data)), Mode: 0o644, ModTime: date, Format: tar.FormatUSTAR}
		if files[name] == binary {
			header.Mode = 0o755
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
