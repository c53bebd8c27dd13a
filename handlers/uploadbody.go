package handlers

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// uploadPause is how long uploadStep bytes of a body may take, and uploadTime the
	// whole of it: who sends slowly holds one of the places.
	uploadPause = time.Minute
	uploadStep  = 64 << 10
	uploadTime  = 30 * time.Minute
)

// pacing bounds how fast large files are read and decompressed.
type pacing struct {
	ctx    context.Context // the request's
	budget *budget
	free   int // bytes read of unpacedBytes
	due    int // bytes that have not waited yet
}

// wait waits until so many bytes may be read. Its error is the request's.
func (p *pacing) wait(bytes int) error {
	if p.free < unpacedBytes {
		p.free += bytes
		return nil
	}
	for p.due += bytes; p.due >= chunkSize; p.due -= chunkSize {
		if err := p.budget.pace.WaitN(p.ctx, chunkSize); err != nil {
			return err
		}
	}
	return nil
}

// uploadReader reads a body at the pace of large ones, for as long as bytes come.
type uploadReader struct {
	source     io.Reader
	pacing     *pacing
	controller *http.ResponseController
	end        time.Time // of the time that it may take
	step       int
}

// Read implements io.Reader.
func (r *uploadReader) Read(p []byte) (int, error) {
	if r.step <= 0 {
		now := time.Now()
		// A server that cannot do it keeps its own limits.
		if now.After(r.end) {
			return 0, os.ErrDeadlineExceeded
		}
		_ = r.controller.SetReadDeadline(now.Add(uploadPause))
		_ = r.controller.SetWriteDeadline(now.Add(2 * uploadPause))
		r.step = uploadStep
	}
	n, err := r.source.Read(p)
	r.step -= n
	if err == nil {
		err = r.pacing.wait(n)
	}
	return n, err
}

// shares counts what each sender holds. The zero value is ready; any number of
// goroutines may use one at the same time.
type shares struct {
	mu   sync.Mutex
	held map[string]int
}

// acquire reports whether a sender held fewer than limit, and holds one more then,
// which has to be released.
func (s *shares) acquire(sender string, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[sender] >= limit {
		return false
	}
	if s.held == nil {
		s.held = make(map[string]int)
	}
	s.held[sender]++
	return true
}

func (s *shares) release(sender string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[sender]--; s.held[sender] == 0 {
		delete(s.held, sender)
	}
}
