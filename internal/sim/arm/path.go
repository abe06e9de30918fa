package arm

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A target is what a request's path names. A path is a scope (a subscription, a
// resource group, or for an extension resource any resource), a provider's
// namespace, and pairs of a type and a name; a last type without a name is a
// collection, or something computed of the resource before it.
//
//	/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/galleries/galProd/images
//	└────────────── scope ──────────┘           └── namespace ──┘└─ types[0] names[0] ─┘└ types[1]
type target struct {
	subscription string
	group        string // resource group; "" at the subscription's scope
	scope        string // the path before the last /providers/; "" for the tenant
	namespace    string // "" when the path names no provider
	types        []string
	names        []string // as many as types, or one less in a collection
}

// maxSegments bounds a path. The deepest that Azure has are below twenty.
const maxSegments = 40

// parsePath reads a path without regard to the case of the fixed words.
func parsePath(path string) (target, error) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if len(segments) > maxSegments {
		return target{}, errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI has more than %d segments.", maxSegments)
	}
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "" || !utf8.ValidString(plain) || strings.ContainsFunc(plain, inNoName) {
			return target{}, errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI '%s' is not valid.", path)
		}
		segments[i] = plain
	}
	var t target
	provider := -1
	for i := 0; i+1 < len(segments); i += 2 { // without a namespace, the word is the end of a scope
		if strings.EqualFold(segments[i], "providers") {
			provider = i
		}
	}
	scope := segments
	if provider >= 0 {
		scope = segments[:provider]
		t.namespace = segments[provider+1]
		for i, s := range segments[provider+2:] {
			if i%2 == 0 {
				t.types = append(t.types, s)
			} else {
				t.names = append(t.names, s)
			}
		}
	}
	if len(scope) > 0 {
		t.scope = "/" + strings.Join(scope, "/")
	}
	if len(scope) >= 2 && strings.EqualFold(scope[0], "subscriptions") {
		t.subscription = scope[1]
		if len(scope) >= 4 && strings.EqualFold(scope[2], "resourceGroups") {
			t.group = scope[3]
		}
	}
	return t, nil
}

// inNoName says whether a character can stand in no segment of a path.
func inNoName(r rune) bool { return r == '/' || unicode.IsControl(r) }

// collection says whether the last type has no name.
func (t target) collection() bool { return len(t.types) > len(t.names) }

// kind is the full type, such as Microsoft.Compute/galleries/images.
func (t target) kind() string {
	return t.namespace + "/" + strings.Join(t.types, "/")
}

// name is the last name.
func (t target) name() string {
	if len(t.names) == 0 {
		return ""
	}
	return t.names[len(t.names)-1]
}

// id is the target's path as it was written.
func (t target) id() string {
	var b strings.Builder
	b.WriteString(t.scope)
	if t.namespace != "" {
		b.WriteString("/providers/" + t.namespace)
	}
	for i, kind := range t.types {
		b.WriteString("/" + kind)
		if i < len(t.names) {
			b.WriteString("/" + t.names[i])
		}
	}
	return b.String()
}

// up is the target with n pairs less: of a collection the resource that has it. The
// segments that are left out are joined to tail.
func (t target) up(segments int) (resource target, tail string, ok bool) {
	total := len(t.types) + len(t.names)
	left := total - segments
	if left < 2 || left%2 != 0 {
		return target{}, "", false
	}
	flat := make([]string, 0, total)
	for i, kind := range t.types {
		flat = append(flat, kind)
		if i < len(t.names) {
			flat = append(flat, t.names[i])
		}
	}
	resource = t
	resource.types, resource.names = t.types[:left/2], t.names[:left/2]
	return resource, strings.ToLower(strings.Join(flat[left:], "/")), true
}

// parent is the resource above, and false when there is none: then it is the scope.
func (t target) parent() (target, bool) {
	n := len(t.types) - 1
	if n < 1 {
		return target{}, false
	}
	up := t
	up.types, up.names = t.types[:n], t.names[:n]
	return up, true
}

// key is an id as the store knows it.
func key(id string) string { return strings.ToLower(strings.TrimRight(id, "/")) }

// location writes a region as its id: "East US" as "eastus".
func location(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
