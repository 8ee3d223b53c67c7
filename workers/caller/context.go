// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// ErrToken says that what a caller shows to say who he is, is not valid.
var ErrToken = errors.New("not authenticated")

// FromContext says who makes a call: by the token in its metadata (authorization:
// Bearer TOKEN), else by its connection. A token that is not known is
// ErrToken, and so is any that comes in plain text from another machine.
func FromContext(ctx context.Context, ids *Identities) (Caller, error) {
	info := &Info{key: "nobody"}
	if p, ok := peer.FromContext(ctx); ok {
		if known, ok := p.AuthInfo.(*Info); ok {
			info = known
		} else if p.Addr != nil {
			info.key = addressKey(p.Addr)
		}
	}
	shown := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(shown) == 0 {
		return Caller{User: info.User, Key: info.key}, nil
	}
	if len(shown) > 1 {
		return Caller{}, fmt.Errorf("%w: authorization is there %d times", ErrToken, len(shown))
	}
	scheme, token, _ := strings.Cut(shown[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Caller{}, fmt.Errorf("%w: authorization is not of the form Bearer TOKEN", ErrToken)
	}
	// Refused before it is compared, right or wrong: whoever listens on the way has it,
	// and who sends it so should hear of that.
	if info.TLS == nil && !info.local {
		return Caller{}, fmt.Errorf("%w: the token came in plain text over a network, where others can read it: use TLS, and make a new one", ErrToken)
	}
	user := ids.ofToken(strings.TrimSpace(token))
	if user == nil {
		return Caller{}, fmt.Errorf("%w: the token is not known", ErrToken)
	}
	return Caller{User: user, Key: userKey(*user)}, nil
}
