package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// waitsFor reports whether so many points wait, and whether a write is under way as
// writing says.
func waitsFor[R any](b *batcher[R], points int, writing bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.waiting {
		points -= p.points
	}
	return points == 0 && (b.flushing > 0) == writing
}

func TestBatcher_GivesEachRequestTheErrorOfItsOwnWrite(t *testing.T) {
	t.Parallel()
	failure := errors.New("Redis is down")
	writing, release := make(chan int), make(chan error)
	b := newBatcher(testBatching, 1, func(_ time.Time, _ [][]byte, points int) error {
		writing <- points
		return <-release
	})
	submit := func(points int) <-chan error {
		result := make(chan error, 1)
		go func() { result <- b.submit([]byte("x"), points) }()
		return result
	}
	alone := submit(1)
	require.Equal(t, 1, <-writing, "a request that comes alone is written at once")
	second, third := submit(2), submit(3)
	require.Eventually(t, func() bool { return waitsFor(b, 5, true) },
		10*time.Second, time.Millisecond, "requests gather while a write is under way")
	release <- failure
	require.ErrorIs(t, <-alone, failure)
	require.Equal(t, 5, <-writing)
	release <- nil
	require.NoError(t, <-second)
	require.NoError(t, <-third)
}

func TestBatcher_WritesWithinTheTimeOfTheRequestThatWaitsLongest(t *testing.T) {
	t.Parallel()
	const timeout = 50 * time.Millisecond
	b := newBatcher(testBatching, 1, func(since time.Time, _ [][]byte, _ int) error {
		ctx, cancel := context.WithDeadline(t.Context(), since.Add(timeout))
		defer cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	start := time.Now()
	require.ErrorIs(t, b.submit([]byte("x"), 1), context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 10*time.Second, "its time began when it came")
	assert.GreaterOrEqual(t, time.Since(start), timeout)
}

// writes is how many writes are under way, or begin.
func (b *batcher[R]) writes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushing
}

// fillBatcher submits so many requests of 400 points behind one that is being
// written, and returns the error of each. A batch takes two of them.
func fillBatcher(t *testing.T, b *batcher[int], requests int) []<-chan error {
	t.Helper()
	errs := make([]<-chan error, requests)
	for i := range requests {
		err := make(chan error, 1)
		go func() { err <- b.submit(i, 400) }()
		errs[i] = err
		require.Eventually(t, func() bool { return waitsFor(b, 400*i, true) }, 10*time.Second, time.Millisecond)
	}
	return errs
}

func TestBatcher_LetsNoRequestWaitForWritesBehindItsOwn(t *testing.T) {
	t.Parallel()
	release := make(chan error)
	b := newBatcher(testBatching, 1, func(time.Time, []int, int) error { return <-release })
	errs := fillBatcher(t, b, 6) // one is being written; two, two and one wait
	for _, batch := range [][]<-chan error{errs[:1], errs[1:3], errs[3:5], errs[5:]} {
		release <- nil
		for _, err := range batch {
			select {
			case got := <-err:
				require.NoError(t, got)
			case <-time.After(10 * time.Second):
				require.Fail(t, "a request that is written still waits")
			}
		}
	}
}

func TestBatcher_WaitsForTwoWritesThatFailAtTheMost(t *testing.T) {
	t.Parallel()
	failure := fmt.Errorf("enqueue points: %w", context.DeadlineExceeded)
	writing, release := make(chan []int), make(chan error)
	b := newBatcher(testBatching, 1, func(_ time.Time, requests []int, _ int) error {
		writing <- requests
		return <-release
	})
	go func() { <-writing }()
	errs := fillBatcher(t, b, 6)
	release <- failure
	for _, err := range errs[:5] {
		require.ErrorIs(t, <-err, failure)
	}
	require.Equal(t, []int{5}, <-writing, "the batch that gathers is tried")
	release <- nil
	require.NoError(t, <-errs[5])
}

func TestBatcher_TriesFullBatchesBehindOneThatFailsAtOnce(t *testing.T) {
	t.Parallel()
	failure := errors.New("connection reset")
	release := make(chan error)
	b := newBatcher(testBatching, 1, func(time.Time, []int, int) error { return <-release })
	errs := fillBatcher(t, b, 4) // one is being written; two and one wait
	release <- failure
	require.ErrorIs(t, <-errs[0], failure)
	release <- nil
	require.NoError(t, <-errs[1])
	require.NoError(t, <-errs[2])
	release <- nil
	require.NoError(t, <-errs[3])
}

func TestBatcher_MakesBatchesOfTheSizesItIsGiven(t *testing.T) {
	t.Parallel()
	limits := Batching{MinPoints: 500, MaxPoints: 1000}
	rapid.Check(t, func(t *rapid.T) {
		largest := rapid.SampledFrom([]int{1, 10, 100, limits.MinPoints - 1}).Draw(t, "largest")
		sizes := rapid.SliceOfN(rapid.IntRange(1, largest), 1, 200).Draw(t, "sizes")
		b := newBatcher(limits, 1, func(time.Time, []int, int) error { return nil })
		b.flushing = 1 // by this test
		for _, size := range sizes {
			b.add(size, size)
		}
		var written []int
		for p := b.next(); p != nil; p = b.next() {
			total := 0
			for _, size := range p.requests {
				total += size
			}
			require.Equal(t, total, p.points)
			require.LessOrEqual(t, total, limits.MaxPoints)
			if len(b.waiting) > 0 {
				require.Greater(t, total, limits.MaxPoints-largest, "a batch is full before the next gathers")
			}
			written = append(written, p.requests...)
		}
		require.Equal(t, sizes, written, "all, in their order")
	})
}

func TestBatcher_WritesAsManyFullBatchesAtOnceAsItMay(t *testing.T) {
	t.Parallel()
	writing, release := make(chan []int), make(chan error)
	b := newBatcher(testBatching, 2, func(_ time.Time, requests []int, _ int) error {
		writing <- requests
		return <-release
	})
	var submitted sync.WaitGroup
	submit := func(request int) {
		submitted.Go(func() { assert.NoError(t, b.submit(request, 400)) })
	}
	submit(0)
	require.Equal(t, []int{0}, <-writing)
	for request := range 2 {
		submit(1 + request)
		require.Eventually(t, func() bool { return waitsFor(b, 400*(1+request), true) }, 10*time.Second, time.Millisecond)
	}
	require.Equal(t, 1, b.writes(), "a batch that is not full gathers")
	submit(3)
	require.Len(t, <-writing, 2, "the full one is written beside the first")
	submit(4)
	require.Eventually(t, func() bool { return waitsFor(b, 800, true) }, 10*time.Second, time.Millisecond)
	submit(5)
	require.Eventually(t, func() bool { return waitsFor(b, 1200, true) }, 10*time.Second, time.Millisecond)
	require.Equal(t, 2, b.writes(), "no third write begins")
	go func() {
		for range writing {
			continue // the rest may be written
		}
	}()
	close(release)
	submitted.Wait()
	close(writing)
}
