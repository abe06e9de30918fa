package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// MaxRunOutput is how much of each stream a Run Command returns: its end.
const MaxRunOutput = 4096

// RunCommand runs the lines of a shell script as root on a virtual machine, and returns
// the end of what it printed. That it ends without an error does not say that the script
// went well: Azure does not tell its exit code. It takes 20 seconds and more, one script
// runs at a time, and it goes on when ctx ends: nobody can cancel it.
func (c *Client) RunCommand(ctx context.Context, vm fleet.ResourceID, script []string) (stdout, stderr string, err error) {
	lines := make([]any, len(script))
	for i, line := range script {
		lines[i] = line
	}
	op, err := c.Send(ctx, fleet.Write{
		Method: http.MethodPost, ID: vm, Action: "runCommand",
		Body: fleet.Document{"commandId": "RunShellScript", "script": lines},
	})
	if err != nil {
		return "", "", err
	}
	output, err := op.Wait(ctx)
	if err != nil {
		return "", "", err
	}
	stdout, stderr, err = runOutput(output)
	if err != nil {
		return "", "", &Error{Kind: Garbled, Op: "run a command on " + vm.Name(), Text: err.Error(), Err: err}
	}
	return stdout, stderr, nil
}

// The marks of the streams in the message of a Run Command on Linux:
//
//	Enable succeeded: \n[stdout]\nhello\n\n[stderr]\n
const (
	stdoutMark = "[stdout]\n"
	stderrMark = "\n[stderr]\n"
)

// runOutput takes the output of a Run Command apart: one status with both streams, as
// Linux has it, or one status a stream.
func runOutput(output fleet.Document) (stdout, stderr string, err error) {
	statuses, _ := output["value"].([]any)
	told := ""
	for _, v := range statuses {
		status, _ := v.(fleet.Document)
		code, _ := status["code"].(string)
		message, _ := status["message"].(string)
		out, errs, both := splitStreams(message)
		switch {
		case both:
			return out, errs, nil
		case strings.HasPrefix(code, "ComponentStatus/StdOut/"):
			stdout, told = message, "streams"
		case strings.HasPrefix(code, "ComponentStatus/StdErr/"):
			stderr, told = message, "streams"
		default:
			told = cmp.Or(told, message, code)
		}
	}
	switch told {
	case "streams":
		return stdout, stderr, nil
	case "":
		return "", "", errors.New("no output came back")
	}
	return "", "", fmt.Errorf("the answer has no output: %s", shorten(told))
}

// splitStreams splits a message at its marks. What the script prints may look like them:
// the first begins its output, the last its errors.
func splitStreams(message string) (stdout, stderr string, ok bool) {
	message = strings.ReplaceAll(message, "\r\n", "\n")
	_, rest, ok := strings.Cut(message, stdoutMark)
	if !ok {
		return "", "", false
	}
	// An output without a line has the marks next to each other.
	rest = "\n" + rest
	i := strings.LastIndex(rest, stderrMark)
	if i < 0 {
		return strings.TrimPrefix(rest, "\n"), "", true
	}
	return strings.TrimPrefix(rest[:i], "\n"), rest[i+len(stderrMark):], true
}

// FailureOf returns the code of Azure that an error carries, if any, and its words
// without it.
func FailureOf(err error) fleet.Failure {
	failure := fleet.Failure{Message: err.Error()}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		failure.Code = answer.ErrorCode
	}
	if e, ok := errors.AsType[*Error](err); ok {
		failure.Message = strings.TrimPrefix(strings.TrimPrefix(e.Text, "not allowed: "+failure.Code), failure.Code)
		failure.Message = strings.TrimPrefix(failure.Message, ": ")
		if e.Kind == Throttled {
			failure.Code = "TooManyRequests" // the code of the answer is another one
		}
	}
	return failure
}
