package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
)

// body is a request's body in memory: what a phone sends in one buffer, and what is
// longer in chunks behind it.
type body struct {
	budget  *budget
	ctx     context.Context     // the request's
	writer  http.ResponseWriter // of its response
	pool    int                 // of the buffer: index into budget.pools
	buffer  *[]byte             // nil once it is released
	chunks  []*[chunkSize]byte
	counted int  // of the chunks, from the first one: those that budget.chunks has counted
	last    bool // it is the one whose further chunks are not counted
	size    int
	end     time.Time // of the time that a large one has to come in

	unpaced bool  // it is read as fast as it comes, and awaitPace waits for it
	packed  *body // the whole compressed body that it is read from, if it is
}

// errBudget says that the bodies of other requests use up the memory for them.
var errBudget = errors.New("too many bodies at once")

// readFrom reads a body to its end. It shows the first line, or all that fits into
// freeBody of it, to check, if that is not nil, before it reads on. It returns
// errBudget when there is no memory left, and the error of source, of check, or of
// the request when that ends while it waits.
func (b *body) readFrom(source io.Reader, check func(head []byte) error) error {
	for {
		room, err := b.room()
		if err != nil {
			return err
		}
		n, err := source.Read(room)
		b.size += n
		ended := errors.Is(err, io.EOF)
		if head := (*b.buffer)[:min(b.size, freeBody)]; check != nil &&
			(ended || len(head) == freeBody || bytes.IndexByte(head, '\n') >= 0) {
			if err := check(head); err != nil {
				return err
			}
			check = nil
		}
		if ended {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// room is where the next bytes go.
func (b *body) room() ([]byte, error) {
	if b.size < len(*b.buffer) {
		return (*b.buffer)[b.size:], nil
	}
	if b.size < maxUsual {
		if !b.budget.reading.TryAcquire(int64(sizeOf(b.pool + 1))) {
			return nil, errBudget
		}
		larger := b.budget.pools[b.pool+1].Get().(*[]byte)
		copy(*larger, *b.buffer)
		b.releaseBuffer()
		b.buffer, b.pool = larger, b.pool+1
		return (*b.buffer)[b.size:], nil
	}
	at := (b.size - maxUsual) % chunkSize
	if at == 0 {
		// A chunk at a time: each waits behind one of every other large body, so
		// that one that is read in small pieces is not slower.
		if b.size >= unpacedBytes && !b.unpaced {
			if err := b.budget.pace.WaitN(b.ctx, chunkSize); err != nil {
				return nil, err
			}
			if err := b.extend(); err != nil {
				return nil, err
			}
		}
		if err := b.addChunk(); err != nil {
			return nil, err
		}
	}
	return b.chunks[len(b.chunks)-1][at:], nil
}

// awaitPace waits as long as it takes to read the body at the pace of large ones. Its
// error is the request's.
func (b *body) awaitPace() error {
	for read := unpacedBytes; b.unpaced && read < b.size; read += chunkSize {
		if err := b.budget.pace.WaitN(b.ctx, chunkSize); err != nil {
			return err
		}
	}
	return nil
}

// bodyReader reads a body that is in memory, and releases the chunks that it has read.
type bodyReader struct {
	body *body
	at   int
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (n int, err error) {
	b := r.body
	if r.at == b.size {
		return 0, io.EOF
	}
	if r.at < maxUsual {
		n = copy(p, (*b.buffer)[r.at:min(b.size, maxUsual)])
		r.at += n
		return n, nil
	}
	at := (r.at - maxUsual) % chunkSize
	n = copy(p, b.chunks[0][at:min(chunkSize, at+b.size-r.at)])
	r.at += n
	if at+n == chunkSize {
		b.releaseChunk()
	}
	return n, nil
}

// addChunk gets memory for the next part of a large body. Where large bodies have all
// there is, they come to their ends one after the other: if each were refused that
// needs more, none would.
func (b *body) addChunk() error {
	switch {
	case b.last:
	case b.packed != nil && b.packed.last:
		b.last, b.packed.last = true, false // it is of the same request
	case b.budget.chunks.TryAcquire(chunkSize):
		b.counted++
	case b.packed != nil: // others wait for the decompressor that it has
		return errBudget
	default:
		if err := b.awaitChunk(); err != nil {
			return err
		}
	}
	b.chunks = append(b.chunks, b.budget.chunkPool.Get().(*[chunkSize]byte))
	return nil
}

// awaitChunk waits until there is memory for a chunk, or until the body is the one
// that needs none of what others have.
func (b *body) awaitChunk() error {
	ctx, cancel := context.WithTimeout(b.ctx, chunkTimeout)
	defer cancel()
	for clock.Sleep(ctx, chunkInterval) {
		switch {
		case b.budget.chunks.TryAcquire(chunkSize):
			b.counted++
			return b.extend()
		case b.budget.last.TryAcquire(1):
			b.last = true
			return b.extend()
		}
	}
	return errBudget
}

// extend gives a large body that was kept waiting time to go on. Its error is an
// os.ErrDeadlineExceeded.
func (b *body) extend() error {
	now := time.Now()
	if b.end.IsZero() {
		b.end = now.Add(largeTime)
	}
	if now.After(b.end) {
		return fmt.Errorf("read a large body: %w", os.ErrDeadlineExceeded)
	}
	// A server that cannot do it keeps its own limits.
	controller := http.NewResponseController(b.writer)
	_ = controller.SetReadDeadline(now.Add(largePause))
	_ = controller.SetWriteDeadline(now.Add(largeAnswer))
	return nil
}

// text returns the whole body. The chunks are released meanwhile: it is in the
// workspace then.
func (b *body) text(space *workspace) []byte {
	if b.size <= maxUsual {
		return (*b.buffer)[:b.size]
	}
	if cap(space.text) < b.size {
		// Room for all bodies of its kind: what is not used takes no memory.
		space.text = make([]byte, 0, max(b.size, largeBody))
	}
	space.text = append(space.text[:0], *b.buffer...)
	for len(b.chunks) > 0 {
		space.text = append(space.text, b.chunks[0][:min(chunkSize, b.size-len(space.text))]...)
		b.releaseChunk()
	}
	return space.text
}

// release frees the memory of the body, which must not be used after that. It may
// be called again.
func (b *body) release() {
	if b.buffer != nil {
		b.releaseBuffer()
		b.buffer = nil
	}
	for len(b.chunks) > 0 {
		b.releaseChunk()
	}
}

func (b *body) releaseBuffer() {
	b.budget.pools[b.pool].Put(b.buffer)
	if b.pool > 0 {
		b.budget.reading.Release(int64(sizeOf(b.pool)))
	}
}

func (b *body) releaseChunk() {
	b.budget.chunkPool.Put(b.chunks[0])
	b.chunks = b.chunks[1:]
	if b.counted > 0 {
		b.budget.chunks.Release(chunkSize)
		b.counted--
	}
	if len(b.chunks) == 0 && b.last {
		b.budget.last.Release(1)
		b.last = false
	}
}

// readBody reads what a client posted to a lane, up to the lane's limit. The body
// must be released, an incomplete one too, which comes with the problem.
func (s *Server) readBody(c *gin.Context, l *lane.Lane, check func(head []byte) error) (*body, *problem) {
	b := s.newBody(c)
	mediaType, parameters, refused := contentType(c.Request, l)
	if refused != nil {
		return b, refused
	}
	return b, s.readPlain(c, l, b, func(source io.Reader) (p *problem) {
		if mediaType == "multipart/form-data" {
			if source, p = s.budget.filePart(source, parameters["boundary"], l); p != nil {
				return p
			}
		}
		if mediaType == "application/x-www-form-urlencoded" {
			if source, p = fieldOf(source, l); p != nil {
				return p
			}
		}
		if err := b.readFrom(source, check); err != nil {
			return readProblem(err, l)
		}
		return nil
	})
}

// readPlain calls read with a request's body without its Content-Encoding, to read it
// into b.
func (s *Server) readPlain(c *gin.Context, l *lane.Lane, b *body, read func(source io.Reader) *problem) *problem {
	source, done, p := s.plainBody(c, l, b)
	if p != nil {
		return p
	}
	// A decompressor is not held while others are waited for.
	b.unpaced = isEncoded(c.Request) && l.Device == nil
	p = func() *problem {
		defer done()
		return read(source)
	}()
	if p != nil {
		b.release() // what follows may take seconds
	}
	if err := b.awaitPace(); err != nil && p == nil {
		p = readProblem(err, l)
	}
	return p
}

// newBody returns a body of which nothing has been read.
func (s *Server) newBody(c *gin.Context) *body {
	return &body{budget: s.budget, ctx: c.Request.Context(), writer: c.Writer, buffer: s.budget.pools[0].Get().(*[]byte)}
}

// readAnyBody is readBody of a body of whatever type.
func (s *Server) readAnyBody(c *gin.Context, l *lane.Lane) (*body, *problem) {
	b := s.newBody(c)
	return b, s.readPlain(c, l, b, func(source io.Reader) *problem {
		if err := b.readFrom(source, nil); err != nil {
			return readProblem(err, l)
		}
		return nil
	})
}

// contentType returns the request's media type, or a problem when the lane
// does not accept it.
func contentType(r *http.Request, l *lane.Lane) (string, map[string]string, *problem) {
	header := r.Header.Get("Content-Type")
	if header == "" || header == "application/json" && l.ContentTypes[0] == header {
		return header, nil, nil
	}
	mediaType, parameters, err := mime.ParseMediaType(header)
	if err == nil {
		for _, accepted := range l.ContentTypes {
			family, isFamily := strings.CutSuffix(accepted, "*")
			if mediaType == accepted || isFamily && strings.HasPrefix(mediaType, family) {
				return mediaType, parameters, nil
			}
		}
	}
	return "", nil, &problem{
		Status: http.StatusUnsupportedMediaType, Title: "Wrong content type",
		Detail: fmt.Sprintf("Send the body as %s.", strings.Join(l.ContentTypes, ", ")),
	}
}

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

func malformed(detail string) *problem {
	return &problem{Status: http.StatusBadRequest, Title: "Malformed body", Detail: detail}
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

func readProblem(err error, l *lane.Lane) *problem {
	var limit *http.MaxBytesError
	var refused *refusal
	if p := encodingProblem(err); p != nil {
		return p
	}
	switch {
	case errors.As(err, &refused):
		return refused.problem
	case errors.As(err, &limit):
		return tooLarge(l)
	case errors.Is(err, errBudget):
		return tooManyLargeRequests()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{
			Status: http.StatusServiceUnavailable, Title: "Body too slow",
			Detail: "The body did not come in time, and nothing of it was kept. Send it again, in several requests if it is large.",
		}
	}
	return malformed("The body ended before it was complete; send it again.")
}

func tooLarge(l *lane.Lane) *problem {
	return &problem{
		Status: http.StatusRequestEntityTooLarge, Title: "Body too large",
		Detail: fmt.Sprintf("A body must not exceed %d bytes; send the points in several requests.", l.MaxBody),
	}
}
