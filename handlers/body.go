package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"tracklane/internal/clock"
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

	// packed is the whole compressed body that it is read from, if it is: it is read as
	// fast as it comes then, and awaitPace waits for it.
	packed *body
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
		if b.size >= unpacedBytes && b.packed == nil {
			if err := b.paceChunk(); err != nil {
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
// errors are those of paceChunk.
func (b *body) awaitPace() error {
	for read := unpacedBytes; b.packed != nil && read < b.size; read += chunkSize {
		if err := b.paceChunk(); err != nil {
			return err
		}
	}
	return nil
}

// paceChunk waits until a chunk may be read at the pace of large bodies. Its error is
// the request's, or that of extend.
func (b *body) paceChunk() error {
	if err := b.budget.pace.WaitN(b.ctx, chunkSize); err != nil {
		return err
	}
	return b.extend()
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
