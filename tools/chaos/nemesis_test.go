package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNemesis_AFaultWaitsForTheOneBeforeItOnTheSameTarget(t *testing.T) {
	t.Parallel()
	p := echoThroughProxy(t)
	n := &nemesis{testbed: &testbed{proxies: map[string]*proxy{"way": p}}, start: time.Now()}
	delayed := func(at, lasts time.Duration) fault {
		return fault{At: at, Lasts: lasts, Kind: delay, Target: "way", Strikes: []string{"way"}}
	}
	n.run(t.Context(), []fault{delayed(0, 300*time.Millisecond), delayed(50*time.Millisecond, 10*time.Millisecond)},
		func(err error) { t.Error(err) })
	all := n.all()
	require.Len(t, all, 2)
	assert.GreaterOrEqual(t, all[1].start, all[0].ended)
	assert.GreaterOrEqual(t, all[1].ended-all[1].start, 10*time.Millisecond, "and lasts as long as was planned")
	assert.Equal(t, conditions{}, p.conditions)
}
