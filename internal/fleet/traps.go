package fleet

import (
	"cmp"
	"slices"
	"time"
)

// A Trap is a mistake that others made before, and that can be seen in advance. All
// of them stand in one table, which Traps returns.
type Trap struct {
	Number   int
	ID       string // stable: scripts may name it
	Title    string
	Severity Severity // of a finding, unless what was seen makes it less
	Looks    Looks
	// InTemplate says that the file of an image template may show it as well.
	InTemplate bool

	Condition   string // when it is armed
	Consequence string // what it does then
	Fix         string
	Source      string // who says so

	// Unseen says why nothing that preflight reads shows the trap; it is empty of one
	// that is looked for.
	Unseen string

	find func(*scene) []Finding
}

// Seen says whether preflight looks for the trap.
func (t *Trap) Seen() bool { return t.Unseen == "" }

// Severity says how bad a finding is.
type Severity string

// The severities. An error does what its consequence says, or is refused by Azure; a
// warning does so when something else happens as well; a note is good to know.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// severities is the order of the severities, the worst first.
var severities = []Severity{SeverityError, SeverityWarning, SeverityNote}

func (s Severity) rank() int { return slices.Index(severities, s) }

// Looks says where a trap can be seen.
type Looks string

// Where a trap can be seen: in the file alone, in Azure alone, in either, only in how
// the two differ, or only in the file of an image template.
const (
	LooksFile     Looks = "file"
	LooksLive     Looks = "live"
	LooksBoth     Looks = "both"
	LooksJoined   Looks = "joined"
	LooksTemplate Looks = "template"
)

// Evidence is what traps are looked for in. Each part may be missing.
type Evidence struct {
	Now  time.Time
	Spec *Spec  // the file; nil: none
	Live *Fleet // what was read from Azure; nil: nothing
	// Files are the local files that the file's bake names, as far as they are there.
	Files []SourceFile
	// Template is a file with image templates; nil: none. It comes alone.
	Template *TemplateFile
}

// A Finding is a trap that is armed.
type Finding struct {
	Trap     int      `json:"trap"`
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	Resource Resource `json:"resource"`
	// Key is the place in the file, "scale_sets.vmss-authz.health", when the file
	// arms the trap; Live says that Azure does. Both may be so. Place is FILE:LINE of
	// an image template's file.
	Key   string `json:"key,omitempty"`
	Place string `json:"place,omitempty"`
	Live  bool   `json:"live"`
	Seen  string `json:"seen"` // the values that arm it
	Fix   string `json:"fix"`
}

// A Resource is what a finding is about.
type Resource struct {
	Kind string     `json:"kind"` // "scale set"
	Name string     `json:"name"`
	ID   ResourceID `json:"id,omitempty"`
}

// The kinds of resources.
const (
	kindSet          = "scale set"
	kindDefinition   = "image definition"
	kindVersion      = "image version"
	kindTemplate     = "image template"
	kindBake         = "bake"
	kindGallery      = "gallery"
	kindSubscription = "subscription"
)

// Preflight looks for every trap, and returns what it finds: by resource, the one
// with the worst finding first, and of each the worst first.
func Preflight(e Evidence) []Finding {
	s := e.scene()
	var all []Finding
	for _, t := range Traps() {
		if t.find == nil {
			continue
		}
		for _, f := range merged(t.find(s)) {
			f.Trap, f.ID, f.Title = t.Number, t.ID, t.Title
			f.Severity = cmp.Or(f.Severity, t.Severity)
			all = append(all, f)
		}
	}
	order(all)
	return all
}

// merged makes one finding of two that say the same of one resource, which the file
// and Azure have in common.
func merged(list []Finding) []Finding {
	var kept []Finding
	for _, f := range list {
		i := slices.IndexFunc(kept, func(k Finding) bool {
			return k.Resource.Kind == f.Resource.Kind && k.Resource.Name == f.Resource.Name &&
				k.Resource.ID.Same(f.Resource.ID) && k.Seen == f.Seen && k.Severity == f.Severity
		})
		if i < 0 {
			kept = append(kept, f)
			continue
		}
		kept[i].Live = kept[i].Live || f.Live
	}
	return kept
}

func order(findings []Finding) {
	worst := make(map[Resource]int)
	for _, f := range findings {
		if rank, known := worst[f.Resource]; !known || f.Severity.rank() < rank {
			worst[f.Resource] = f.Severity.rank()
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(worst[a.Resource], worst[b.Resource]),
			cmp.Compare(a.Resource.Kind, b.Resource.Kind),
			cmp.Compare(a.Resource.Name, b.Resource.Name),
			cmp.Compare(a.Resource.ID, b.Resource.ID),
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			cmp.Compare(a.Trap, b.Trap),
		)
	})
}
