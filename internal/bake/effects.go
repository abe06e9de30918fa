package bake

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/release"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// upload puts the files that are too large for the template where Image Builder
// fetches them. Their names are those of their content: what is there already stays.
func (r *Runner) upload(ctx context.Context) error {
	for _, u := range r.Content.Uploads {
		r.at(StageUploading)
		r.tell(Event{Kind: Customizer, Text: u.Path})
		address := strings.TrimSuffix(r.Spec.Bake.Artifacts, "/") + "/" + u.Blob
		if err := r.Azure.WriteBlob(ctx, address, u.Data); err != nil {
			return uploadError(address, err)
		}
	}
	return nil
}

// uploadError says what it takes to write a blob.
func uploadError(address string, err error) error {
	e, ok := errors.AsType[*azure.Error](err)
	if !ok {
		return err
	}
	account, _ := azure.BlobAccount(address) // it was asked for
	hinted := *e
	switch e.Kind {
	case azure.Denied:
		hinted.Hint = "you need the role Storage Blob Data Contributor on the storage account " + account + "; one that was just assigned takes some minutes"
	case azure.NotFound:
		hinted.Hint = "create the container of bake.artifacts in the storage account " + account + ": fleetctl writes blobs, and makes no containers"
	default:
	}
	return &hinted
}

// seal gives the version what Image Builder cannot: an end of life, that it can be
// deleted before, and the tags if they were lost on the way.
func (r *Runner) seal(ctx context.Context) error {
	var end time.Time
	if life := r.Spec.Gallery.EndOfLife; life > 0 {
		end = r.now().Add(life)
	}
	return r.edit(ctx, r.version, fleet.Seal(map[string]string{fleet.TagContent: r.call.Content, fleet.TagFleet: r.Spec.Name}, end))
}

// reject tags a version that nobody may use.
func (r *Runner) reject(ctx context.Context, version, why string) error {
	r.note("%s must not be used: %s. It is tagged failed", version, why)
	return r.edit(ctx, version, fleet.Mark(map[string]string{fleet.TagFailed: fleet.TagText(why)}))
}

func (r *Runner) edit(ctx context.Context, version string, edit fleet.VersionEdit) error {
	editor := release.NewEditor(r.Azure, r.Wait, func(text string) { r.note("%s", text) })
	_, err := editor.Edit(ctx, r.Spec.DefinitionID()+fleet.ResourceID("/versions/"+version), edit, false)
	return err
}

// boot makes the boot test and records what has come of it.
func (r *Runner) boot(ctx context.Context) error {
	verdict, err := r.bootTest(ctx, r.version)
	if err != nil {
		return err
	}
	r.verdict = &verdict
	switch verdict.Outcome {
	case fleet.BootPassed:
		return r.edit(ctx, r.version, fleet.Mark(map[string]string{fleet.TagBooted: r.now().UTC().Format(time.RFC3339)}))
	case fleet.BootFailed:
		if err := r.edit(ctx, r.version, fleet.Mark(map[string]string{fleet.TagFailed: fleet.TagText(verdict.Reason)})); err != nil {
			return err
		}
		if err := r.tidy(ctx); err != nil {
			return err
		}
		return r.bootFailure(fleet.FailBoot, "the boot test failed")
	default:
		if verdict.Gone && !r.again {
			r.again = true
			r.note("%s; if that was another call, whose test was the same, its verdict counts: looking again", verdict.Reason)
			return nil
		}
		return r.bootFailure(fleet.FailInconclusive, "the boot test is inconclusive")
	}
}

func (r *Runner) bootFailure(kind fleet.BakeFailureKind, title string) error {
	f := &fleet.BakeError{Kind: kind, Version: r.version, Title: title, Said: r.verdict.Reason, Hint: r.verdict.Hint}
	if r.verdict.Words != "" {
		f.Lines = strings.Split(strings.TrimRight(r.verdict.Words, "\n"), "\n")
	}
	return f
}

// tidy deletes the template of the number, whose version is there.
func (r *Runner) tidy(ctx context.Context) error {
	if r.cleaned {
		return nil
	}
	r.cleaned = true
	return r.deleteTemplate(ctx, r.Spec.TemplateID(r.version))
}

// failed completes a failure with what else can be read of it, and deletes a template
// that was refused: it would stand in the way of its number.
func (r *Runner) failed(ctx context.Context, l *fleet.BakeLook, f *fleet.BakeError) error {
	if f.Said == "" && r.made != nil {
		f.Said = r.operationError(ctx)
	}
	switch f.Kind {
	case fleet.FailGone:
		if r.made != nil {
			f.Title = "Azure took the image template and dropped it"
		}
	case fleet.FailBuild:
		r.explainBuild(ctx, l.Template, f)
	case fleet.FailTemplate:
		if err := r.tidy(ctx); err != nil {
			return err
		}
	default:
	}
	f.Said = safetext.Line(fleet.RunMessage(f.Said), maxSaid)
	return f
}

// maxSaid bounds what a failure repeats of Azure's words, in bytes.
const maxSaid = 2000

// operationTimeout bounds the question what became of an operation that has ended.
const operationTimeout = 30 * time.Second

// operationError is what Azure said when the template could not be made.
func (r *Runner) operationError(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	_, err := r.made.Wait(ctx)
	if e, ok := errors.AsType[*azure.Error](err); ok {
		return e.Text
	}
	return ""
}
