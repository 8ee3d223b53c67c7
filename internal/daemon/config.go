// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"
	"time"

	"github.com/modelfs/modelfs/internal/tree"
)

// Mode is how far a kernel feature is wanted.
type Mode string

// The three answers to --passthrough and --hugepages.
const (
	Auto Mode = "auto" // use it where it works, say so where it does not
	On   Mode = "on"   // refuse to start without it
	Off  Mode = "off"  // do without
)

// Policy says who goes first when room is needed.
type Policy string

// The values of --policy.
const (
	LRU    Policy = "lru"    // the least recently used
	LFU    Policy = "lfu"    // the least often used
	Manual Policy = "manual" // nobody: only evict and --ttl free memory
)

// OverBudget says what an open gets when nothing more can go.
type OverBudget string

// The values of --over-budget.
const (
	Origin OverBudget = "origin" // the origin's own file
	Fail   OverBudget = "fail"   // ENOMEM
)

// Config is one mount: what the flags of `modelfs mount` say, checked.
type Config struct {
	MountPoint string   // absolute
	Models     []string // --models: a folder, a weight file or a Hugging Face cache, first wins
	Load, Pin  []string // models to load and to pin at start
	Memory     int64    // budget in bytes
	Policy     Policy
	TTL        time.Duration // 0: until the room is needed
	MaxModels  int           // 0: no limit
	// SessionQuota and SessionTTL are those of a session that has none of its own; 0:
	// no limit.
	SessionQuota int64
	SessionTTL   time.Duration
	OverBudget   OverBudget
	Passthrough  Mode
	HugePages    Mode
	AllowOther   bool
	Variants     []string // that listings show: "f32" of every model, "MODEL@f16" of one
	Version      string   // shown in status
	// Hurry is closed when the end must not wait for the mappings that a daemon
	// without passthrough serves. May be nil.
	Hurry <-chan struct{}
	Log   *slog.Logger
}

// VariantNames are the last parts of what Config.Variants may hold.
func VariantNames() []string { return tree.VariantNames() }
