package tracker_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/tracker"
)

var (
	live = lane.All(lane.Options{})[0]
	now  = time.Date(2026, 7, 14, 18, 0, 0, 0, time.UTC)
)

func adapter(t testing.TB, name string) *tracker.Adapter {
	t.Helper()
	for _, a := range tracker.All() {
		if a.Name == name {
			return a
		}
	}
	require.FailNow(t, "no adapter "+name)
	return nil
}

// request is what an app sends.
type request struct {
	target string // path and query
	body   string
	header []string
	sender tracker.Sender
}

func (r request) send(t testing.TB, a *tracker.Adapter) (tracker.Report, lane.Decoded, error) {
	t.Helper()
	made := httptest.NewRequest(http.MethodPost, r.target, nil)
	for i := 0; i < len(r.header); i += 2 {
		made.Header.Set(r.header[i], r.header[i+1])
	}
	report, err := a.Read(made, []byte(r.body))
	if err != nil {
		return report, lane.Decoded{}, err
	}
	return report, a.Decode(live, report, r.sender, lane.DecodeOptions{Now: now, RequestID: "r"}), nil
}

// stored is the points of a request, a line of JSON for each, without what all of
// them have.
func stored(d lane.Decoded) string {
	var lines []string
	for row := range d.Points.Rows {
		line := string(d.Points.AppendPoint(nil, row))
		line, _, _ = strings.Cut(line, `,"received_at"`)
		lines = append(lines, strings.TrimSuffix(line, "}")+"}")
	}
	return strings.Join(lines, "\n")
}

// cases are requests to one adapter; want is what is stored, or the reasons.
type cases map[string]struct {
	request
	want, rejected string
}

func (all cases) run(t *testing.T, name string) {
	t.Helper()
	for title, c := range all {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			_, decoded, err := c.send(t, adapter(t, name))
			require.NoError(t, err)
			assert.Equal(t, c.want, stored(decoded))
			var rejected []string
			for _, r := range decoded.Rejected {
				rejected = append(rejected, r.Field+" "+r.Error)
			}
			assert.Equal(t, c.rejected, strings.Join(rejected, "; "))
		})
	}
}

func TestDecode_FlightsAreOfThePilotTheDeviceAndTheDayOfTheSun(t *testing.T) {
	t.Parallel()
	const reno, tokyo = "-119.8", "139.7"
	for name, c := range map[string]struct {
		sender        tracker.Sender
		lon, at, want string
	}{
		"a device":                {tracker.Sender{}, "0", "2026-07-14T12:00:00Z", "osmand-7-20260714"},
		"a pilot's device":        {tracker.Sender{Pilot: "anna", Race: "cup"}, "0", "2026-07-14T12:00:00Z", "osmand-anna-cup-7-20260714"},
		"the sender's own id":     {tracker.Sender{FlightID: "task1"}, "0", "2026-07-14T12:00:00Z", "task1"},
		"evening in Nevada":       {tracker.Sender{}, reno, "2026-07-14T01:30:00Z", "osmand-7-20260713"},
		"morning in Japan":        {tracker.Sender{}, tokyo, "2026-07-13T23:30:00Z", "osmand-7-20260714"},
		"a slash":                 {tracker.Sender{Pilot: "a/b"}, "0", "2026-07-14T12:00:00Z", "osmand-a-b-7-20260714"},
		"what would be too long":  {tracker.Sender{Pilot: strings.Repeat("ä", 100)}, "0", "2026-07-14T12:00:00Z", "osmand-99c0b8d1b42c9fb6d75aa8f7e7a9b4a1-20260714"},
		"a device like the pilot": {tracker.Sender{Pilot: "7"}, "0", "2026-07-14T12:00:00Z", "osmand-7-20260714"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, decoded, err := request{target: "/live/osmand?id=7&lat=1&lon=" + c.lon + "&timestamp=" + c.at, sender: c.sender}.send(t, adapter(t, "osmand"))
			require.NoError(t, err)
			require.Empty(t, decoded.Rejected)
			if strings.Contains(name, "long") {
				assert.Regexp(t, "^osmand-[0-9a-f]{32}-20260714$", decoded.Response.Value)
				return
			}
			assert.Equal(t, c.want, decoded.Response.Value)
		})
	}
}

func TestDecode_RejectsWhatNobodySent(t *testing.T) {
	t.Parallel()
	_, decoded, err := request{target: "/live/osmand?lat=1&lon=2&timestamp=1783944000"}.send(t, adapter(t, "osmand"))
	require.NoError(t, err)
	require.Len(t, decoded.Rejected, 1)
	assert.Equal(t, "device_id", decoded.Rejected[0].Field)
	assert.Zero(t, decoded.Points.Len())
	assert.Empty(t, decoded.Points.Tracks)

	_, decoded, err = request{target: "/live/osmand?lat=1&lon=2&timestamp=1783944000", sender: tracker.Sender{Pilot: "anna"}}.send(t, adapter(t, "osmand"))
	require.NoError(t, err)
	assert.Equal(t, 1, decoded.Points.Len(), "a pilot's token says who it is")
}
