package handlers

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/trackfile"
)

const (
	// uploadPause is how long uploadStep bytes of a body may take, and uploadTime the
	// whole of it: who sends slowly holds one of the places.
	uploadPause = time.Minute
	uploadStep  = 64 << 10
	uploadTime  = 30 * time.Minute
)

// sniffed is how much of a body tells its kind, in bytes, where its type does not.
const sniffed = 1 << 10

// uploadBody is a body that was posted to the lane upload, without its
// Content-Encoding.
type uploadBody struct {
	files   bool // it is not our own JSON
	encoded bool
	sent    *switchReader
	plain   io.Reader
	done    func() // must be called at the end of the request
}

// switchReader is a source that can be replaced by another one.
type switchReader struct{ io.Reader }

// openUpload finds out what a body is: our own JSON, which is the request's body then,
// or files. The first bytes say it where the Content-Type is none or JSON. It is
// called for who may post alone.
//
// What is compressed takes one of the places of uploads here, before its decompressor.
func (s *Server) openUpload(c *gin.Context, l *lane.Lane, claims *auth.Claims) (*uploadBody, *problem) {
	r := c.Request
	header := r.Header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(header)
	if header != "" && err != nil {
		_, _, problem := contentType(r, l)
		return nil, problem
	}
	body := &uploadBody{sent: &switchReader{http.MaxBytesReader(c.Writer, r.Body, l.MaxBody)}, files: true}
	body.encoded = isEncoded(r)
	leave := func() {}
	if body.encoded {
		var problem *problem
		if leave, problem = s.takePlace(c, claims); problem != nil {
			return nil, problem
		}
	}
	plain, done, err := decompress(r, body.sent, unpackingRoom{
		gzip: s.budget.gzipOfFiles, zstd: s.budget.zstdOfFiles, decoders: &s.budget.decoders, window: maxWindow, limit: maxExpanded,
	})
	if err != nil {
		leave()
		return nil, readProblem(err, l)
	}
	body.plain, body.done = plain, func() { done(); leave() }
	if header == "" || isJSON(mediaType) {
		buffered := bufio.NewReaderSize(body.plain, sniffed)
		prefix, _ := buffered.Peek(sniffed) // the next read returns its error
		body.plain = buffered
		body.files = trackfile.IsGeoJSON(prefix) || header == "" && !mayBeJSON(prefix)
	}
	if !body.files {
		r.Body = io.NopCloser(body.plain)
		r.Header.Del("Content-Encoding")
	}
	return body, nil
}

// takePlace takes one of the places of uploads, and one of the sender's share of them.
// A sender decompresses zstd for one upload at a time: its window is held at the pace
// of who sends. The function that it returns frees them.
func (s *Server) takePlace(c *gin.Context, claims *auth.Claims) (func(), *problem) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), turnTimeout)
	defer cancel()
	if s.uploads.Acquire(ctx, 1) != nil {
		return nil, tooManyLargeRequests()
	}
	sender := addressSender(c)
	if claims != nil && claims.Pilot != "" {
		sender = "pilot " + claims.Pilot
	}
	if !s.uploadShares.acquire(sender, maxSenderUploads) {
		s.uploads.Release(1)
		return nil, tooManyLargeRequests()
	}
	leave := func() {
		s.uploadShares.release(sender)
		s.uploads.Release(1)
	}
	if encodingOf(c.Request) != "zstd" {
		return leave, nil
	}
	if !s.uploadShares.acquire("zstd of "+sender, 1) {
		leave()
		return nil, tooManyLargeRequests()
	}
	return func() {
		s.uploadShares.release("zstd of " + sender)
		leave()
	}, nil
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" || mediaType == "text/json"
}

// mayBeJSON reports whether a body without a type is not certain to be a file.
func mayBeJSON(prefix []byte) bool {
	return len(prefix) == 0 || !bytes.Contains([]byte("AHBIGP<\xef\x1f"), prefix[:1]) && !trackfile.IsCSV(prefix)
}

// content is the plain body of files, read at the pace of large ones.
func (u *upload) content(body *uploadBody) io.Reader {
	source := &uploadReader{
		end:    time.Now().Add(uploadTime),
		source: http.MaxBytesReader(u.c.Writer, u.c.Request.Body, maxUpload), pacing: &u.pacing,
		controller: http.NewResponseController(u.c.Writer),
	}
	body.sent.Reader = source
	if body.encoded {
		return &expandingReader{upload: u, sent: source, plain: body.plain}
	}
	return body.plain
}

// expandingReader is a body without its Content-Encoding, within the limits of
// compressed files.
type expandingReader struct {
	upload   *upload
	sent     *uploadReader
	plain    io.Reader
	expanded int64
}

// Read implements io.Reader. It returns trackfile.ErrLimits, and the errors of the
// request.
func (r *expandingReader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	r.expanded += int64(n)
	if r.expanded > freeExpanded+maxRatio*r.sent.read {
		return 0, trackfile.ErrLimits
	}
	if waiting := r.upload.expand(n); waiting != nil {
		return 0, waiting
	}
	return n, err
}

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
	read       int64 // bytes
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
	r.read += int64(n)
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
