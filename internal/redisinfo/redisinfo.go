// Package redisinfo reads what Redis's command INFO returns.
package redisinfo

import (
	"fmt"
	"strconv"
	"strings"
)

// Fields are the fields of an INFO by their names.
type Fields map[string]string

// Parse reads the text of an INFO, of any sections. What is not a field is
// skipped.
func Parse(text string) Fields {
	fields := make(Fields)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			fields[name] = value
		}
	}
	return fields
}

// ReplicaOffsets returns how much of the replication stream each replica that is
// online has acknowledged, in bytes and in no order. It reads fields such as
// slave0:ip=127.0.0.1,port=6380,state=online,offset=14,lag=1.
func (f Fields) ReplicaOffsets() (offsets []int64) {
	for name, value := range f {
		number, ok := strings.CutPrefix(name, "slave")
		if _, err := strconv.Atoi(number); !ok || err != nil || !strings.Contains(value, "state=online") {
			continue
		}
		_, rest, _ := strings.Cut(value, "offset=")
		text, _, _ := strings.Cut(rest, ",")
		if offset, err := strconv.ParseInt(text, 10, 64); err == nil {
			offsets = append(offsets, offset)
		}
	}
	return offsets
}

// Int returns a field that is a whole number. It returns an error when the
// field is missing or no such number.
func (f Fields) Int(name string) (int64, error) {
	number, err := strconv.ParseInt(f[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s from the INFO of Redis: %w", name, err)
	}
	return number, nil
}
