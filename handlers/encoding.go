package handlers

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"tracklane/internal/lane"
)

// The memory of all bodies that are decompressed, in bytes. Those of smallUnpacking and
// largeUnpacking have come as a whole before, so that nobody holds it for long, and
// others wait for it. The rest is for those that are read at the pace of who sends
// them: of files, and of devices, whose key is in the body and was not checked before.
const (
	smallUnpacking = 3 * (largeBody + zstdMemory) // of the lanes whose bodies are small
	largeUnpacking = maxWindow + zstdMemory
	gzipOfFiles    = maxUploads * gzipMemory
	zstdOfFiles    = maxWindow + largeBody + 2*zstdMemory
	ofDevices      = deviceWindow + 2*zstdMemory
)

const (
	// gzipMemory is how many bytes a body of gzip takes to be decompressed, and
	// zstdMemory how many one of zstd does beside its window.
	gzipMemory = 45 << 10
	zstdMemory = 512 << 10

	// maxWindow is the largest window of a body of zstd, in bytes, which RFC 9659 has,
	// and maxWindowExponent its binary logarithm.
	maxWindow         = 1 << maxWindowExponent
	maxWindowExponent = 23

	// deviceWindow is that of a device's body.
	deviceWindow = 1 << 20
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

// plainBody returns a request's body without its Content-Encoding, gzip or zstd, that is
// to be read into b. Neither what was sent nor what becomes of it may exceed the lane's
// limit: beyond, the reader returns an *http.MaxBytesError. done must be called when
// there is no problem and the body has been read.
//
// What is compressed is read as a whole before: who sends slowly keeps no decompressor
// from others.
func (s *Server) plainBody(c *gin.Context, l *lane.Lane, b *body) (source io.Reader, done func(), p *problem) {
	if c.Request.ContentLength > l.MaxBody {
		return nil, nil, tooLarge(l)
	}
	sent := http.MaxBytesReader(c.Writer, c.Request.Body, l.MaxBody)
	if !isEncoded(c.Request) {
		return sent, func() {}, nil
	}
	packed, release := io.Reader(sent), func() {}
	room := unpackingRoom{
		gzip: s.budget.unpackDevices, zstd: s.budget.unpackDevices, decoders: &s.budget.decoders, window: deviceWindow, limit: l.MaxBody,
	}
	if l.Device == nil {
		whole := s.newBody(c)
		if err := whole.readFrom(sent, nil); err != nil {
			whole.release()
			return nil, nil, readProblem(err, l)
		}
		packed, release, b.packed = &bodyReader{body: whole}, whole.release, whole
		room = s.budget.roomOf(l)
		room.waiting = c.Request.Context()
	}
	plain, free, err := decompress(c.Request, packed, room)
	if err != nil {
		release()
		return nil, nil, readProblem(err, l)
	}
	return http.MaxBytesReader(c.Writer, io.NopCloser(plain), l.MaxBody), func() { free(); release() }, nil
}

// unpackingRoom is where bodies are decompressed.
type unpackingRoom struct {
	gzip, zstd *semaphore.Weighted
	decoders   *decoders
	waiting    context.Context // of who waits for room; nil = refused if there is none
	window     uint64          // the largest of zstd, in bytes
	limit      int64           // bytes of a plain body; what is larger is never read
}

// roomOf is where the bodies of a lane are decompressed when they have come. Who fills
// that of the lanes with large bodies keeps no telephone waiting.
func (b *budget) roomOf(l *lane.Lane) unpackingRoom {
	memory := b.unpackLarge
	if l.MaxBody <= largeBody {
		memory = b.unpackSmall
	}
	return unpackingRoom{gzip: memory, zstd: memory, decoders: &b.decoders, window: maxWindow, limit: l.MaxBody}
}

// take takes memory. Its error is errBudget.
func (r unpackingRoom) take(memory *semaphore.Weighted, bytes int64) error {
	if r.waiting == nil {
		if !memory.TryAcquire(bytes) {
			return errBudget
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(r.waiting, turnTimeout)
	defer cancel()
	if memory.Acquire(ctx, bytes) != nil {
		return errBudget
	}
	return nil
}

// decompress returns what was sent without the request's Content-Encoding. done must
// be called when there is no error and all was read. The error is errEncoding,
// errBudget, or that of reading the beginning.
func decompress(r *http.Request, sent io.Reader, room unpackingRoom) (plain io.Reader, done func(), err error) {
	switch encodingOf(r) {
	case "":
		return sent, func() {}, nil
	case "gzip", "x-gzip":
		plain, done, err = decompressGzip(sent, room)
	case "zstd":
		plain, done, err = decompressZstd(sent, room)
	default:
		return nil, nil, errEncoding
	}
	if errors.Is(err, io.EOF) { // an empty body
		return http.NoBody, func() {}, nil
	}
	return plain, done, err
}

func decompressGzip(sent io.Reader, room unpackingRoom) (plain io.Reader, done func(), err error) {
	if err := room.take(room.gzip, gzipMemory); err != nil {
		return nil, nil, err
	}
	done = func() { room.gzip.Release(gzipMemory) }
	if plain, err = gzip.NewReader(sent); err != nil {
		done()
		return nil, nil, err
	}
	return plain, done, nil
}

func decompressZstd(sent io.Reader, room unpackingRoom) (plain io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(sent, 512)
	prefix, err := buffered.Peek(zstd.HeaderMaxSize)
	if len(prefix) == 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	prefix = slices.Clone(prefix)
	window, err := windowOf(prefix, room)
	if err != nil {
		return nil, nil, err
	}
	if _, err := buffered.Discard(len(prefix)); err != nil {
		return nil, nil, fmt.Errorf("read the header of zstd: %w", err)
	}
	memory := int64(window) + zstdMemory
	if err := room.take(room.zstd, memory); err != nil {
		return nil, nil, err
	}
	decoder, err := room.decoders.get(window, io.MultiReader(bytes.NewReader(prefix), buffered))
	if err != nil {
		room.zstd.Release(memory)
		return nil, nil, fmt.Errorf("decompress zstd: %w", err)
	}
	return decoder, func() {
		room.decoders.put(window, decoder)
		room.zstd.Release(memory)
	}, nil
}

// decoders are those of zstd that are not in use, by the binary logarithm of their
// windows. To make one for each body would make garbage of up to maxWindow hundreds of
// times a second, faster than it is collected. Any number of goroutines may use them.
type decoders [maxWindowExponent + 1]sync.Pool

// get returns a decoder of what is sent that takes no larger window than one that
// windowOf returned.
func (d *decoders) get(window uint64, sent io.Reader) (*zstd.Decoder, error) {
	if decoder, ok := d.of(window).Get().(*zstd.Decoder); ok {
		return decoder, decoder.Reset(sent)
	}
	return zstd.NewReader(sent, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
}

// put takes a decoder back that get returned for a window.
func (d *decoders) put(window uint64, decoder *zstd.Decoder) {
	if decoder.Reset(nil) == nil {
		d.of(window).Put(decoder)
	}
}

func (d *decoders) of(window uint64) *sync.Pool { return &d[bits.Len64(window-1)] }

// windowOf returns the window that a body of zstd needs, by its beginning. Programs
// that compress what they do not know the size of name one of 8 MB for a point, so it
// makes the window of the first frame no larger than the plain body may be: nothing of
// it is farther back. It is a power of two.
func windowOf(prefix []byte, room unpackingRoom) (uint64, error) {
	var header zstd.Header
	if err := header.Decode(prefix); err != nil {
		return 0, fmt.Errorf("read the header of zstd: %w", err)
	}
	exponent := bits.Len64(uint64(max(room.limit, largeBody)) - 1)
	needed := uint64(1) << exponent
	window := header.WindowSize
	switch {
	case header.SingleSegment && header.FrameContentSize > uint64(room.limit):
		return 0, &http.MaxBytesError{Limit: room.limit}
	case header.SingleSegment:
		window = header.FrameContentSize
	case header.Skippable: // the next frame is not known
		window = min(needed, room.window)
	case window > maxWindow:
		return 0, errWindow
	case window > needed:
		const descriptor = 5 // behind the magic number and the frame's flags: RFC 8878, 3.1.1.1
		prefix[descriptor] = byte(exponent-10) << 3
		window = needed
	}
	window = 1 << bits.Len64(max(window, zstd.MinWindowSize)-1)
	if window > room.window {
		return 0, errWindow
	}
	return window, nil
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
			Detail: fmt.Sprintf("The window of zstd must not exceed %d bytes, %d for a device's, nor that of the body's first frame.", maxWindow, deviceWindow),
		}
	}
	return nil
}
