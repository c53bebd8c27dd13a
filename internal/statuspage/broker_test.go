package statuspage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/sse"
)

// These tests run a real HTTP server over in-memory connections, in a bubble
// whose clock stands still while anything works.

// testServer is a page on such a server.
type testServer struct {
	page  *Page
	calls atomic.Int64 // of the source
	conns chan net.Conn
	done  chan struct{}
	end   func() // ends Run, and waits until it has ended
}

func startTestServer(t *testing.T, source Source) *testServer {
	t.Helper()
	b := &testServer{conns: make(chan net.Conn), done: make(chan struct{})}
	b.page = New(func(ctx context.Context) (Snapshot, error) {
		b.calls.Add(1)
		return source(ctx)
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	server := &http.Server{Handler: b.page, ReadHeaderTimeout: time.Second}
	var running, serving sync.WaitGroup
	running.Go(func() { b.page.Run(ctx) })
	serving.Go(func() { assert.ErrorIs(t, server.Serve(b), http.ErrServerClosed) })
	b.end = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(func() {
		b.end()
		assert.NoError(t, server.Close())
		serving.Wait()
	})
	return b
}

// Accept, Close and Addr implement net.Listener.
func (b *testServer) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

func (b *testServer) Close() error {
	close(b.done)
	return nil
}

func (b *testServer) Addr() net.Addr { return new(net.TCPAddr) }

// subscribe opens the page's events. Nothing is read before the caller does.
func (b *testServer) subscribe(t *testing.T) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			b.conns <- far
			return near, nil
		},
		DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: 64,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://page/events", nil)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// drain reads events until they end, and counts them by name.
func drain(response *http.Response) *events {
	e := &events{ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			e.mu.Lock()
			e.lines = append(e.lines, lines.Text())
			e.mu.Unlock()
		}
	}()
	return e
}

type events struct {
	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

// names lists the events and comments so far.
func (e *events) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, line := range e.lines {
		if name, is := strings.CutPrefix(line, "event: "); is {
			names = append(names, name)
		} else if strings.HasPrefix(line, ":") {
			names = append(names, "heartbeat")
		}
	}
	return names
}

// data decodes the data of event number i.
func data[T any](t *testing.T, e *events, i int) T {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	var value T
	for _, line := range e.lines {
		if text, is := strings.CutPrefix(line, "data: "); is {
			if i == 0 {
				require.NoError(t, json.Unmarshal([]byte(text), &value))
				return value
			}
			i--
		}
	}
	require.Fail(t, "there are fewer events")
	return value
}

// let makes time pass, and waits until all has come of it.
func let(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func now(context.Context) (Snapshot, error) { return madeUp(time.Now()), nil }

func TestBroker_SendsHistoryThenASnapshotASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		let(12 * time.Second)
		response := b.subscribe(t)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		e := drain(response)
		synctest.Wait()
		require.Equal(t, []string{"history", "snapshot"}, e.names(), "what is known already comes at once")
		let(3*time.Second + time.Millisecond)
		assert.Equal(t, []string{"history", "snapshot", "snapshot", "snapshot", "snapshot"}, e.names())

		samples := data[struct{ Samples []sample }](t, e, 0).Samples
		require.Len(t, samples, 3)
		assert.Equal(t, sampleInterval, samples[2].At.Sub(samples[1].At))
		want := madeUp(samples[1].At).Lanes[0]
		assert.Equal(t, laneSample{In: want.InPerSecond, Out: want.OutPerSecond, Waiting: &want.Waiting},
			samples[1].Lanes["live"])
		shown := data[Snapshot](t, e, 3)
		assert.Equal(t, madeUp(shown.At), shown)
	})
}

func TestPage_AsksTheSourceOnceASecondForAllSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		let(60*time.Second + time.Millisecond)
		assert.EqualValues(t, 13, b.calls.Load(), "without subscribers, only the history asks")
		var all []*events
		for range 30 {
			all = append(all, drain(b.subscribe(t)))
		}
		b.calls.Store(0)
		let(20 * time.Second)
		assert.EqualValues(t, 20, b.calls.Load())
		for _, e := range all {
			assert.Len(t, e.names(), 22)
		}
	})
}

func TestHistory_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		let(time.Hour)
		samples := b.page.broker.history.samples()
		require.Len(t, samples, maxSamples)
		assert.Equal(t, historyLength-sampleInterval, samples[maxSamples-1].At.Sub(samples[0].At))
		assert.Less(t, time.Since(samples[maxSamples-1].At), sampleInterval+snapshotInterval)
	})
}

func TestHistory_WaitingIsUnknownWhileRedisIsDown(t *testing.T) {
	summary := sampleOf(withoutRedis(madeUp(time.Now())))
	assert.Nil(t, summary.Lanes["live"].Waiting)
	assert.Positive(t, summary.Lanes["live"].In)
}

func TestBroker_EvictsASlowSubscriberAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		synctest.Wait()
		b.subscribe(t) // and never read
		e := drain(b.subscribe(t))
		let(time.Second)
		assert.Equal(t, 2, b.subscribers())
		let(sse.WriteTimeout + maxBacklog*time.Second)
		assert.Equal(t, 1, b.subscribers())
		before := len(e.names())
		let(3 * time.Second)
		assert.Len(t, e.names(), before+3)
	})
}

func (b *testServer) subscribers() int {
	b.page.broker.mu.Lock()
	defer b.page.broker.mu.Unlock()
	return len(b.page.broker.subscribers)
}

func TestBroker_ForgetsADisconnectedSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		response := b.subscribe(t)
		synctest.Wait()
		assert.Equal(t, 1, b.subscribers())
		require.NoError(t, response.Body.Close())
		let(time.Second)
		assert.Zero(t, b.subscribers())
	})
}

func TestBroker_RefusesTooManySubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		for range maxSubscribers {
			drain(b.subscribe(t))
		}
		response := b.subscribe(t)
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		assert.Equal(t, "5", response.Header.Get("Retry-After"))
	})
}

func TestPage_EventsEndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, now)
		e := drain(b.subscribe(t))
		let(time.Second)
		before := time.Now()
		b.end()
		<-e.ended
		assert.Zero(t, time.Since(before))
		assert.Equal(t, http.StatusServiceUnavailable, b.subscribe(t).StatusCode)
	})
}

func TestPage_SendsHeartbeatsWhileTheSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, func(ctx context.Context) (Snapshot, error) {
			time.Sleep(time.Minute) // whatever ctx says
			return madeUp(time.Now()), nil
		})
		e := drain(b.subscribe(t))
		let(25 * time.Second)
		assert.Equal(t, []string{"history", "heartbeat", "heartbeat"}, e.names())
	})
}

func TestPage_BoundsTheSourcesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		startTestServer(t, func(ctx context.Context) (Snapshot, error) {
			start := time.Now()
			<-ctx.Done()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				select {
				case took <- time.Since(start):
				default:
				}
			}
			return Snapshot{}, nil
		})
		assert.Equal(t, sourceTimeout, <-took)
	})
}

func TestPage_LeavesOutASnapshotThatCannotBeEncoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startTestServer(t, func(context.Context) (Snapshot, error) {
			s := madeUp(time.Now())
			s.Lanes[0].WriteP95MS = math.NaN()
			return s, nil
		})
		e := drain(b.subscribe(t))
		let(3 * time.Second)
		assert.Equal(t, []string{"history"}, e.names())
	})
}
