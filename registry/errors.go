// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrBusy says that an item is in use: references are held, or Config.Evict
	// answered that somebody uses it in a way the registry cannot see.
	ErrBusy = errors.New("in use")
	// ErrPinned says that an item's group is pinned.
	ErrPinned = errors.New("pinned")
	// ErrNoRoom says that nothing more can go. The error in full is a
	// *NoRoomError.
	ErrNoRoom = errors.New("no room")
	// ErrClosed says that the registry is closed.
	ErrClosed = errors.New("registry closed")
)

// Holder is a group that keeps memory from others.
type Holder struct {
	Group   string
	Bytes   int64
	Refs    int
	Pinned  bool
	Loading bool
	Written bool // it has bytes that are no item, by Reserve
}

// NoRoomError says how much was needed and who holds the rest.
type NoRoomError struct {
	Group        string
	Need         int64
	Budget, Free int64
	MaxGroups    int  // set when the maximum of groups is the reason
	Manual       bool // the policy frees nothing by itself
	Holders      []Holder
}

// Error names the sizes and what stands in the way.
func (e *NoRoomError) Error() string {
	switch {
	case e.MaxGroups > 0 && e.Manual:
		return fmt.Sprintf("%s cannot be loaded: the maximum of %s is reached and the policy is manual: evict one first (modelfs evict)", e.Group, count(e.MaxGroups, "model"))
	case e.MaxGroups > 0:
		return fmt.Sprintf("%s cannot be loaded: the maximum of %s is reached and all of them are in use or pinned (modelfs ps)", e.Group, count(e.MaxGroups, "model"))
	case e.Need > e.Budget:
		return fmt.Sprintf("%s needs %s, the whole budget is %s: mount with a larger --memory", e.Group, Size(e.Need), Size(e.Budget))
	}
	var names []string
	for i, h := range e.Holders {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(e.Holders)-i))
			break
		}
		names = append(names, fmt.Sprintf("%s %s %s", h.Group, Size(h.Bytes), e.why(h)))
	}
	return fmt.Sprintf("%s needs %s, %s of %s are free and the rest is in use by %s: %s (modelfs ps)",
		e.Group, Size(e.Need), Size(e.Free), Size(e.Budget), count(len(e.Holders), "model"), strings.Join(names, ", "))
}

// why says what keeps a holder's memory.
func (e *NoRoomError) why(h Holder) string {
	switch {
	case h.Pinned:
		return "pinned"
	case h.Refs > 0:
		return count(h.Refs, "reference")
	case h.Loading:
		return "loading"
	case h.Written:
		return "written by a process"
	case e.Manual:
		return "until evicted"
	}
	return "mapped"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Unwrap makes errors.Is(err, ErrNoRoom) true.
func (e *NoRoomError) Unwrap() error { return ErrNoRoom }

// Size writes a number of bytes for people, in binary units.
func Size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
