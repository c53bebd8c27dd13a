package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// incidentOf is one that lasted from one second to another.
func incidentOf(k kind, target string, from, to int) incident {
	return incident{
		fault: fault{Kind: k, Target: target},
		start: time.Duration(from) * time.Second, ended: time.Duration(to) * time.Second,
	}
}

func TestOutcome_MendedIsWhenTheLastFaultOfThePointsWayEnded(t *testing.T) {
	t.Parallel()
	o := outcome{incidents: []incident{
		incidentOf(kill, redisName, 10, 20),
		incidentOf(cut, proxyName(workerNames[0], postgresName), 15, 30),
		incidentOf(kill, apiNames[0], 30, 40),
		incidentOf(pause, workerNames[1], 35, 90),
	}}
	for _, c := range []struct {
		name                       string
		acknowledged, seen, mended time.Duration
	}{
		{"before all", 1 * time.Second, 5 * time.Second, 1 * time.Second},
		{"after the first one", 12 * time.Second, 25 * time.Second, 20 * time.Second},
		{"after both", 12 * time.Second, 80 * time.Second, 30 * time.Second},
		{"during a fault that did not hold it", 50 * time.Second, 80 * time.Second, 50 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.mended, o.mended(c.acknowledged, c.seen))
		})
	}
}

func TestOutcome_AttributesSlowResponses(t *testing.T) {
	t.Parallel()
	start := time.Now()
	slowAt := func(api string, points, from int) slow {
		at := start.Add(time.Duration(from) * time.Second)
		return slow{api: api, lane: "live", points: points, status: 202, start: at, end: at.Add(2 * time.Second)}
	}
	o := outcome{
		start: start,
		incidents: []incident{
			incidentOf(kill, redisName, 10, 20),
			incidentOf(delay, proxyName(clientsName, apiNames[0]), 12, 15),
			incidentOf(kill, workerNames[0], 50, 60),
			incidentOf(stopInOutage, apiNames[0], 80, 88),
		},
		responses: &responses{slow: []slow{
			slowAt(apiNames[0], 1, 13), slowAt(apiNames[1], 1, 13), slowAt(apiNames[1], 1, 24), // within the grace
			slowAt(apiNames[1], largeUpload, 70), slowAt(apiNames[1], 1, 27), slowAt(apiNames[0], 1, 55),
			slowAt(apiNames[1], 1, 82), // Redis is down for it, too
		}},
	}
	a := o.attribute()
	assert.Equal(t, 7, a.all)
	assert.Equal(t, map[string]slowCount{
		"delayed of proxy": {1, 1}, "kill -9 of redis": {2, 2}, "uploads of 13 MB, themselves": {1, 1},
		"SIGTERM while Redis is down of api": {1, 1},
	}, a.byFault)
	assert.Equal(t, 2, a.unexplained.total)
}
