package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/manual"
)

// packagingDir has what is not generated: nfpm configurations, units, scripts.
const packagingDir = "packaging/deb"

// A build is one run of the program.
type build struct {
	bin, dist, nfpm string
	version         string // of the packages, without the revision
	date            time.Time
	arches, names   []string
}

// A stage is the directory of the generated parts of one package.
type stage struct {
	dir     string
	edition manual.Edition
}

func (s *stage) write(name string, data []byte) error {
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// run builds every package for every architecture.
func (b *build) run(ctx context.Context) error {
	stages := filepath.Join(b.dist, "stage")
	if err := os.RemoveAll(stages); err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, name := range b.names {
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
		if i < 0 {
			return fmt.Errorf("%s is built, but internal/packaging has no description of it", name)
		}
		c := commands[i]
		if err := b.removeOld(c.name); err != nil {
			return err
		}
		s := &stage{
			dir:     filepath.Join(stages, c.name),
			edition: manual.Edition{Project: c.name, Version: b.version, Date: b.date},
		}
		if err := b.prepare(ctx, c, s); err != nil {
			return fmt.Errorf("prepare %s: %w", c.name, err)
		}
		for _, arch := range b.arches {
			if err := b.pack(ctx, c, s, arch, &sums); err != nil {
				return fmt.Errorf("package %s for %s: %w", c.name, arch, err)
			}
		}
	}
	if err := os.RemoveAll(stages); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dist, "SHA256SUMS"), sums.Bytes(), 0o644)
}

// removeOld removes what earlier builds left of a package, so that dist has one
// version of it.
func (b *build) removeOld(name string) error {
	old, err := filepath.Glob(filepath.Join(b.dist, name+"_*"))
	for _, file := range old {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// prepare makes the parts of a package that are the same on every architecture.
func (b *build) prepare(ctx context.Context, c command, s *stage) error {
	if err := b.generateDocs(ctx, c.name, s.dir); err != nil {
		return err
	}
	markdown, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	changelog, err := debianChangelog(string(markdown), c.name, b.version, b.date)
	if err != nil {
		return err
	}
	if err := s.write("changelog.Debian", []byte(changelog)); err != nil {
		return err
	}
	if c.parts != nil {
		if err := c.parts(s); err != nil {
			return err
		}
	}
	// Policy 12.1 and 12.3: pages and changelogs are compressed.
	for _, pattern := range []string{manual.ManDir + "/*.[15]", "*.[15]", "changelog.Debian"} {
		files, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := compress(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// generateDocs runs the command's sources with main of gendocs.go in the place
// of its own, which writes pages and completions into dir.
func (b *build) generateDocs(ctx context.Context, name, dir string) error {
	folder := "./cmd/" + name
	list := exec.CommandContext(ctx, "go", "list", "-tags", "gendocs", "-f", `{{join .GoFiles "\n"}}`, folder)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the sources: %w", err)
	}
	args := []string{"run", "-tags", "gendocs"}
	for file := range strings.FieldsSeq(string(out)) {
		if file != "main.go" {
			args = append(args, folder+"/"+file)
		}
	}
	args = append(args, dir, b.version, strconv.FormatInt(b.date.Unix(), 10))
	generate := exec.CommandContext(ctx, "go", args...)
	generate.Stderr = os.Stderr
	if err := generate.Run(); err != nil {
		return fmt.Errorf("generate the manual: %w", err)
	}
	return nil
}

// pack builds a package and its bill of materials, and adds their sums.
func (b *build) pack(ctx context.Context, c command, s *stage, arch string, sums *bytes.Buffer) error {
	binary := filepath.Join(b.bin, arch, c.name)
	image, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("read what %s was built from: %w", binary, err)
	}
	if built := setting(info, "GOARCH"); built != arch {
		return fmt.Errorf("%s was built for %s", binary, built)
	}
	notices, err := notices(ctx, info)
	if err != nil {
		return err
	}
	if err := s.write("notices", notices); err != nil {
		return err
	}
	if err := compress(filepath.Join(s.dir, "notices")); err != nil {
		return err
	}

	stem := filepath.Join(b.dist, fmt.Sprintf("%s_%s-1_%s", c.name, b.version, arch))
	cmd := exec.CommandContext(ctx, b.nfpm, "package", "--packager", "deb", "--config", filepath.Join(packagingDir, c.config), "--target", stem+".deb")
	cmd.Env = append(os.Environ(),
		"SOURCE_DATE_EPOCH="+strconv.FormatInt(b.date.Unix(), 10),
		"NAME="+c.name, "DESCRIPTION="+c.description, "MAINTAINER="+maintainer,
		"VERSION="+b.version, "ARCH="+arch, "BINARY="+binary, "STAGE="+s.dir,
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run nfpm: %w\n%s", err, out)
	}

	deb, err := os.ReadFile(stem + ".deb")
	if err != nil {
		return err
	}
	contents, err := billOfMaterials(shipped{
		name: c.name, version: b.version + "-1", arch: arch, date: b.date, deb: deb, binary: image, info: info,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(stem+".cdx.json", contents, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(sums, "%x  %s\n%x  %s\n", sha256.Sum256(deb), filepath.Base(stem+".deb"),
		sha256.Sum256(contents), filepath.Base(stem+".cdx.json"))
	fmt.Printf("%s.deb %.1f MB\n", stem, float64(len(deb))/1e6)
	if !c.tarball {
		return nil
	}
	name := fmt.Sprintf("%s_%s_linux_%s", c.name, b.version, arch)
	archive, err := tarball(name, binary, s, b.date)
	if err != nil {
		return fmt.Errorf("make the archive: %w", err)
	}
	fmt.Fprintf(sums, "%x  %s\n", sha256.Sum256(archive), name+".tar.gz")
	return os.WriteFile(filepath.Join(b.dist, name+".tar.gz"), archive, 0o644)
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// compress replaces a file by FILE.gz, always with the same bytes.
func compress(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(file+".gz", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Remove(file)
}

// noticeNames are the files in which modules say under what terms they may be
// passed on; those terms ask that the files come along.
var noticeNames = []string{"LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING", "NOTICE", "NOTICE.txt", "PATENTS"}

// notices collects the licences of all that the linker put into a binary.
func notices(ctx context.Context, info *buildinfo.BuildInfo) ([]byte, error) {
	modules := []string{}
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
	}
	dirs, err := goOutput(ctx, append([]string{"list", "-m", "-f", "{{.Path}}\t{{.Dir}}"}, modules...)...)
	if err != nil {
		return nil, err
	}
	goroot, err := goOutput(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	places := append(strings.Split(dirs, "\n"), "Go "+strings.TrimPrefix(info.GoVersion, "go")+"\t"+goroot)
	slices.Sort(places)

	var b bytes.Buffer
	for _, place := range places {
		name, dir, _ := strings.Cut(place, "\t")
		found := false
		for _, file := range noticeNames {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			found = true
			fmt.Fprintf(&b, "==== %s: %s\n\n%s\n\n", name, file, bytes.TrimSpace(text))
		}
		if !found {
			return nil, fmt.Errorf("%s has no licence in %q", name, dir)
		}
	}
	return b.Bytes(), nil
}

func goOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
