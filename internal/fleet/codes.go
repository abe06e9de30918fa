package fleet

import "strings"

// A Cause is what a failure in Azure is about: who has to do something about it.
type Cause string

// The causes. All but CauseImage say nothing of an image, and CauseUnknown is one that
// nobody has looked at: it is never held against an image.
const (
	CauseImage       Cause = "image"       // the machine started, and what is in the image did not do its part
	CauseCapacity    Cause = "capacity"    // Azure has no room there at the moment
	CauseQuota       Cause = "quota"       // the subscription may not have more
	CauseReplication Cause = "replication" // the version is not there yet
	CauseThrottled   Cause = "throttled"
	CauseDenied      Cause = "denied"   // by a role, a policy or a lock
	CauseNetwork     Cause = "network"  // the subnet, or what stands in its way
	CausePlatform    Cause = "platform" // Azure failed, or is at work there itself
	CauseUnknown     Cause = "unknown"
)

// errorCodes are the codes of Azure that say what a failure is about.
var errorCodes = []struct {
	cause Cause
	codes []string
}{
	{CauseImage, []string{
		"OSProvisioningTimedOut", "OSProvisioningClientError", "OSProvisioningInternalError",
		"VMExtensionProvisioningError", "VMExtensionProvisioningTimeout", "VMExtensionHandlerNonTransientError",
		"VMAgentStatusCommunicationError",
	}},
	{CauseCapacity, []string{
		"AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest", "OverconstrainedZonalAllocationRequest", "SkuNotAvailable",
	}},
	{CauseQuota, []string{"QuotaExceeded", "ResourceQuotaExceeded", "PublicIPCountLimitReached"}},
	{CauseReplication, []string{"GalleryImageNotFound"}},
	{CauseThrottled, []string{"TooManyRequests", "SubscriptionRequestsThrottled", "ResourceReadFailed"}},
	{CauseDenied, []string{"AuthorizationFailed", "LinkedAuthorizationFailed", "RequestDisallowedByPolicy", "RequestDisallowedByAzure", "ScopeLocked"}},
	{CauseNetwork, []string{"SubnetIsFull", "InvalidResourceReference"}},
	{CausePlatform, []string{
		"InternalExecutionError", "InternalServerError", "InternalOperationError", "NetworkingInternalOperationError",
		"ServiceUnavailable", "OperationPreempted", "VMStartTimedOut",
	}},
}

// quotaWords are in the message of a refusal for want of quota, which has a code that
// says nothing (OperationNotAllowed), in two wordings.
var quotaWords = []string{"quota", "approved total regional cores", "cores limit", "exceeding approved", "exceed the maximum allowed"}

// CauseOf says what a failure of Azure is about, by its code, and by its message when
// the code is one of those that carry another inside.
func CauseOf(code, message string) Cause {
	if cause, known := causeOfCode(code); known {
		return cause
	}
	for _, word := range quotaWords {
		if strings.Contains(strings.ToLower(message), word) {
			return CauseQuota
		}
	}
	// What failed first is in the words of what failed because of it. The longest code
	// counts: some contain others.
	cause, longest := CauseUnknown, 0
	for _, row := range errorCodes {
		for _, known := range row.codes {
			if len(known) > longest && strings.Contains(message, known) {
				cause, longest = row.cause, len(known)
			}
		}
	}
	return cause
}

func causeOfCode(code string) (Cause, bool) {
	for _, row := range errorCodes {
		for _, known := range row.codes {
			if strings.EqualFold(code, known) {
				return row.cause, true
			}
		}
	}
	return CauseUnknown, false
}
