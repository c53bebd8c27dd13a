package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/clock"
)

// streamFlood is what many hostile clients send at the same time over HTTP/2, by
// frames that they make themselves: they keep no rule that the server does not make
// them keep.
type streamFlood struct {
	name        string
	connections int
	settings    []byte // of the client
	frames      []byte // that are sent once
	again       []byte // that are sent again and again; their stream is each time the next one
	unread      bool   // the client reads nothing
	slow        bool   // takes longer than a usual run of the tests should
}

// The types and flags of frames: RFC 9113, section 6.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameContinuation = 0, 1, 3, 4, 6, 9

	endStream, endHeaders = 1, 4

	initialWindow, streamWindow = 65_535, 4 // what a client may send at first; the setting of its own
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// fields encodes a header without a table: RFC 7541, 6.2.2.
func fields(pairs ...string) (block []byte) {
	for i, text := range pairs {
		if i%2 == 0 {
			block = append(block, 0)
		}
		n := len(text)
		if n < 127 {
			block = append(block, byte(n))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

func (s *abusedServer) streamHeader(method, path string, more ...string) []byte {
	return fields(append([]string{":method", method, ":scheme", "https", ":authority", "127.0.0.1", ":path", path,
		"authorization", "Bearer " + s.good, "content-type", "application/json"}, more...)...)
}

// requests opens n streams with the same header, and sends so much of a body on each
// as a client may before the server has read any.
func requests(n int, header, body []byte) []byte {
	var frames []byte
	for i := range uint32(n) {
		frames = append(frames, frame(frameHeaders, endHeaders, 2*i+1, header)...)
	}
	for i := range uint32(n) {
		share := body[:min(len(body), initialWindow/n, 1<<14)]
		if len(share) > 0 {
			frames = append(frames, frame(frameData, 0, 2*i+1, share)...)
		}
	}
	return frames
}

// streamFloods are those of memory.
func (s *abusedServer) streamFloods() []streamFlood {
	points := []byte(strings.Repeat(" ", initialWindow))
	post := func(path string, more ...string) []byte { return s.streamHeader("POST", path, more...) }
	var large []string
	for i := range 50 {
		large = append(large, fmt.Sprint("x-", i), strings.Repeat("x", 150))
	}
	tiny := make([]byte, 0, 1<<14)
	for i := 0; len(tiny) < 1<<14-16; i++ {
		tiny = append(tiny, fields(fmt.Sprintf("%x", i), "")...)
	}
	noWindow := binary.BigEndian.AppendUint32([]byte{0, streamWindow}, 0)
	reset := append(frame(frameHeaders, endHeaders, 1, post("/live")), frame(frameReset, 0, 1, make([]byte, 4))...)
	return []streamFlood{
		{name: "streams with bodies that end late", connections: 100, frames: requests(8, post("/scoring"), points)},
		{name: "streams with large headers", connections: 100, slow: true, frames: requests(8, post("/scoring", large...), points)},
		{name: "more streams than there may be", connections: 100, frames: requests(1000, post("/live"), points)},
		{name: "streams with files", connections: 100, slow: true, frames: requests(8, post("/upload?filename=a.igc", "content-encoding", "gzip"), points)},
		{name: "streams that are reset", connections: 50, again: reset},
		{name: "streams of a table of headers", connections: 50, slow: true, again: frame(frameHeaders, endHeaders|endStream, 1, append(post("/live"), tiny[:12<<10]...))},
		{name: "headers that do not end", connections: 50, slow: true, frames: frame(frameHeaders, 0, 1, post("/live")), again: frame(frameContinuation, 0, 1, tiny)},
		{name: "pages that nobody reads", connections: 100, slow: true, settings: noWindow, unread: true, frames: requests(8, s.streamHeader("GET", "/docs"), nil)},
		{name: "pings that nobody reads", connections: 50, slow: true, unread: true, again: frame(framePing, 0, 0, make([]byte, 8))},
		{name: "idle connections of many", connections: 2500, slow: true},
		{name: "streams of many", connections: 2500, slow: true, frames: requests(8, post("/scoring"), points)},
		{name: "waiting files of many", connections: 2500, slow: true, frames: requests(8, post("/upload?filename=a.igc"), points)},
	}
}

// run floods the server until ctx ends. It calls ready when every client has sent what
// it sends once.
func (f streamFlood) run(ctx context.Context, s *abusedServer, authorities *x509.CertPool, ready func()) {
	var sending, clients sync.WaitGroup
	for i := range f.connections {
		sending.Add(1)
		clients.Go(func() {
			done := sync.OnceFunc(sending.Done)
			defer done()
			f.send(ctx, s, i/490, authorities, done)
		})
	}
	sending.Wait()
	ready()
	clients.Wait()
}

func (f streamFlood) send(ctx context.Context, s *abusedServer, address int, authorities *x509.CertPool, sent func()) {
	raw, err := dialFrom(address, s.url)
	if err != nil {
		return
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	c := tls.Client(raw, &tls.Config{RootCAs: authorities, ServerName: "127.0.0.1", NextProtos: []string{"h2"}})
	start := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, f.settings)...)
	if _, err := c.Write(append(start, f.frames...)); err != nil {
		return
	}
	if !f.unread {
		go func() { _, _ = io.Copy(io.Discard, c) }() // ends when the connection is closed
	}
	sent()
	for stream := uint32(1); f.again != nil && err == nil; stream += 2 {
		_, err = c.Write(onStream(f.again, stream))
	}
	<-ctx.Done()
}

// onStream returns frames of stream 1 on another stream; but continuations, which are
// of one header, and frames of no stream stay where they are.
func onStream(frames []byte, stream uint32) []byte {
	moved := bytes.Clone(frames)
	for at := 0; at < len(moved); {
		head := moved[at : at+9]
		if head[3] != frameContinuation && head[3] != framePing {
			binary.BigEndian.PutUint32(head[5:], stream)
		}
		at += 9 + int(binary.BigEndian.Uint32(head)>>8)
	}
	return moved
}

// client is one that keeps the rules, from an address of its own.
func (s *abusedServer) client(authorities *x509.CertPool) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: authorities}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1,
	}}
}

// postBody posts a body to a path, and returns the status; 0 is a connection that was
// closed.
func (s *abusedServer) postBody(ctx context.Context, client *http.Client, path string, body []byte) (code int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+s.good)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	if response.ProtoMajor != 2 {
		err = errors.New("it is not HTTP/2")
	}
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// startSecure starts the server with TLS, and returns who its certificate is of.
func startSecure(t *testing.T) (*abusedServer, *x509.CertPool) {
	t.Helper()
	a := newAuthority(t)
	certFile, keyFile := a.issue(t, t.TempDir())
	certificate, err := os.ReadFile(a.file)
	require.NoError(t, err)
	authorities := x509.NewCertPool()
	require.True(t, authorities.AppendCertsFromPEM(certificate))
	return startAbused(t, "TLS_CERT_FILE="+certFile, "TLS_KEY_FILE="+keyFile), authorities
}

func TestFlood_OfStreams(t *testing.T) {
	parallelUnlessFull(t)
	s, authorities := startSecure(t)
	duration := time.Second
	if *full {
		duration = 5 * time.Second
	}
	for _, f := range s.streamFloods() {
		if f.slow && !*full {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s.awaitNoClients(t)
			s.resetPeak(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended, ready := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				f.run(ctx, s, authorities, func() { close(ready) })
			}()
			<-ready
			clock.Sleep(ctx, duration) // what they hold is in the server's memory by then
			start := time.Now()
			code, err := s.postBody(ctx, s.client(authorities), "/live", []byte(flight("other", 1)))
			t.Logf("%d MB at the most; another client was served after %v", s.peak(t)>>20, time.Since(start))
			assert.NoError(t, err)
			assert.Contains(t, []int{201, 202}, code)
			cancel()
			<-ended
			assert.Less(t, s.peak(t), maxResident)
		})
	}
	assert.NotContains(t, s.log.String(), "panic")
}

// Clients who keep the rules send as many bodies of 15 MB at once as a connection
// takes.
func TestFlood_OfStreamsWithLargeBodies(t *testing.T) {
	parallelUnlessFull(t)
	if !*full {
		return
	}
	s, authorities := startSecure(t)
	usual := s.floods()[1].request
	_, body, _ := bytes.Cut(usual, []byte("\r\n\r\n"))
	var (
		mu    sync.Mutex
		codes = make(map[int]int)
		all   sync.WaitGroup
	)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 12 {
		client := s.client(authorities)
		for range 8 {
			all.Go(func() {
				for ctx.Err() == nil {
					code, _ := s.postBody(ctx, client, "/upload", body) // what counts is the code
					mu.Lock()
					codes[code]++
					mu.Unlock()
				}
			})
		}
	}
	clock.Sleep(ctx, 10*time.Second) // they share the pace of large bodies by then
	start := time.Now()
	code, err := s.postBody(t.Context(), s.client(authorities), "/live", []byte(flight("other", 1)))
	assert.NoError(t, err)
	assert.Contains(t, []int{201, 202}, code)
	took := time.Since(start)
	all.Wait()
	t.Logf("%d MB at the most, %v; another client was served after %v", s.peak(t)>>20, codes, took)
	assert.Less(t, s.peak(t), maxResident)
}
