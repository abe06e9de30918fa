package azure

import (
	"encoding/json"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// A refusedError is the error of a write, with what it was of.
type refusedError struct {
	error

	id fleet.ResourceID
}

func (r refusedError) Unwrap() error { return r.error }

// refused keeps of a write's error what it was of.
func refused(id fleet.ResourceID, err error) error {
	if _, ok := errors.AsType[*azcore.ResponseError](err); !ok {
		return err
	}
	return refusedError{err, id}
}

// RefusalOf returns what Azure said about a write that it did not take or that failed, in
// its own words. False: err is of no write, or no answer of Azure's.
func RefusalOf(err error) (fleet.Refusal, bool) {
	write, ok := errors.AsType[refusedError](err)
	if !ok {
		return fleet.Refusal{}, false
	}
	answer, ok := errors.AsType[*azcore.ResponseError](write)
	if !ok || answer.RawResponse == nil {
		return fleet.Refusal{}, false
	}
	r := fleet.Refusal{ID: write.id, Code: answer.ErrorCode}
	body, err := runtime.Payload(answer.RawResponse)
	if err != nil {
		return r, true
	}
	var parsed struct{ Error refusalBody }
	if json.Unmarshal(body, &parsed) != nil {
		return r, true
	}
	said := parsed.Error.innermost()
	if said.Code != "" {
		r.Code = said.Code
	}
	r.Message, r.Target = safetext.Line(said.Message, maxText*maxDetails), said.Target
	for _, one := range parsed.Error.AdditionalInfo {
		for _, looked := range one.Info.EvaluationDetails.EvaluatedExpressions {
			if looked.Path != "" && looked.Path != "type" {
				r.Fields = append(r.Fields, looked.Path)
			}
		}
	}
	return r, true
}

// maxDetails bounds how deep the details of an error are followed.
const maxDetails = 4

// A refusalBody is an error of Azure Resource Manager.
type refusalBody struct {
	Code, Message, Target string
	Details               []refusalBody
	AdditionalInfo        []struct {
		Info struct {
			EvaluationDetails struct {
				EvaluatedExpressions []struct{ Path string }
			}
		}
	}
}

// innermost is the error that tells most: one that only wraps another is passed over.
func (b *refusalBody) innermost() *refusalBody {
	for range maxDetails {
		if len(b.Details) != 1 || b.Details[0].Code == "" || b.Details[0].Message == "" {
			break
		}
		b = &b.Details[0]
	}
	return b
}
