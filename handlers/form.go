package handlers

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"slices"

	"tracklane/internal/lane"
)

const (
	// maxParts is how many parts of a form are looked at.
	maxParts = 5

	// maxPartHeader is the largest header of a part, in bytes, and what package
	// multipart reads ahead of it. It takes 10 MB, and makes 20 times as much of
	// many short lines.
	maxPartHeader = 8 << 10

	// maxPartFields is how many different fields it may have.
	maxPartFields = 16

	// maxBeforeFile is how many bytes may come before the file: a key that is
	// checked in the file has not been checked then.
	maxBeforeFile = 64 << 10
)

// filePart returns the part of a multipart form that is named "file" or "data".
func (b *budget) filePart(source io.Reader, boundary string, l *lane.Lane) (io.Reader, *problem) {
	if !b.forms.TryAcquire(1) {
		return nil, tooManyLargeRequests()
	}
	defer b.forms.Release(1)
	bounded := &boundedReader{source: source}
	form := multipart.NewReader(bounded, boundary)
	before := maxBeforeFile
	for range maxParts {
		bounded.left = min(before, maxPartHeader)
		before -= bounded.left
		part, err := form.NextPart()
		if err != nil && bounded.left == 0 { // whatever the cut-off line made of the error
			return nil, malformed(fmt.Sprintf("The header of a part must not exceed %d bytes.", maxPartHeader))
		}
		if err != nil {
			problem := readProblem(err, l)
			if problem.Status == http.StatusBadRequest {
				problem.Detail = `The form has no part named "file".`
			}
			return nil, problem
		}
		if len(part.Header) > maxPartFields {
			return nil, malformed(fmt.Sprintf("The header of a part must not have more than %d fields.", maxPartFields))
		}
		if name := part.FormName(); name == "file" || name == "data" {
			bounded.left = math.MaxInt
			return part, nil
		}
		before += bounded.left
		bounded.left = before
		if _, err := io.Copy(io.Discard, part); errors.Is(err, errBeforeFile) {
			return nil, malformed(fmt.Sprintf(`The form has no part named "file" in its first %d bytes.`, maxBeforeFile))
		} else if err != nil {
			return nil, readProblem(err, l)
		}
		before = bounded.left
	}
	return nil, malformed(fmt.Sprintf(`The form has no part named "file" among its first %d.`, maxParts))
}

// fieldOf returns the field "file" or "data" of an urlencoded form, or the body itself
// if it is none: clients say so of raw bodies, too, which begin with no letter.
func fieldOf(source io.Reader, l *lane.Lane) (io.Reader, *problem) {
	bounded := &boundedReader{source: source, left: maxBeforeFile}
	buffered := bufio.NewReaderSize(bounded, 512)
	first, err := buffered.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, readProblem(err, l)
	}
	var field io.Reader = buffered
	if len(first) == 1 && (first[0]|' ' >= 'a' && first[0]|' ' <= 'z') {
		f := &fieldReader{source: buffered}
		if err := f.find("file", "data"); err != nil {
			p := readProblem(err, l)
			if p.Status == http.StatusBadRequest {
				p.Detail = fmt.Sprintf(`The form has no field "file" or "data" in its first %d bytes.`, maxBeforeFile)
			}
			return nil, p
		}
		field = f
	}
	bounded.left = math.MaxInt
	return field, nil
}

// fieldReader reads a field of an urlencoded form, as what its escapes stand for.
type fieldReader struct {
	source *bufio.Reader
	end    bool
}

// find skips the fields before the first one with one of the names. It returns io.EOF
// if there is none.
func (r *fieldReader) find(names ...string) error {
	for {
		var name []byte
		inName := true
		for inName {
			c, err := r.source.ReadByte()
			if err != nil {
				return err
			}
			if inName = c != '=' && c != '&'; inName {
				name = append(name, c)
			} else if c == '=' && slices.Contains(names, string(name)) {
				return nil
			} else if c == '=' {
				if err := r.skip(); err != nil {
					return err
				}
			}
		}
	}
}

// skip skips a value, and the sign behind it.
func (r *fieldReader) skip() error {
	for {
		c, err := r.source.ReadByte()
		if err != nil || c == '&' {
			return err
		}
	}
}

// Read implements io.Reader.
func (r *fieldReader) Read(p []byte) (n int, err error) {
	for n < len(p) && !r.end {
		if n > 0 && r.source.Buffered() == 0 {
			return n, nil // what is there need not wait for more
		}
		c, err := r.source.ReadByte()
		switch {
		case err != nil:
			return n, err
		case c == '&':
			r.end = true
			return n, io.EOF
		case c == '+':
			c = ' '
		case c == '%':
			var digits [2]byte
			if _, err := io.ReadFull(r.source, digits[:]); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return n, err
			}
			if _, err := hex.Decode(digits[:1], digits[:]); err != nil {
				return n, fmt.Errorf("read an escape: %w", err)
			}
			c = digits[0]
		}
		p[n] = c
		n++
	}
	if r.end {
		return n, io.EOF
	}
	return n, nil
}

// errBeforeFile says that too much of a form comes before its file.
var errBeforeFile = errors.New("too much comes before the file")

// boundedReader reads no more than a number of bytes from its source.
type boundedReader struct {
	source io.Reader
	left   int
}

// Read implements io.Reader. It returns errBeforeFile when no bytes are left.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errBeforeFile
	}
	n, err := r.source.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
