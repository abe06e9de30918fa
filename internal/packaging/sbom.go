package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// The parts of a CycloneDX 1.6 document that a package needs; the names are those
// of https://cyclonedx.org/docs/1.6/json/.
type (
	bom struct {
		Schema       string          `json:"$schema"`
		Format       string          `json:"bomFormat"`
		SpecVersion  string          `json:"specVersion"`
		SerialNumber string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     bomMetadata     `json:"metadata"`
		Components   []bomComponent  `json:"components"`
		Dependencies []bomDependency `json:"dependencies"`
	}
	bomMetadata struct {
		Timestamp string       `json:"timestamp"`
		Component bomComponent `json:"component"`
	}
	bomComponent struct {
		Type     string       `json:"type"`
		Ref      string       `json:"bom-ref"`
		Name     string       `json:"name"`
		Version  string       `json:"version,omitempty"`
		Scope    string       `json:"scope,omitempty"`
		Hashes   []bomHash    `json:"hashes,omitempty"`
		Licenses []bomLicense `json:"licenses,omitempty"`
		PURL     string       `json:"purl,omitempty"`
	}
	bomHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	bomLicense struct {
		License bomLicenseID `json:"license"`
	}
	bomLicenseID struct {
		ID string `json:"id"`
	}
	bomDependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn"`
	}
)

// A shipped package is what a bill of materials is about.
type shipped struct {
	name, version, arch string
	date                time.Time
	deb                 []byte // the package
	binary              []byte // the command in it
	info                *buildinfo.BuildInfo
}

// billOfMaterials lists what is in a package: its binary, and every module that
// the linker put into it, as the binary itself tells (`go version -m`). The hash
// of a module is that of go.sum: SHA-256 over the names and hashes of its files.
func billOfMaterials(p shipped) ([]byte, error) {
	debHash := sha256.Sum256(p.deb)
	root := bomComponent{
		Type: "application", Name: p.name, Version: p.version,
		PURL:     fmt.Sprintf("pkg:deb/%s@%s?arch=%s", p.name, purlEscape(p.version), p.arch),
		Hashes:   []bomHash{{"SHA-256", hex.EncodeToString(debHash[:])}},
		Licenses: []bomLicense{{bomLicenseID{"Apache-2.0"}}},
	}
	root.Ref = root.PURL

	path := "/usr/bin/" + p.name
	binaryHash := sha256.Sum256(p.binary)
	main := bomComponent{
		Type: "file", Ref: "file:" + path, Name: path,
		Hashes: []bomHash{{"SHA-256", hex.EncodeToString(binaryHash[:])}},
	}
	modules := []bomComponent{{
		Type: "library", Ref: "pkg:golang/std@" + p.info.GoVersion, Name: "std", Version: p.info.GoVersion,
		PURL: "pkg:golang/std@" + p.info.GoVersion, Scope: "required",
	}}
	for _, m := range p.info.Deps {
		c, err := moduleComponent(m)
		if err != nil {
			return nil, err
		}
		modules = append(modules, c)
	}

	doc := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		SerialNumber: serialNumber(debHash),
		Metadata:     bomMetadata{Timestamp: p.date.UTC().Format(time.RFC3339), Component: root},
		Components:   append([]bomComponent{main}, modules...),
		Dependencies: []bomDependency{{Ref: root.Ref, On: []string{main.Ref}}, {Ref: main.Ref}},
	}
	for _, m := range modules {
		doc.Dependencies[1].On = append(doc.Dependencies[1].On, m.Ref)
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	return append(out, '\n'), nil
}

func moduleComponent(m *debug.Module) (bomComponent, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	c := bomComponent{
		Type: "library", Name: m.Path, Version: m.Version, Scope: "required",
		PURL: "pkg:golang/" + strings.ToLower(m.Path) + "@" + purlEscape(m.Version),
	}
	c.Ref = c.PURL
	sum, ok := strings.CutPrefix(m.Sum, "h1:")
	if !ok {
		return c, fmt.Errorf("write the bill of materials: module %s has no sum", m.Path)
	}
	raw, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		return c, fmt.Errorf("write the bill of materials: sum of module %s: %w", m.Path, err)
	}
	c.Hashes = []bomHash{{"SHA-256", hex.EncodeToString(raw)}}
	return c, nil
}

// purlEscape escapes a version for a package URL.
func purlEscape(s string) string { return strings.ReplaceAll(url.PathEscape(s), "+", "%2B") }

// serialNumber makes the same UUID (version 8: of our own making) for the same
// package.
func serialNumber(hash [sha256.Size]byte) string {
	u := hash[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
