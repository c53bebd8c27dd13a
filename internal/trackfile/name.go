package trackfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"tracklane/internal/lane"
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

// DirectoryOf returns the name of the directory that a file with a path is in; empty
// if the path has none.
func DirectoryOf(name string) string {
	directory := path.Base(path.Dir(path.Clean("/" + strings.ReplaceAll(textOf([]byte(name)), `\`, "/"))))
	if directory == "/" {
		return ""
	}
	return directory
}

// MarkedID returns an id that tells the flight of a file from those of all others, also
// of one name: that of its directory, the id that it would have otherwise, and a mark of
// both, of the logger, and of the first fix. It does not depend on what else the
// directory is in, on the files that come with it, or on what is appended to it.
func MarkedID(id, name, device string, first lane.Fix) string {
	directory := DirectoryOf(name)
	name = path.Base(strings.ReplaceAll(textOf([]byte(name)), `\`, "/"))
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %v %v", directory, name, device, first.Time, first.Lat, first.Lon))
	return FlightID(strings.TrimPrefix(directory+"-"+id+"-"+hex.EncodeToString(sum[:6]), "-"))
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
