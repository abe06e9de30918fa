package fleet

import (
	"regexp"
	"slices"
	"strings"
)

// sharedAccess is the signature in an address of Azure Storage: whoever has it may read there.
var sharedAccess = regexp.MustCompile(`(?i)([?&]sig=)[^&\s"']+`)

// Redacted returns a body as it may be shown: what Azure takes and never shows, the
// addresses of webhooks, which hold tokens, and the signatures of shared access are replaced.
func Redacted(body Document) Document {
	shown, _ := redacted(body).(Document)
	return shown
}

func redacted(part any) any {
	switch part := part.(type) {
	case []any:
		list := make([]any, len(part))
		for i := range part {
			list[i] = redacted(part[i])
		}
		return list
	case Document:
		if part == nil {
			return part
		}
		shown := Document{}
		for key, value := range part {
			if value != nil && isSecret(key) {
				shown[key] = "REDACTED"
			} else {
				shown[key] = redacted(value)
			}
		}
		return shown
	case string:
		return sharedAccess.ReplaceAllString(part, "${1}REDACTED")
	default:
		return part
	}
}

func isSecret(key string) bool {
	return strings.EqualFold(key, "serviceUri") ||
		slices.ContainsFunc(secretsOfSet, func(secret string) bool { return strings.EqualFold(secret, key) })
}
