// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package malformed

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestError(t *testing.T) {
	err := fmt.Errorf("model.gguf: %w", At("GGUF", 1<<40, "%d tensors named %q", 2, "a\nb"))
	if want := `model.gguf: GGUF: at byte 1099511627776: 2 tensors named "a\nb"`; err.Error() != want {
		t.Errorf("%s, want %s", err, want)
	}
	var e *Error
	if !errors.As(err, &e) || *e != (Error{"GGUF", 1 << 40, `2 tensors named "a\nb"`}) {
		t.Errorf("%+v", e)
	}
}

// TestLongMessage: what a file makes a message say is cut off, between characters.
func TestLongMessage(t *testing.T) {
	for n := maxMsg - 5; n < maxMsg+5; n++ {
		for _, text := range []string{strings.Repeat("x", n), strings.Repeat("x", n%4) + strings.Repeat("😀", n/4)} {
			var e *Error
			if !errors.As(At("F", 0, "%s", text), &e) {
				t.Fatal("no Error")
			}
			begin, cut := strings.CutSuffix(e.Msg, "…")
			if cut != (len(text) > maxMsg) || !strings.HasPrefix(text, begin) || len(begin) < min(len(text), maxMsg-3) || !utf8.ValidString(e.Msg) {
				t.Errorf("%d bytes became %d, cut: %v", len(text), len(e.Msg), cut)
			}
		}
	}
}
