package trackfile

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxID is how many characters a flight's id has at the most.
const maxID = 100

// FlightID returns the id of the flight in a file with a path: its name without
// directories and extension. A name that is too long for an id is cut, and made
// unique again. The result is empty if nothing is left.
func FlightID(name string) string {
	name = path.Base(strings.ReplaceAll(textOf([]byte(name)), `\`, "/"))
	if name == "." || name == "/" {
		return ""
	}
	for HasExtension(name) {
		name = name[:len(name)-len(path.Ext(name))]
	}
	name = strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, name))
	if runes := []rune(name); len(runes) > maxID {
		sum := sha256.Sum256([]byte(name))
		mark := "-" + hex.EncodeToString(sum[:4])
		name = string(runes[:maxID-len(mark)]) + mark
	}
	return name
}

// LongerIDs returns what tells a file's flight from others whose files have the same
// name: its id with more and more of the directories before it, up to eight.
func LongerIDs(name string) []string {
	id := FlightID(name)
	parts := strings.Split(path.Clean("/"+strings.ReplaceAll(textOf([]byte(name)), `\`, "/")), "/")
	parts = parts[1 : len(parts)-1]
	var ids []string
	for i := range min(len(parts), 8) {
		if id = FlightID(parts[len(parts)-1-i] + "-" + id); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// RecordedID returns an id for the flight of a file without a name: who flew, when
// the first fix was, and with which logger. It is empty if neither pilot nor logger
// are known: two flights could have the same then.
func RecordedID(pilot string, first time.Time, device string) string {
	if pilot == "" && device == "" {
		return ""
	}
	parts := []string{pilot, first.UTC().Format("20060102-150405"), device}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return FlightID(strings.NewReplacer("/", "-", `\`, "-", " ", "-").Replace(strings.Join(parts, "-")))
}
