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

// Int returns a field that is a whole number. It returns an error when the
// field is missing or no such number.
func (f Fields) Int(name string) (int64, error) {
	number, err := strconv.ParseInt(f[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s from the INFO of Redis: %w", name, err)
	}
	return number, nil
}
