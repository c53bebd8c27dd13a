package handlers

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/zstd"

	"tracklane/internal/lane"
)

const (
	// maxGzip is how many bodies of gzip are decompressed at the same time, and
	// gzipMemory how many bytes each takes for that.
	maxGzip    = 200
	gzipMemory = 45 << 10

	// zstdBudget is the memory of all bodies of zstd that are decompressed, in bytes:
	// each takes the window that it names, and zstdMemory.
	zstdBudget = 12 << 20
	zstdMemory = 512 << 10

	// maxWindow is the largest window of a body of zstd, in bytes. RFC 9659 has it.
	maxWindow = 8 << 20
)

// errEncoding says that a body is in an encoding that is not known.
var errEncoding = errors.New("unknown encoding")

// isEncoded reports whether a request names a Content-Encoding that is one.
func isEncoded(r *http.Request) bool { return encodingOf(r) != "" }

// encodingOf is a request's Content-Encoding in lower case; empty if there is none.
func encodingOf(r *http.Request) string {
	encoding := strings.ToLower(strings.Join(r.Header["Content-Encoding"], ","))
	if encoding == "identity" {
		return ""
	}
	return encoding
}

// plainBody returns a request's body without its Content-Encoding, gzip or zstd.
// Neither what was sent nor what becomes of it may exceed the lane's limit: beyond,
// the reader returns an *http.MaxBytesError. done must be called when there is no
// problem and the body has been read.
func (s *Server) plainBody(c *gin.Context, l *lane.Lane) (source io.Reader, done func(), p *problem) {
	if c.Request.ContentLength > l.MaxBody {
		return nil, nil, tooLarge(l)
	}
	sent := http.MaxBytesReader(c.Writer, c.Request.Body, l.MaxBody)
	if !isEncoded(c.Request) {
		return sent, func() {}, nil
	}
	plain, done, err := s.budget.decompress(c.Request, sent)
	if err != nil {
		return nil, nil, readProblem(err, l)
	}
	return http.MaxBytesReader(c.Writer, io.NopCloser(plain), l.MaxBody), done, nil
}

// decompress returns what was sent without the request's Content-Encoding. done must
// be called when there is no error and all was read. The error is errEncoding,
// errBudget, or that of reading the beginning.
func (b *budget) decompress(r *http.Request, sent io.Reader) (plain io.Reader, done func(), err error) {
	switch encodingOf(r) {
	case "":
		return sent, func() {}, nil
	case "gzip", "x-gzip":
		plain, done, err = b.decompressGzip(sent)
	case "zstd":
		plain, done, err = b.decompressZstd(sent)
	default:
		return nil, nil, errEncoding
	}
	if errors.Is(err, io.EOF) { // an empty body
		return http.NoBody, func() {}, nil
	}
	return plain, done, err
}

func (b *budget) decompressGzip(sent io.Reader) (plain io.Reader, done func(), err error) {
	if !b.gzip.TryAcquire(1) {
		return nil, nil, errBudget
	}
	done = func() { b.gzip.Release(1) }
	if plain, err = gzip.NewReader(sent); err != nil {
		done()
		return nil, nil, err
	}
	return plain, done, nil
}

func (b *budget) decompressZstd(sent io.Reader) (plain io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(sent, 512)
	prefix, err := buffered.Peek(zstd.HeaderMaxSize)
	if len(prefix) == 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	var header zstd.Header
	if err := header.Decode(prefix); err != nil {
		return nil, nil, fmt.Errorf("read the header of zstd: %w", err)
	}
	window := header.WindowSize
	if header.SingleSegment {
		window = header.FrameContentSize
	}
	if header.Skippable { // the next frame is not known
		window = maxWindow
	}
	if window = max(window, zstd.MinWindowSize); window > maxWindow {
		return nil, nil, errWindow
	}
	memory := int64(window) + zstdMemory
	if !b.zstd.TryAcquire(memory) {
		return nil, nil, errBudget
	}
	decoder, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		b.zstd.Release(memory)
		return nil, nil, fmt.Errorf("decompress zstd: %w", err)
	}
	return decoder, func() {
		decoder.Close()
		b.zstd.Release(memory)
	}, nil
}

// errWindow says that a body of zstd needs a larger window than there is.
var errWindow = errors.New("the window is too large")

// encodingProblem is what the client hears of a body whose encoding cannot be read.
func encodingProblem(err error) *problem {
	switch {
	case errors.Is(err, errEncoding):
		return &problem{
			Status: http.StatusUnsupportedMediaType, Title: "Wrong content encoding",
			Detail: "The body may be compressed with gzip or zstd alone, once.",
		}
	case errors.Is(err, errWindow), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return &problem{
			Status: http.StatusUnsupportedMediaType, Title: "Wrong content encoding",
			Detail: fmt.Sprintf("The window of zstd must not exceed %d bytes, nor that of the body's first frame.", maxWindow),
		}
	}
	return nil
}
