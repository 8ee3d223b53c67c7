// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoMount says that no mount is known.
var ErrNoMount = errors.New("no modelfs mount")

// findMount is the mount that is named, that MODELFS_MOUNT names, or the only one of
// root or of one's own: anybody may mount something that calls itself modelfs.
func findMount(named string) (string, error) {
	if named == "" {
		named = os.Getenv("MODELFS_MOUNT")
	}
	if named != "" {
		return filepath.Abs(named)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("%w: read the mount table: %w", ErrNoMount, err)
	}
	found := map[string]string{} // mount point by device
	for line := range strings.Lines(string(table)) {
		// 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
		left, right, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		before, after := strings.Fields(left), strings.Split(right, " ")
		if !ok || len(before) < 6 || len(after) < 3 || after[0] != "fuse.modelfs" || before[3] != "/" {
			continue
		}
		for option := range strings.SplitSeq(after[2], ",") {
			if uid, err := strconv.Atoi(strings.TrimPrefix(option, "user_id=")); err == nil && strings.HasPrefix(option, "user_id=") && (uid == 0 || uid == os.Geteuid()) {
				found[before[2]] = unescape(before[4])
			}
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: %d mounts of root or of yours: say which with Options.Mount or MODELFS_MOUNT", ErrNoMount, len(found))
	}
	for _, point := range found {
		named = point
	}
	return named, nil
}

// unescape undoes the escapes of the mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
