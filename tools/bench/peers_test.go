package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoss_InWords(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "0 of 100", loss{acknowledged: 100}.String())
	assert.Equal(t, "**7 of 100**, 2 twice", loss{acknowledged: 100, missing: 7, duplicates: 2}.String())
	assert.Equal(t, "**995 new points are lost**", repetition{lost: 995}.String())
	assert.Equal(t, "5 points are stored twice", repetition{twice: 5}.String())
	assert.Equal(t, "the new ones are stored, once", repetition{}.String())
}

func TestReport_LeadsWithThePeers(t *testing.T) {
	t.Parallel()
	r := madeUp()
	r.notices = []string{"Another was left out."}
	r.peers = []peer{
		{name: ownName, promise: "it is kept", keepsAll: true},
		{name: "keeper", promise: "it is committed", keepsAll: true},
		{name: "forgetter", promise: "it is in memory"},
	}
	r.losses = []peerLoss{{peer: "forgetter", killed: loss{100, 7, 0}, database: loss{100, 0, 0}, repeated: repetition{lost: 995}}}
	for speed, name := range map[float64]string{600: ownName, 400: "keeper", 800: "forgetter"} {
		for _, w := range workloads() {
			run := peerRun{peer: name, workload: w, points: 500_000}
			run.pointsPerSecond = speed
			run.processor = parts[time.Duration]{server: time.Second, redis: time.Second, postgres: time.Second, generator: time.Hour}
			r.peerRuns = append(r.peerRuns, run)
		}
	}
	text := r.markdown()
	for _, line := range []string{
		"Another was left out.",
		"1000 requests a second of one point each, for 12s; 3 times, every 3s, it or PostgreSQL is killed (kill -9)",
		"| tracklane | it is kept | – | – | – |",
		"| forgetter | it is in memory | **7 of 100** | 0 of 100 | **995 new points are lost** |",
		"### Points a second until the last row, plain tables",
		"| tracklane | 600 (6.0) | 600 (6.0) | 600 (6.0) | 600 (6.0) |",
		"| tracklane ÷ the fastest other that keeps what it acknowledges | 1.50 | 1.50 | 1.50 | 1.50 |",
		"| tracklane ÷ the fastest of all others | 0.75 | 0.75 | 0.75 | 0.75 |",
	} {
		assert.Contains(t, text, line+"\n")
	}
	assert.NotContains(t, text, "hypertables", "none were measured")
	assert.NotContains(t, text, "NaN")
}

// testPeer fails unless the peer stores what it is sent, keeps through a kill what it
// acknowledged, and drops what it has already.
func testPeer(t *testing.T, s *system, p peer) {
	run, err := s.measurePeer(t.Context(), p, uploads(), 2000)
	require.NoError(t, err)
	assert.Positive(t, run.pointsPerSecond)
	assert.Equal(t, 2000, run.points)

	lost, err := s.measureLoss(t.Context(), p, killing{rate: 200, times: 1, every: time.Second})
	require.NoError(t, err)
	for victim, found := range map[string]loss{"it": lost.killed, "PostgreSQL": lost.database} {
		assert.Positive(t, found.acknowledged, victim)
		assert.Equal(t, loss{acknowledged: found.acknowledged}, found, "killed: "+victim)
	}
	assert.Zero(t, lost.repeated)
}
