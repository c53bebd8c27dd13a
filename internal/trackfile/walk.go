package trackfile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	// prefixBytes is how much of a file tells its format.
	prefixBytes = 4 << 10

	bufferBytes = 32 << 10

	// maxContainers is how many containers a file may be in: a gzip file in a zip
	// file in gzip is the most that anybody makes.
	maxContainers = 3
)

// Limits bounds what compressed files become. All of them are required.
type Limits struct {
	Expanded int64 // bytes, of all compressed files together

	// Ratio is how many times as large as what was read of them compressed files
	// may become, beyond the first FreeExpanded bytes.
	Ratio, FreeExpanded int64

	Files int // in a zip file

	// Pace is called with the number of bytes of each step of decompression; its
	// error ends the walk. Nil is no pace.
	Pace func(bytes int) error
}

// ErrLimits says that a compressed file becomes larger than Limits allow, or that a
// zip file has more files.
var ErrLimits = errors.New("the file becomes too large when it is decompressed, or holds too many files; send its files in several requests")

// Walk calls visit with each file of a source: with itself, or with those of a zip
// or gzip file. name is the file's own, and mediaType what the sender said that it
// is; both may be empty. visit should read the file; what it leaves is skipped.
//
// Walk returns visit's error, ErrLimits, the error of the source, or a *FormatError if
// a zip or gzip file is at fault; the files visited before are good.
func Walk(source io.Reader, name, mediaType string, limits Limits, visit func(*File) error) error {
	w := &walker{limits: limits, visit: visit, source: &countingReader{r: source}}
	err := w.walk(w.source, name, mediaType, nil)
	if w.source.err != nil {
		return w.source.err
	}
	return err
}

type walker struct {
	limits   Limits
	visit    func(*File) error
	source   *countingReader
	expanded int64
	files    int
}

// countingReader counts what is read, and keeps the error of the source apart from
// those of the decoders that read it.
type countingReader struct {
	r    io.Reader
	read int64
	err  error // but io.EOF
}

func (r *countingReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err // bufio.Reader asks again
	}
	n, err := r.r.Read(p)
	r.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// walk visits the files of a source that is in containers of some kinds.
func (w *walker) walk(source io.Reader, name, mediaType string, containers []string) error {
	buffered := bufio.NewReaderSize(source, bufferBytes)
	prefix, err := buffered.Peek(prefixBytes)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case bytes.HasPrefix(prefix, []byte{0x1f, 0x8b}):
		return w.walkGzip(buffered, name, append(containers, "gzip"))
	case bytes.HasPrefix(prefix, []byte("PK\x03\x04")), bytes.HasPrefix(prefix, []byte("PK\x05\x06")):
		return w.walkZip(buffered, name, append(containers, "zip"))
	}
	return w.visit(&File{Name: name, source: buffered, format: formatOf(prefix, name, mediaType)})
}

func (w *walker) walkGzip(source *bufio.Reader, name string, containers []string) error {
	if len(containers) > maxContainers || count(containers, "gzip") > 2 {
		return malformed("The file is compressed several times; send it compressed once.")
	}
	content, err := gzip.NewReader(source)
	if err != nil {
		return expandError(err)
	}
	if lower := strings.ToLower(name); strings.HasSuffix(lower, ".gz") {
		name = name[:len(name)-len(".gz")]
	}
	return expandError(w.walk(&expander{walker: w, r: content}, name, "", containers))
}

// walkZip visits the files of a zip file. A zip file in one may only be a KMZ file.
func (w *walker) walkZip(source *bufio.Reader, name string, containers []string) error {
	nested := count(containers, "zip") > 1
	if nested && (count(containers, "zip") > 2 || !strings.HasSuffix(strings.ToLower(name), ".kmz")) {
		return malformed("A zip file must not hold another one; take it out, and send it by itself.")
	}
	archive := &zipReader{source: source}
	for {
		entry, err := archive.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return expandError(err)
		}
		if skipEntry(entry.name) || strings.HasSuffix(strings.ToLower(name), ".kmz") && !strings.EqualFold(path.Ext(entry.name), ".kml") {
			_, err = io.Copy(io.Discard, &expander{walker: w, r: entry})
		} else if w.files++; w.files > w.limits.Files {
			return ErrLimits
		} else {
			err = w.walkEntry(entry, entryName(name, entry.name), containers)
		}
		if err == nil {
			err = archive.finish()
		}
		if err != nil {
			return expandError(err)
		}
	}
}

// walkEntry visits an entry, whose own faults do not concern the others.
func (w *walker) walkEntry(entry *zipEntry, name string, containers []string) error {
	content := &expander{walker: w, r: entry}
	err := w.walk(content, name, "", slices.Clone(containers))
	if err == nil {
		_, err = io.Copy(io.Discard, content)
	}
	var format *FormatError
	if err = expandError(err); errors.As(err, &format) {
		return w.visit(&File{Name: name, format: failing(format)})
	}
	return err
}

func count(containers []string, kind string) (n int) {
	for _, c := range containers {
		if c == kind {
			n++
		}
	}
	return n
}

// skipEntry reports whether an entry is a directory or what an operating system adds.
// Of a KMZ file, pictures are skipped, too.
func skipEntry(name string) bool {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	return strings.HasSuffix(name, "/") || strings.HasPrefix(name, "__MACOSX/") ||
		strings.HasPrefix(base, ".") || strings.EqualFold(base, "thumbs.db")
}

// entryName is what a file of a zip file is called: a KMZ file's own name is that of
// its doc.kml.
func entryName(archive, entry string) string {
	if archive != "" && strings.EqualFold(path.Base(entry), "doc.kml") {
		return archive
	}
	return entry
}

// expander is a compressed file's content, within the limits.
type expander struct {
	walker *walker
	r      io.Reader
	err    error
}

// Read implements io.Reader. It returns ErrLimits, and the error of the pace.
func (e *expander) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err // bufio.Reader asks again
	}
	var n int
	n, e.err = e.r.Read(p)
	w := e.walker
	w.expanded += int64(n)
	if w.expanded > w.limits.Expanded || w.expanded > w.limits.FreeExpanded+w.limits.Ratio*w.source.read {
		n, e.err = 0, ErrLimits
	} else if w.limits.Pace != nil && n > 0 {
		if err := w.limits.Pace(n); err != nil {
			e.err = err
		}
	}
	return n, e.err
}

// expandError names the errors of packages gzip and flate for the sender.
func expandError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errBreaksOff()
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return malformed(fmt.Sprintf("The compressed file is damaged: %v.", err))
	}
	return err
}

// formatOf returns the format of a file, or nil.
func formatOf(prefix []byte, name, mediaType string) *format {
	if isUTF16(prefix) {
		return failing(malformed("The file is in UTF-16; save it as UTF-8."))
	}
	prefix = bytes.TrimPrefix(prefix, []byte("\xef\xbb\xbf"))
	all := formats()
	for i := range all {
		if all[i].matches(prefix) {
			return &all[i]
		}
	}
	extension := strings.ToLower(path.Ext(name))
	for i := range all {
		if slices.Contains(all[i].extensions, extension) || slices.Contains(all[i].mediaTypes, mediaType) {
			return &all[i]
		}
	}
	return nil
}

// failing is the format of a file that cannot be read.
func failing(err error) *format {
	return &format{read: func(*File) error { return err }}
}

func isUTF16(prefix []byte) bool {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "<\x00", "\x00<", "{\x00", "\x00{"} {
		if bytes.HasPrefix(prefix, []byte(mark)) {
			return true
		}
	}
	return false
}

// MediaTypes are those of all files that Walk reads, beside those that say nothing.
func MediaTypes() []string {
	types := []string{
		"application/zip", "application/x-zip-compressed", "application/gzip", "application/x-gzip",
		"application/vnd.google-earth.kmz",
	}
	for _, f := range formats() {
		types = append(types, f.mediaTypes...)
	}
	return types
}

// HasExtension reports whether a file's name ends as those of files with flights do.
func HasExtension(name string) bool {
	extension := strings.ToLower(path.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz")))
	if extension == ".zip" || extension == ".kmz" {
		return true
	}
	return slices.ContainsFunc(formats(), func(f format) bool { return slices.Contains(f.extensions, extension) })
}
