package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// DeploymentTemplate returns the bake's image template as a template for deployments,
// for those who deploy with az, Bicep or Terraform. What differs from one environment
// to the next is a parameter, and so are the checksums of the files that are fetched
// from storage: a new package is no new template. The same content gives the same
// bytes.
func DeploymentTemplate(s *Spec, c *Content) []byte {
	b := blueprint{
		location: hole("parameters('location')"), identity: hole("parameters('identityId')"),
		machine: hole(fmt.Sprintf("union(createObject('vmSize', parameters('vmSize'), 'osDiskSizeGB', %d), "+
			"if(empty(parameters('subnetId')), createObject(), createObject('vnetConfig', createObject('subnetId', parameters('subnetId')))))", s.Bake.OSDiskGB)),
		source: hole("parameters('source')"), definition: hole("parameters('galleryImageId')"),
		version: hole("parameters('version')"), regions: hole("parameters('targetRegions')"),
		artifacts: hole("parameters('artifactsUri')"),
		sum: func(p *part) string {
			if p.upload {
				return hole("parameters('checksums')['" + p.name + "']")
			}
			return p.sha256
		},
	}
	resource := b.document(s, c)
	maps.Copy(resource, Document{
		"type": typeTemplate, "apiVersion": APIVersion(s.TemplateID("")), "name": hole("parameters('templateName')"),
	})
	// The hash is of one state of the files that are fetched, and their checksums are
	// parameters.
	for _, tags := range []any{resource["tags"], dig(resource["properties"].(Document)["distribute"].([]any)[0], "artifactTags")} {
		delete(tags.(Document), TagContent)
	}
	text := func(value string) Document { return Document{"type": "string", "value": value} }
	template := Document{
		"$schema":        "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"contentVersion": "1.0.0.0",
		"parameters":     s.parameters(len(c.Uploads) > 0),
		"resources":      []any{resource},
		"outputs": Document{
			"templateName":   text(hole("parameters('templateName')")),
			"imageVersionId": text(hole("parameters('galleryImageId')") + "/versions/" + hole("parameters('version')")),
		},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(filled(template)); err != nil {
		panic(err) // there is nothing in it that JSON does not know
	}
	return out.Bytes()
}

// parameters are those of the deployment template, with the file's values as defaults.
func (s *Spec) parameters(uploads bool) Document {
	all := Document{}
	add := func(name, typ, description string, value any) {
		p := Document{"type": typ, "metadata": Document{"description": description}}
		if value != nil {
			p["defaultValue"] = value
		}
		all[name] = p
	}
	add("version", "string", "Image version to make, as in 1.7.1: one that the gallery does not have.", nil)
	add("templateName", "string", "Image templates cannot be updated: every bake makes one under a new name. Delete it after the build; the image stays.",
		s.imageName()+"-"+hole("parameters('version')"))
	all["templateName"].(Document)["maxLength"] = float64(maxTemplateName)
	add("location", "string", "Where the build runs: the region of the image definition, or the build copies the image between regions.",
		hole("resourceGroup().location"))
	add("identityId", "string", "Resource ID of the user-assigned identity that writes the image version and reads the artifacts.", nil)
	add("galleryImageId", "string", "Resource ID of the image definition, without a version.", nil)
	add("targetRegions", "array", "Objects with name, replicaCount and storageAccountType; one of them is the gallery's own region.", s.targetRegions())
	add("vmSize", "string", "Size of the virtual machine that builds.", s.Bake.VMSize)
	add("source", "object", "The image that the build begins with.", s.Bake.Source.document())
	add("subnetId", "string", "Resource ID of a subnet to build in, which needs a way out (a NAT gateway) and privateLinkServiceNetworkPolicies off. Empty: a network of the build's own.", "")
	if uploads {
		add("artifactsUri", "string", "Container of the files that are fetched, without a slash at the end. No SAS token: what is here can be read in the deployment.",
			strings.TrimSuffix(s.Bake.Artifacts, "/"))
		add("checksums", "object", "SHA-256 in lower case of each file that is fetched, by the name of its customizer. The file is at artifactsUri/SHA256/NAME.", nil)
	}
	return all
}

// A hole in a text is an expression of Azure Resource Manager's template language,
// between two characters that no text of ours has.
const holeMark = "\x00"

func hole(expression string) string { return holeMark + expression + holeMark }

// filled writes the texts of a document as a deployment template has them.
func filled(v any) any {
	switch v := v.(type) {
	case string:
		return templateText(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = filled(v[i])
		}
		return list
	case Document:
		object := make(Document, len(v))
		for key, value := range v {
			object[templateText(key)] = filled(value)
		}
		return object
	}
	return v
}

// templateText writes a text with its holes as an expression.
func templateText(text string) string {
	pieces := strings.Split(text, holeMark)
	switch {
	case len(pieces) == 1 && strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
		return "[" + text // or it would be taken for an expression
	case len(pieces) == 1:
		return text
	case len(pieces) == 3 && pieces[0] == "" && pieces[2] == "":
		return "[" + pieces[1] + "]"
	}
	literal := strings.NewReplacer("'", "''", "{", "{{", "}", "}}")
	var format, args strings.Builder
	for i, piece := range pieces {
		if i%2 == 0 {
			format.WriteString(literal.Replace(piece))
			continue
		}
		fmt.Fprintf(&format, "{%d}", i/2)
		args.WriteString(", " + piece)
	}
	return "[format('" + format.String() + "'" + args.String() + ")]"
}
