package fleet

import "strings"

// IdentityID returns the id of the identity that Image Builder works as; empty when the
// file has none.
func (s *Spec) IdentityID() ResourceID {
	switch {
	case s.Bake == nil || s.Bake.Identity == "":
		return ""
	case strings.HasPrefix(s.Bake.Identity, "/"):
		return ResourceID(s.Bake.Identity)
	}
	return s.group("") + ResourceID("/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+s.Bake.Identity)
}

// shellQuote writes text as one word of a shell.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
