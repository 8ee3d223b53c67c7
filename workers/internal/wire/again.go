// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// DiedAgain is beside UNAVAILABLE, as a detail of the status, when the handler died at a
// call that had been repeated: it could be made once more, and is not to be.
var DiedAgain = &errdetails.ErrorInfo{Domain: "modelfs", Reason: "HANDLER_DIED_AGAIN"}

// Final says whether an error has DiedAgain.
func Final(err error) bool {
	return slices.ContainsFunc(status.Convert(err).Details(), func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)
		return ok && info.GetDomain() == DiedAgain.Domain && info.GetReason() == DiedAgain.Reason
	})
}
