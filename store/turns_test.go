package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// Whatever one sender asks, another one is answered meanwhile.
func TestReader_LeavesAConnectionToOtherSenders(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	r := NewReader(pool, lane.All(lane.Options{}))
	release := make(chan struct{})
	var working atomic.Int64
	var greedy sync.WaitGroup
	for range 10 {
		greedy.Go(func() {
			assert.NoError(t, r.query(t.Context(), "address 192.0.2.7", func(context.Context, *pgxpool.Conn) error {
				working.Add(1)
				<-release
				return nil
			}))
		})
	}
	require.Eventually(t, func() bool { return working.Load() >= maxReads-1 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, _, err := r.Flights(ctx, Scope{Sender: "address 192.0.2.8"}, nil, 10)
	require.NoError(t, err)
	assert.EqualValues(t, maxReads-1, working.Load())
	close(release)
	greedy.Wait()
	assert.EqualValues(t, 10, working.Load())
	assert.Empty(t, r.own.of, "nothing is kept of who is done")
}

// A long list gives its connection back between some flights and the next.
func TestReader_AsksOfFewFlightsAtOnce(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	const flights = 2*askedFlights + 1
	for i := range flights {
		writePoints(t, pool, way(lanes[0], fmt.Sprintf("f%02d", i), "", "", noon, 2))
	}
	r := NewReader(pool, lanes)
	before := pool.Stat().AcquireCount()
	list, _, err := r.Flights(t.Context(), Scope{}, nil, 200)
	require.NoError(t, err)
	require.Len(t, list, flights)
	assert.Equal(t, "f40", list[0].ID)
	assert.Equal(t, "f00", list[flights-1].ID)
	assert.EqualValues(t, 1+3, pool.Stat().AcquireCount()-before)
}
