package arm

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// An armError is an error as Azure Resource Manager words it.
type armError struct {
	Status  int        `json:"status"` // of the answer
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Target  string     `json:"target,omitempty"`
	Details []armError `json:"details,omitempty"`

	// Inner is the internalErrorCode of innerError.
	Inner string `json:"inner,omitempty"`
	// RetryAfter is simulated time; zero is not sent.
	RetryAfter time.Duration     `json:"-"`
	Info       object            `json:"-"` // additionalInfo
	Headers    map[string]string `json:"-"` // further headers of the answer
}

// Error returns code and message.
func (e *armError) Error() string { return e.Code + ": " + e.Message }

// body is the error in the form of an answer's body.
func (e *armError) body() object { return object{"error": e.object()} }

func (e *armError) object() object {
	o := object{"code": e.Code, "message": e.Message}
	if e.Target != "" {
		o["target"] = e.Target
	}
	if len(e.Details) > 0 {
		details := make([]any, len(e.Details))
		for i := range e.Details {
			details[i] = e.Details[i].object()
		}
		o["details"] = details
	}
	if e.Info != nil {
		o["additionalInfo"] = []any{e.Info}
	}
	if e.Inner != "" {
		o["innerError"] = object{"internalErrorCode": e.Inner}
	}
	return o
}

// asARM returns err as an armError; any other error is a fault of the simulator's.
func asARM(err error) *armError {
	if e, ok := errors.AsType[*armError](err); ok {
		return e
	}
	return &armError{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "fleetsim failed: " + err.Error()}
}

// errorf is an error with a status and a code of Azure's.
func errorf(status int, code, format string, args ...any) *armError {
	return &armError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalid is a 400 that names the property.
func invalid(target, format string, args ...any) *armError {
	e := errorf(http.StatusBadRequest, "InvalidParameter", format, args...)
	e.Target = target
	return e
}

// conflict is a 409.
func conflict(code, format string, args ...any) *armError {
	return errorf(http.StatusConflict, code, format, args...)
}

// concurrent is the refusal of a request that came while another one is carried out.
func concurrent() *armError {
	return conflict("Conflict", "The request failed due to conflict with a concurrent request. "+
		"To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests.")
}

// unknown says that the simulator cannot do something that Azure may well do.
// Clients do not repeat a 501.
func unknown(format string, args ...any) *armError {
	return errorf(http.StatusNotImplemented, "NotSimulated", "fleetsim does not know "+format, args...)
}

// fromError is an error as the store keeps it.
func fromError(e *armError) object {
	return object{"status": whole(e.Status), "code": e.Code, "message": e.Message, "target": e.Target}
}

// toError is the error that the store keeps, or nil.
func toError(kept object) error {
	if kept == nil {
		return nil
	}
	status, _ := integer(kept, "status")
	return &armError{Status: status, Code: str(kept, "code"), Message: str(kept, "message"), Target: str(kept, "target")}
}
