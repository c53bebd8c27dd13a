package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// assertReleased takes all of a budget: nobody holds any of it.
func assertReleased(t *testing.T, b *budget) {
	t.Helper()
	assert.True(t, b.reading.TryAcquire(readingBudget), "bodies of usual size")
	assert.True(t, b.chunks.TryAcquire(chunkBudget), "large bodies")
	assert.True(t, b.working.TryAcquire(workingBudget), "bodies that are decoded")
	assert.True(t, b.last.TryAcquire(1), "the large body that comes in beside them")
	assert.True(t, b.large.TryAcquire(1), "a large body that is decoded")
	assert.True(t, b.unpackSmall.TryAcquire(smallUnpacking), "small bodies that are decompressed")
	assert.True(t, b.unpackLarge.TryAcquire(largeUnpacking), "large bodies that are decompressed")
	assert.True(t, b.unpackDevices.TryAcquire(ofDevices), "bodies of devices that are decompressed")
	assert.True(t, b.gzipOfFiles.TryAcquire(gzipOfFiles), "files in gzip")
	assert.True(t, b.zstdOfFiles.TryAcquire(zstdOfFiles), "files in zstd")
}

func TestServer_BoundsTheMemoryOfBodies(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	postSize := func(size int) response {
		return send(t, http.MethodPost, base+"/upload", strings.NewReader(padded(fmt.Sprint(size), size)))
	}
	require.True(t, s.budget.chunks.TryAcquire(chunkBudget-chunkSize))
	assert.Equal(t, 201, postSize(maxUsual+chunkSize/2).code, "there is room for one chunk")
	assert.Equal(t, 201, postSize(1<<20).code, "one at a time comes to its end all the same")
	s.budget.chunks.Release(chunkBudget - chunkSize)

	require.True(t, s.budget.reading.TryAcquire(readingBudget))
	assert.Equal(t, 201, postSize(freeBody/2).code, "a small one is never refused")
	refused := postSize(2 * freeBody)
	assert.Equal(t, 503, refused.code)
	assert.Equal(t, retryAfter, refused.header.Get("Retry-After"))
	assert.Equal(t, "application/problem+json", refused.header.Get("Content-Type"))
	s.budget.reading.Release(readingBudget)

	var posting sync.WaitGroup
	for i := range 20 {
		posting.Go(func() {
			assert.Equal(t, 201, send(t, http.MethodPost, base+"/upload", strings.NewReader(padded(fmt.Sprint("p", i), 1<<20))).code)
		})
	}
	posting.Wait()
	assertReleased(t, s.budget)
}

// TestServer_BringsLargeBodiesToTheirEnds is of clients that send more together than
// there is memory for.
func TestServer_BringsLargeBodiesToTheirEnds(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	const size, free = 2 << 20, 1 << 20
	require.True(t, s.budget.chunks.TryAcquire(chunkBudget-free))
	var posting sync.WaitGroup
	for i := range 5 {
		posting.Go(func() {
			got := send(t, http.MethodPost, base+"/upload", strings.NewReader(padded(fmt.Sprint("l", i), size)))
			assert.Equal(t, http.StatusCreated, got.code, got.text)
		})
	}
	posting.Wait()
	s.budget.chunks.Release(chunkBudget - free)
	assertReleased(t, s.budget)
}

func TestBody_WaitsForItsTurnWhenOthersHaveTheMemory(t *testing.T) {
	t.Parallel()
	s := &Server{budget: newBudget()}
	require.True(t, s.budget.chunks.TryAcquire(chunkBudget))
	require.True(t, s.budget.last.TryAcquire(1))
	recorder := httptest.NewRecorder()
	c, _ := gin.CreateTestContext(recorder)
	ctx, hangUp := context.WithCancel(t.Context())
	c.Request = httptest.NewRequestWithContext(ctx, http.MethodPost, "/live", nil)
	b := s.newBody(c)
	ended := make(chan error)
	go func() { ended <- b.readFrom(bytes.NewReader(make([]byte, maxUsual+1)), nil) }()
	select {
	case err := <-ended:
		require.Fail(t, "it did not wait", "%v", err)
	case <-time.After(3 * chunkInterval):
	}
	hangUp()
	require.ErrorIs(t, <-ended, errBudget)
	b.release()
	s.budget.last.Release(1)
	s.budget.chunks.Release(chunkBudget)
	assertReleased(t, s.budget)
}

func TestBody_IsWhatWasRead(t *testing.T) {
	t.Parallel()
	budget := newBudget()
	for _, size := range []int{
		0, 1, freeBody - 1, freeBody, freeBody + 1, 4 * freeBody, 4*freeBody + 1, maxUsual - 1, maxUsual, maxUsual + 1,
		maxUsual + chunkSize, maxUsual + chunkSize + 1, largeBody - 1, largeBody, largeBody + 1, 0, 1,
	} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i ^ i>>8 ^ size)
		}
		for name, source := range map[string]io.Reader{
			"at once": bytes.NewReader(want), "with its end": iotest.DataErrReader(bytes.NewReader(want)),
			"in halves": iotest.HalfReader(bytes.NewReader(want)),
		} {
			b := &body{budget: budget, ctx: t.Context(), buffer: budget.pools[0].Get().(*[]byte)}
			require.NoError(t, b.readFrom(source, nil))
			space, done, problem := budget.takeTurn(t.Context(), b.size)
			require.Nil(t, problem)
			assert.True(t, bytes.Equal(want, b.text(space)), "%d bytes %s", size, name)
			b.release()
			done()
		}
	}
	assertReleased(t, budget)
}

func TestBody_ShowsItsFirstLineBeforeItIsRead(t *testing.T) {
	t.Parallel()
	failure := errors.New("a wrong key")
	for name, c := range map[string]struct{ text, seen string }{
		"a line":         {"7,key\n" + strings.Repeat("x", 1<<20), "7,key\n" + strings.Repeat("x", freeBody-6)},
		"no line":        {strings.Repeat("x", 1<<20), strings.Repeat("x", freeBody)},
		"less than that": {"7,key", "7,key"},
		"nothing":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget, source := newBudget(), strings.NewReader(c.text)
			b := &body{budget: budget, ctx: t.Context(), buffer: budget.pools[0].Get().(*[]byte)}
			err := b.readFrom(source, func(head []byte) error {
				assert.Equal(t, c.seen, string(head))
				return failure
			})
			require.ErrorIs(t, err, failure)
			assert.LessOrEqual(t, len(c.text)-source.Len(), freeBody, "no more was read")
			b.release()
			assertReleased(t, budget)
		})
	}
}

func TestBudget_LargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	b := newBudget()
	_, done, problem := b.takeTurn(t.Context(), largeBody)
	require.Nil(t, problem)
	_, small, problem := b.takeTurn(t.Context(), largeBody-1)
	require.Nil(t, problem, "a small request does not wait")
	small()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, problem = b.takeTurn(ctx, largeBody)
	require.NotNil(t, problem)
	assert.Equal(t, http.StatusServiceUnavailable, problem.Status)

	done()
	_, done, problem = b.takeTurn(t.Context(), largeBody)
	require.Nil(t, problem)
	done()
}

// deadlineRecorder keeps the deadline of a response.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (r *deadlineRecorder) SetWriteDeadline(deadline time.Time) error {
	r.write = deadline
	return nil
}

func TestBody_HasTimeForItsResponseWhenItHasWaitedForItsPace(t *testing.T) {
	t.Parallel()
	const size = unpacedBytes + 1
	for name, packed := range map[string]*body{"plain": nil, "decompressed": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget, writer := newBudget(), &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
			b := &body{budget: budget, ctx: t.Context(), writer: writer, packed: packed, buffer: budget.pools[0].Get().(*[]byte)}
			require.NoError(t, b.readFrom(bytes.NewReader(make([]byte, size)), nil))
			require.NoError(t, b.awaitPace())
			assert.WithinDuration(t, time.Now().Add(largeAnswer), writer.write, largeAnswer/2)
			b.release()
			assertReleased(t, budget)
		})
	}
}
