package safetext

import (
	"fmt"
	"log/slog"
)

// Attr makes the value of a log attribute safe: a string, an error, anything that
// is written by its own words. It fits slog.HandlerOptions.ReplaceAttr; numbers,
// times and durations stay what they are.
func Attr(_ []string, a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Line(v.String(), MaxLog))
	case slog.KindAny:
		if _, source := v.Any().(*slog.Source); !source {
			a.Value = slog.StringValue(Line(fmt.Sprint(v.Any()), MaxLog))
		}
	default:
	}
	return a
}
