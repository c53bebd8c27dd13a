package handlers

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"tracklane/internal/lane"
)

// The memory that requests hold, in bytes. Each connection may hold freeBody beside
// what net/http needs, and sniffed where it posts to the lane upload; all the rest is
// counted from the first byte of a body until its request is answered, and refused or
// kept waiting when there is no more. Live memory stays below the sum of these four,
// of the one large body that comes in beside them (16 MB), of the one that is decoded
// (16 MB, and its points), of 26 MB for bodies that are decompressed (see
// smallUnpacking), and of maxUploads*uploadMemory (32 MB), whatever clients send, and a
// few MB of encoded tasks.
const (
	// readingBudget is for the bodies of usual size that are coming in: 1,500 of
	// 16 kB.
	readingBudget = 24 << 20

	// chunkBudget is for the large bodies that are coming in, as chunks. When it is
	// used up, one of them at a time takes up to a lane's MaxBody (16 MB) beside it.
	chunkBudget = 32 << 20

	// workingBudget is for the bodies of up to largeBody bytes that are whole, and
	// for their points.
	workingBudget = 24 << 20

	// heldBudget is for what files keep of themselves while they are read, at the pace
	// of who sends them: nobody else may wait for it.
	heldBudget = 16 << 20
)

const (
	// freeBody is how much of a body does not count.
	freeBody = 4 << 10

	// maxUsual is the largest body that is read into one buffer, four times as
	// large as the one before. What a phone sends is smaller.
	maxUsual = 64 << 10

	// chunkSize is what a large body takes at a time beyond that.
	chunkSize = 256 << 10

	// largeBody is the size from which only one body is decoded at a time.
	// Requests of the live lane are smaller.
	largeBody = 1 << 20

	// maxForms is for how many forms at the same time the file is looked for; each
	// may take some 80 kB meanwhile.
	maxForms = 500

	// pointsFactor is how many bytes a body takes for each of its own once it is
	// decoded: the smallest points in JSON take three times their text.
	pointsFactor = 4
)

const (
	// turnTimeout bounds how long a body waits to be decoded.
	turnTimeout = 20 * time.Second

	// chunkTimeout bounds how long a large body waits for memory when other large ones
	// have it all, for which it looks each chunkInterval.
	chunkTimeout  = 30 * time.Second
	chunkInterval = 50 * time.Millisecond

	// largeTime bounds how long a large body comes in, which may wait for others, and
	// largePause how long a chunk of it does. largeAnswer is the time from the last
	// chunk to the end of the response.
	largeTime   = 5 * time.Minute
	largePause  = 15 * time.Second
	largeAnswer = 2 * time.Minute
)

// largeRate is how many bytes a second and core are read of large bodies, of all of
// them together and beyond the first unpacedBytes of each: some 16,000 points. More
// would keep the cores and the disk busy with storing what is not urgent, and the live
// lane waiting: at four times the rate, five times as long (p99, on two cores).
const (
	largeRate    = 1 << 20
	unpacedBytes = maxUsual + chunkSize
)

// budget is the memory of all requests. Its buffers are used again: the first touch
// of a page of memory may take longer than all that is done with it. The garbage
// collector may have those that are not in use. Any number of goroutines may use
// one at the same time.
type budget struct {
	reading, chunks, working *semaphore.Weighted
	held                     *semaphore.Weighted
	last                     *semaphore.Weighted // of one: who reads a large body though chunks is used up
	large                    *semaphore.Weighted // of one: who decodes a large body
	forms                    *semaphore.Weighted // of those whose file is looked for
	pace                     *rate.Limiter       // of the reading of large bodies

	unpackSmall, unpackLarge, unpackDevices *semaphore.Weighted // of bodies that are decompressed
	gzipOfFiles, zstdOfFiles                *semaphore.Weighted
	decoders                                decoders

	pools      [3]sync.Pool // of *[]byte, of freeBody, 4*freeBody and maxUsual
	chunkPool  sync.Pool    // of *[chunkSize]byte
	workspaces sync.Pool    // of *workspace, for bodies of less than largeBody
	largeSpace sync.Pool    // of *workspace, for larger ones
}

// workspace is memory in which one body at a time is put together and decoded.
type workspace struct {
	text   []byte
	points *lane.Points
}

func newBudget() *budget {
	b := &budget{
		reading: semaphore.NewWeighted(readingBudget), chunks: semaphore.NewWeighted(chunkBudget),
		working: semaphore.NewWeighted(workingBudget), held: semaphore.NewWeighted(heldBudget),
		last: semaphore.NewWeighted(1), large: semaphore.NewWeighted(1),
		forms:       semaphore.NewWeighted(maxForms),
		unpackSmall: semaphore.NewWeighted(smallUnpacking), unpackLarge: semaphore.NewWeighted(largeUnpacking),
		unpackDevices: semaphore.NewWeighted(ofDevices),
		gzipOfFiles:   semaphore.NewWeighted(gzipOfFiles), zstdOfFiles: semaphore.NewWeighted(zstdOfFiles),
		pace: rate.NewLimiter(rate.Limit(largeRate*runtime.GOMAXPROCS(0)), chunkSize),
	}
	for i := range b.pools {
		b.pools[i].New = func() any {
			buffer := make([]byte, sizeOf(i))
			return &buffer
		}
	}
	b.chunkPool.New = func() any { return new([chunkSize]byte) }
	b.workspaces.New = func() any { return new(workspace) }
	b.largeSpace.New = b.workspaces.New
	return b
}

// sizeOf is how many bytes a buffer of the n-th pool holds.
func sizeOf(n int) int { return freeBody << (2 * n) }

// takeTurn waits until there is memory to decode a body of so many bytes, and until
// it is this one's turn if it is large: decoding 16 MB keeps a core busy for some
// 100 ms, and many of them together would keep the small requests waiting. The
// workspace is nil for a body that needs none. done ends the turn.
func (b *budget) takeTurn(ctx context.Context, size int) (space *workspace, done func(), problem *problem) {
	if size <= freeBody {
		return nil, func() {}, nil
	}
	turns, weight, spaces := b.working, int64(pointsFactor*size), &b.workspaces
	if size >= largeBody {
		turns, weight, spaces = b.large, 1, &b.largeSpace
	}
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if turns.Acquire(ctx, weight) != nil {
		return nil, nil, tooManyLargeRequests()
	}
	if size <= maxUsual {
		return nil, func() { turns.Release(weight) }, nil
	}
	space = spaces.Get().(*workspace)
	return space, func() {
		spaces.Put(space)
		turns.Release(weight)
	}, nil
}

func tooManyLargeRequests() *problem {
	return &problem{
		Status: http.StatusServiceUnavailable, Title: "Too many large requests at once",
		Detail: "Nothing of this request was kept. Send all of it again after the time in Retry-After.",
	}
}
