// Package fuzztest says which times a text holds, for the fuzz tests of what reads
// times: a time that is stored and not among them was made up. It shares no code with
// what it tests.
package fuzztest

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Times are the times that a text holds, in Unix microseconds: wherever one is written
// as in ISO 8601, with its zone or in UTC without one, and each number as Unix
// seconds, milliseconds and microseconds. Further digits are cut off.
func Times(text string) map[int64]bool {
	times := make(map[int64]bool)
	written := regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([-+ ])(\d\d)(?::?(\d\d))?)?`)
	for i := range text {
		if i+4 < len(text) && text[i+4] == '-' {
			if parts := written.FindStringSubmatch(text[i:]); parts != nil {
				addWritten(times, parts)
			}
		}
	}
	for _, parts := range regexp.MustCompile(`(\d+)(?:\.(\d*))?`).FindAllStringSubmatch(text, -1) {
		whole, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			continue
		}
		for unit := int64(1); unit <= 1_000_000; unit *= 1000 {
			if whole < 1<<62/unit {
				times[whole*unit+fraction(parts[2])*unit/1_000_000] = true
			}
		}
	}
	return times
}

func addWritten(times map[int64]bool, parts []string) {
	var n [7]int
	for i := 1; i < len(n); i++ {
		n[i], _ = strconv.Atoi(parts[i]) // they are digits
	}
	year, month, day := n[1], time.Month(n[2]), n[3]
	if date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC); date.Month() != month || date.Day() != day {
		return
	}
	at := time.Date(year, month, day, n[4], n[5], n[6], 0, time.UTC).UnixMicro() + fraction(parts[7])
	if parts[8] == "" {
		times[at] = true
		return
	}
	hours, _ := strconv.Atoi(parts[9])
	minutes, _ := strconv.Atoi(parts[10]) // none are 0
	offset := (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute).Microseconds()
	if parts[8] == "-" {
		offset = -offset
	}
	times[at-offset] = true
}

// fraction is a fraction's first six digits, as millionths.
func fraction(digits string) int64 {
	n, _ := strconv.ParseInt((digits + "000000")[:6], 10, 64) // they are digits
	return n
}

// Unescaped is a text with the escapes of JSON that stand for ASCII replaced.
func Unescaped(text string) string {
	escape := regexp.MustCompile(`\\u00[0-7][0-9a-fA-F]`)
	return strings.ReplaceAll(escape.ReplaceAllStringFunc(text, func(e string) string {
		code, _ := strconv.ParseUint(e[2:], 16, 8) // as the pattern says
		return string(rune(code))
	}), `\/`, "/")
}
