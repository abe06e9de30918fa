package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bakeSpec is the example with these customizers, and one validator.
func bakeSpec(customize ...CustomizeSpec) *Spec {
	s := cleanSpec()
	s.Bake.Identity = "id-aib"
	s.Bake.Customize = customize
	s.Bake.Validate = []ScriptSpec{{Name: "boots", Script: "validate.sh", Args: []string{"--image", "{image}"}}}
	s.Tags = map[string]string{"owner": "payments"}
	s.Bake.ArtifactTags = map[string]string{"commit": "4f2a9c1"}
	return s
}

var validator = sourceFile("validate.sh", "exit 0\n")

func content(t *testing.T, s *Spec, files ...SourceFile) *Content {
	t.Helper()
	c, err := NewContent(s, append(files, validator))
	require.NoError(t, err)
	return c
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestContentHash: the hash tells what gets into the image, and nothing else.
func TestContentHash(t *testing.T) {
	hashOf := func(change func(*Spec)) string {
		s := bakeSpec(
			CustomizeSpec{Name: "agent", File: "agent.deb", To: "/tmp/agent.deb"},
			CustomizeSpec{Name: "install", Script: "install.sh", Args: []string{"--stamp", "V={version}"}},
			CustomizeSpec{Name: "cis", Script: "https://st.blob.core.windows.net/s/cis.sh", SHA256: strings.Repeat("AB", 32)},
		)
		change(s)
		return content(t, s, sourceFile("agent.deb", "deb"), sourceFile("other.deb", "DEB"), sourceFile("install.sh", "true\n"), sourceFile("moved/install.sh", "true\n")).Hash
	}
	same := hashOf(func(*Spec) {})
	require.Regexp(t, "^[0-9a-f]{64}$", same)
	for name, change := range map[string]func(*Spec){
		"version":          func(s *Spec) { s.Bake.Version = "2.0.0" },
		"regions":          func(s *Spec) { s.Gallery.Regions["northeurope"] = 1 },
		"identity":         func(s *Spec) { s.Bake.Identity = "id-other" },
		"timeout":          func(s *Spec) { s.Bake.Timeout *= 2 },
		"where a file is":  func(s *Spec) { s.Bake.Customize[1].Script = "moved/install.sh" },
		"where a URL is":   func(s *Spec) { s.Bake.Customize[2].Script = "https://mirror.example/cis.sh" },
		"letters of a sum": func(s *Spec) { s.Bake.Customize[2].SHA256 = strings.Repeat("ab", 32) },
		"storage":          func(s *Spec) { s.Bake.Artifacts = "https://st.blob.core.windows.net/a" },
		"smoke test":       func(s *Spec) { s.Bake.BootTest = &BootTestSpec{Run: "install.sh"} },
		"tags":             func(s *Spec) { s.Tags["owner"] = "others" },
	} {
		require.Equal(t, same, hashOf(change), name)
	}
	seen := map[string]string{same: "nothing"}
	for name, change := range map[string]func(*Spec){
		"source":    func(s *Spec) { s.Bake.Source.Version = "22.04.1" },
		"machine":   func(s *Spec) { s.Bake.VMSize = "Standard_D4as_v5" },
		"disk":      func(s *Spec) { s.Bake.OSDiskGB = 64 },
		"a file":    func(s *Spec) { s.Bake.Customize[0].File = "other.deb" },
		"its place": func(s *Spec) { s.Bake.Customize[0].To = "/tmp/b.deb" },
		"arguments": func(s *Spec) { s.Bake.Customize[1].Args = []string{"--stamp V={version}"} },
		"checksum":  func(s *Spec) { s.Bake.Customize[2].SHA256 = strings.Repeat("cd", 32) },
		"order":     func(s *Spec) { c := s.Bake.Customize; c[0], c[1] = c[1], c[0] },
		"image":     func(s *Spec) { s.Gallery.Image.Name = "other" }, // an argument of the validator
		"validator": func(s *Spec) { s.Bake.Validate = nil },
	} {
		hash := hashOf(change)
		require.NotContains(t, seen, hash, "%s is as %s", name, seen[hash])
		seen[hash] = name
	}
}

// TestSmoke: the script of the boot test is what was checked.
func TestSmoke(t *testing.T) {
	s := bakeSpec()
	require.Nil(t, content(t, s).Smoke)
	s.Bake.BootTest = &BootTestSpec{Run: "smoke.sh"}
	require.Equal(t, "true\n", string(content(t, s, sourceFile("smoke.sh", "true\n")).Smoke))
}

// TestContentLeavesTheSpec: what stands for the image's name stays in the Spec.
func TestContentLeavesTheSpec(t *testing.T) {
	s := bakeSpec()
	content(t, s)
	require.Equal(t, "{image}", s.Bake.Validate[0].Args[1])
}

func TestUploads(t *testing.T) {
	large := "#!/bin/sh\n" + strings.Repeat("# a long story\n", 5000)
	s := bakeSpec(
		CustomizeSpec{Name: "agent", File: "dist/agent.deb", To: "/tmp/agent.deb"},
		CustomizeSpec{Name: "small", Script: "small.sh"},
		CustomizeSpec{Name: "large", Script: "large.sh"},
	)
	files := []SourceFile{sourceFile("dist/agent.deb", "deb"), sourceFile("small.sh", "true\n"), sourceFile("large.sh", large), validator}
	_, err := NewContent(s, files)
	require.EqualError(t, err, "bake.customize[2].script: large.sh has 74 KiB, the template takes files of at most 64 KiB, and there is no bake.artifacts; "+
		"add to bake: artifacts: https://ACCOUNT.blob.core.windows.net/CONTAINER, where the identity has Storage Blob Data Reader")

	s.Bake.Artifacts = "https://stbuild.blob.core.windows.net/a/pay/"
	c, err := NewContent(s, files)
	require.NoError(t, err)
	require.Equal(t, []Upload{
		{Step: "agent", Path: "dist/agent.deb", Blob: sumOf("deb") + "/agent.deb", SHA256: sumOf("deb"), Data: []byte("deb")},
		{Step: "large", Path: "large.sh", Blob: sumOf(large) + "/large.sh", SHA256: sumOf(large), Data: []byte(large)},
	}, c.Uploads)
	require.Contains(t, fmt.Sprint(ImageTemplate(s, c, "1.8.3")), "sourceUri:https://stbuild.blob.core.windows.net/a/pay/"+c.Uploads[0].Blob+" ")
}

// TestInlineTogether: many small scripts are too much for a template as well.
func TestInlineTogether(t *testing.T) {
	var customize []CustomizeSpec
	var files []SourceFile
	for i := range 20 {
		name := fmt.Sprintf("s%d.sh", i)
		customize = append(customize, CustomizeSpec{Name: name, Script: name})
		files = append(files, sourceFile(name, strings.Repeat("#", 60<<10)))
	}
	s := bakeSpec(customize...)
	_, err := NewContent(s, append(files, validator))
	var faults ContentError
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 12)
	require.Equal(t, "s8.sh is one too many: the template takes 512 KiB of files together, and there is no bake.artifacts", faults[0].Text)
	s.Bake.Artifacts = "https://stbuild.blob.core.windows.net/a"
	c := content(t, s, files...)
	require.Len(t, c.Uploads, 12)
	require.Less(t, len(jsonOf(t, ImageTemplate(s, c, "1.8.3"))), 1_000_000, "what Azure Resource Manager takes for one resource")
}

// TestContentFaults: all of them at once, each with its place.
func TestContentFaults(t *testing.T) {
	s := bakeSpec(
		CustomizeSpec{Name: "agent", File: "agent.deb", To: "/tmp/agent.deb"},
		CustomizeSpec{Name: "large", File: "large.iso", To: "/tmp/large.iso"},
		CustomizeSpec{Name: "dos", Script: "dos.sh"},
	)
	s.Bake.BootTest = &BootTestSpec{Run: "smoke.sh"}
	require.Equal(t, []string{"agent.deb", "dos.sh", "large.iso", "smoke.sh", "validate.sh"}, s.SourcePaths())
	_, err := NewContent(s, []SourceFile{{Path: "large.iso", Size: 21 << 20}, sourceFile("dos.sh", "a\r\n"), sourceFile("smoke.sh", "\x00")})
	require.EqualError(t, err, `bake.customize[0].file: agent.deb does not exist; create it, or name another file
bake.customize[1].file: large.iso has 21.0 MB, and Image Builder copies files of at most 20 MB; let a script fetch large.iso from storage
bake.customize[2].script: dos.sh:1 ends in CR LF: bash takes the \r for a part of the command; sed -i 's/\r$//' dos.sh, and '*.sh text eol=lf' in .gitattributes
bake.validate[0].script: validate.sh does not exist; create it, or name another file
bake.boot_test.run: smoke.sh:1 has a NUL byte: it is no shell script; name a script; copy a program with file and to`)
}
