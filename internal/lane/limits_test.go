package lane_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestLane_DecodeBoundsWhatIsMadeOfARequest(t *testing.T) {
	t.Parallel()
	times := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item, n), ",") }
	tracks := func(points string) string { return `{"tracks":[` + points + `]}` }
	const scored = `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3},`
	const line = "1784024135,1784024130,1,2,3,4,5\n"
	long := func(points int) string {
		text := strings.Repeat("ü", 100)
		return fmt.Sprintf(`{"flight_id":%q,"device_id":%q,"pilot_id":%q,"race_id":%q,"track_points":[%s]}`,
			text, text, text, text, times(points, goodPoint+","))
	}
	for name, c := range map[string]struct{ lane, body, reason string }{
		"as many points as may be": {"scoring", tracks(times(lane.MaxPoints, scored)), ""},
		"one more":                 {"scoring", tracks(times(lane.MaxPoints+1, scored)), "more than 250000 points"},
		"one more of a flight":     {"upload", liveBody(times(lane.MaxPoints+1, goodPoint+",")), "more than 250000 points"},
		"what is no point":         {"upload", liveBody(times(lane.MaxPoints+1, "0,")), "more than 250000 points"},
		"lines":                    {"flymaster", "7,0\n" + strings.Repeat(line, lane.MaxPoints) + "EOF", "more than 250000 points"},
		"empty lines":              {"flymaster", "7,0\n" + strings.Repeat("\n", lane.MaxPoints) + "EOF", "more than 250000 points"},
		"long texts":               {"upload", long(60_000), ""},
		"long texts of more":       {"upload", long(80_000), "would take 70 MB, and those of a request 64 MB at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decode(t, c.lane, c.body)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			var large *lane.TooLargeError
			require.ErrorAs(t, err, &large)
			assert.Contains(t, large.Reason, c.reason)
		})
	}
}

func TestLane_DecodeTakesTheMemoryOfOtherPoints(t *testing.T) {
	t.Parallel()
	live, scoring := laneNamed(t, "live", lane.Options{}), laneNamed(t, "scoring", lane.Options{})
	one := `{"flight_uuid":"6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e","tracks":[{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,"time":"a","validity":"b"}]}`
	other := liveBody(goodPoint, `{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2,"speed":3}`, goodPoint)
	var reuse *lane.Points
	for _, c := range []struct {
		lane *lane.Lane
		body string
	}{{scoring, one}, {live, other}, {scoring, one}, {scoring, strings.Replace(one, `,"time":"a"`, "", 1)}, {live, liveBody(goodPoint)}} {
		want, err := c.lane.Decode([]byte(c.body), lane.DecodeOptions{Now: now})
		require.NoError(t, err)
		got, err := c.lane.Decode([]byte(c.body), lane.DecodeOptions{Now: now, Reuse: reuse})
		require.NoError(t, err)
		require.Equal(t, want.Points.Len(), got.Points.Len())
		for row := range want.Points.Len() {
			assert.JSONEq(t, string(want.Points.AppendPoint(nil, row)), string(got.Points.AppendPoint(nil, row)))
		}
		reuse = got.Points
	}
}

func TestLane_DecodeMakesTheSameUUIDWhateverTheWhiteSpace(t *testing.T) {
	t.Parallel()
	const compact = `{"x":"a \" b\\","tracks":[{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,"time":"one two\n"}]}`
	spaced := strings.NewReplacer(`":`, "\" :\t", `,"`, ",\r\n \"", "}", " }").Replace(compact) + "\n"
	want, err := decode(t, "scoring", compact)
	require.NoError(t, err)
	got, err := decode(t, "scoring", spaced)
	require.NoError(t, err)
	assert.Equal(t, want.Response, got.Response)
	assert.Equal(t, "ac49528c-1ee4-5cad-8c50-3ff473c6d49e", want.Response.Value, "as the version before made it")
}
