// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units are the sizes that people write and read, the largest first.
var units = [...]struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// parseSize reads a size such as 8GiB, 1.5GiB or 1073741824. The error of
// anything else says how it is spelt.
func parseSize(text string) (int64, error) {
	const spelling = "a number and KiB, MiB, GiB or TiB, or a number of bytes"
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	number, unit := text[:end], strings.TrimSpace(text[end:])
	scale, known := int64(1), unit == ""
	for _, u := range units {
		if unit == u.name {
			scale, known = u.bytes, true
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a size: write %s", text, spelling)
	case !known:
		if near := rightUnit(unit); near != "" {
			return 0, fmt.Errorf("unknown unit in size %q: did you mean %s%s? (%s)", text, number, near, spelling)
		}
		return 0, fmt.Errorf("unknown unit in size %q (%s)", text, spelling)
	case value == 0:
		return 0, fmt.Errorf("size %q must be more than 0", text)
	case scale == 1 && strings.Contains(number, "."):
		return 0, fmt.Errorf("size %q is not a whole number of bytes (%s)", text, spelling)
	case value*float64(scale) >= math.MaxInt64:
		return 0, fmt.Errorf("size %q is more than fits", text)
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		return whole * scale, nil // exact, where a float may not be
	}
	return int64(value * float64(scale)), nil
}

// rightUnit finds the unit that was meant by 8G, 8gb, 8GB or 8gib.
func rightUnit(unit string) string {
	for _, u := range units {
		if c := strings.ToUpper(unit[:1]); c == u.name[:1] {
			return u.name
		}
	}
	return ""
}

// parseDuration reads a duration as Go writes it, 0 or more.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil && isNumber(text):
		return 0, fmt.Errorf("%q has no unit: did you mean %ss? (10s, 5m, 1h30m)", text, text)
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration: write it like 10s, 5m or 1h30m", text)
	case d < 0:
		return 0, fmt.Errorf("duration %q must not be negative", text)
	}
	return d, nil
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// humanSize writes bytes for people, three digits at the most: 290 MiB.
func humanSize(n int64) string {
	for _, u := range units {
		if v := float64(n) / float64(u.bytes); v >= 0.9995 {
			return threeDigits(v) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

func threeDigits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// humanDuration writes a duration in its largest unit: 45s, 12m, 3h, 5d.
func humanDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// plural writes "1 model" or "3 models".
func plural[N int | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "ss") {
		return fmt.Sprintf("%d %ses", n, one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
