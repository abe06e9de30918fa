package blob

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxResults is how many entries a page of a list has at most.
const maxResults = 5000

// enumeration is a page of a list.
type enumeration struct {
	XMLName    xml.Name    `xml:"EnumerationResults"`
	Endpoint   string      `xml:"ServiceEndpoint,attr"`
	Container  string      `xml:"ContainerName,attr,omitempty"`
	Prefix     string      `xml:"Prefix"`
	Marker     string      `xml:"Marker,omitempty"`
	MaxResults int         `xml:"MaxResults,omitempty"`
	Delimiter  string      `xml:"Delimiter,omitempty"`
	Blobs      *entries    `xml:"Blobs,omitempty"`
	Containers *containers `xml:"Containers,omitempty"`
	NextMarker string      `xml:"NextMarker"`
}

type entries struct {
	Blobs    []entry  `xml:"Blob"`
	Prefixes []folder `xml:"BlobPrefix"`
}

type folder struct {
	Name string `xml:"Name"`
}

type containers struct {
	Containers []entry `xml:"Container"`
}

type entry struct {
	Name       string     `xml:"Name"`
	Properties properties `xml:"Properties"`
	Metadata   meta       `xml:"Metadata,omitempty"`
}

type properties struct {
	Created     string `xml:"Creation-Time,omitempty"`
	Modified    string `xml:"Last-Modified"`
	ETag        string `xml:"Etag"`
	Length      *int64 `xml:"Content-Length,omitempty"`
	ContentType string `xml:"Content-Type,omitempty"`
	MD5         string `xml:"Content-MD5,omitempty"`
	Type        string `xml:"BlobType,omitempty"`
	LeaseStatus string `xml:"LeaseStatus"`
	LeaseState  string `xml:"LeaseState"`
	Encrypted   string `xml:"ServerEncrypted,omitempty"`
}

// meta is metadata, an element a name.
type meta map[string]string

// MarshalXML writes the elements in order.
func (m meta) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if len(m) == 0 {
		return nil
	}
	if err := e.EncodeToken(start); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := e.EncodeElement(m[name], xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return fmt.Errorf("write metadata: %w", err)
		}
	}
	if err := e.EncodeToken(start.End()); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return nil
}

// page is what a list's query asks for.
func (c *call) page() (*enumeration, int, error) {
	p := &enumeration{Endpoint: c.Endpoint, Container: c.Container, Prefix: c.Query.Get("prefix"), Marker: c.Query.Get("marker"), Delimiter: c.Query.Get("delimiter")}
	size := maxResults
	if v := c.Query.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return nil, 0, &failure{status: http.StatusBadRequest, code: "OutOfRangeQueryParameterValue", message: "One of the query parameters specified in the request URI is outside the permissible range."}
		}
		size = min(n, maxResults)
		p.MaxResults = n
	}
	return p, size, nil
}

func (c *call) listContainers() (Response, error) {
	p, size, err := c.page()
	if err != nil {
		return Response{}, err
	}
	p.Containers = &containers{}
	for _, name := range slices.Sorted(maps.Keys(c.account.Containers)) {
		if !strings.HasPrefix(name, p.Prefix) || name < p.Marker {
			continue
		}
		if len(p.Containers.Containers) == size {
			p.NextMarker = name
			break
		}
		container := c.account.Containers[name]
		p.Containers.Containers = append(p.Containers.Containers, entry{Name: name, Properties: properties{
			Modified: container.Modified.UTC().Format(http.TimeFormat), ETag: container.ETag, LeaseStatus: "unlocked", LeaseState: "available",
		}})
	}
	return list(p)
}

func (c *call) listBlobs() (Response, error) {
	container := c.account.Containers[c.Container]
	if container == nil {
		return Response{}, errNoContainer
	}
	p, size, err := c.page()
	if err != nil {
		return Response{}, err
	}
	p.Blobs = &entries{}
	withMeta := strings.Contains(strings.ToLower(c.Query.Get("include")), "metadata")
	last := ""
	for _, name := range slices.Sorted(maps.Keys(container.Blobs)) {
		rest, within := strings.CutPrefix(name, p.Prefix)
		if !within || name < p.Marker || last != "" && strings.HasPrefix(name, last) {
			continue
		}
		if len(p.Blobs.Blobs)+len(p.Blobs.Prefixes) == size {
			p.NextMarker = name
			break
		}
		if i := strings.Index(rest, p.Delimiter); p.Delimiter != "" && i >= 0 {
			last = name[:len(p.Prefix)+i+len(p.Delimiter)]
			p.Blobs.Prefixes = append(p.Blobs.Prefixes, folder{last})
			continue
		}
		p.Blobs.Blobs = append(p.Blobs.Blobs, c.entry(name, container.Blobs[name], withMeta))
	}
	return list(p)
}

func (c *call) entry(name string, b *Blob, withMeta bool) entry {
	size := b.size()
	status := "unlocked"
	if b.Lease.locks(c.Now) {
		status = "locked"
	}
	e := entry{Name: name, Properties: properties{
		Created: b.Created.UTC().Format(http.TimeFormat), Modified: b.Modified.UTC().Format(http.TimeFormat), ETag: strings.Trim(b.ETag, `"`),
		Length: &size, ContentType: b.Headers["Content-Type"], MD5: b.Headers["Content-Md5"], Type: b.Type,
		LeaseStatus: status, LeaseState: b.Lease.state(c.Now), Encrypted: "true",
	}}
	if withMeta {
		e.Metadata = b.Metadata
	}
	return e
}

func list(p *enumeration) (Response, error) {
	data, err := xml.Marshal(p)
	if err != nil {
		return Response{}, fmt.Errorf("write the list: %w", err)
	}
	h := http.Header{"Content-Type": {"application/xml"}}
	return Response{Status: http.StatusOK, Header: h, Body: append([]byte(xml.Header), data...)}, nil
}
