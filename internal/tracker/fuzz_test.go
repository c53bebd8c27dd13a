package tracker_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tracklane/internal/fuzztest"
	"tracklane/internal/lane"
	"tracklane/internal/tracker"
)

// Whatever comes, each position is a point or rejected, a point has a time that was
// sent and a place that can be, the app hears what it accepts, and the same request
// sent again is the same points.
func FuzzAdapters(f *testing.F) {
	for i, name := range []string{"owntracks", "osmand", "traccar", "gpslogger", "overland", "livetrack24"} {
		seeds := map[string][][2]string{
			"owntracks":   {{"u=a&d=b", `{"_type":"location","topic":"owntracks/http/xy","tst":1783944000,"lat":46.5,"lon":7.25,"vel":36,"cog":270}`}},
			"osmand":      {{"id=7&timestamp=2026-07-13T12:00:00+02:00&location=46.5,7.25&speed=knots&speed=3", ""}},
			"traccar":     {{"", "id=7&timestamp=1783944000&lat=1&lon=2&alarm=sos"}, {"", `[{"location":{"timestamp":"2026-07-13T12:00:00.5Z","coords":{"latitude":1,"longitude":2,"speed":-1}},"device_id":"7"},{"id":1}]`}},
			"gpslogger":   {{"aid=ab&lat=1&lon=2&spd_kph=36&time=2026-07-13T12:00:00.000Z", ""}},
			"overland":    {{"", `{"locations":[{"type":"Feature","geometry":{"coordinates":[7.25,46.5]},"properties":{"timestamp":"2026-07-13T05:00:00-0700","device_id":"7"}}],"current":{}}`}},
			"livetrack24": {{"leolive=4&sid=2164260871&pid=2&lat=46.5&lon=7.25&alt=18&sog=36&cog=360&tm=1783944000", ""}},
		}[name]
		for _, seed := range seeds {
			f.Add(uint8(i), seed[0], []byte(seed[1]))
		}
	}
	adapters := tracker.All()
	f.Fuzz(func(t *testing.T, which uint8, query string, body []byte) {
		a := adapters[int(which)%len(adapters)]
		report, decoded, readable := readFuzzed(t, a, query, body)
		if !readable {
			return
		}
		require.Equal(t, len(report.Positions), decoded.Points.Len()+decoded.RejectedTotal)
		require.LessOrEqual(t, len(decoded.Rejected), lane.MaxRejections)
		for i := range decoded.Points.Rows {
			row := &decoded.Points.Rows[i]
			require.True(t, row.Lat >= -90 && row.Lat <= 90 && row.Lon >= -180 && row.Lon <= 180)
			require.True(t, wasSent(row.Time, query, body), "the time %d", row.Time)
			text := decoded.Points.AppendPoint(nil, i)
			_, err := lane.UnmarshalPoint(live, text)
			require.NoError(t, err)
		}
		_, again, _ := readFuzzed(t, a, query, body)
		require.Equal(t, stored(decoded), stored(again))
	})
}

func readFuzzed(t *testing.T, a *tracker.Adapter, query string, body []byte) (tracker.Report, lane.Decoded, bool) {
	route := a.Routes[len(a.Routes)-1]
	r := httptest.NewRequest(route.Method, route.Path, nil)
	r.URL.RawQuery = query
	report, err := a.Read(r, body)
	var malformed *lane.MalformedError
	var large *lane.TooLargeError
	if err != nil {
		require.True(t, errors.As(err, &malformed) || errors.As(err, &large), "%v", err)
		checkHeard(t, a, r)
		return report, lane.Decoded{}, false
	}
	return report, a.Decode(live, report, tracker.Sender{FlightID: r.URL.Query().Get("flight_id")}, lane.DecodeOptions{Now: now}), true
}

// checkHeard checks that an app keeps what it is told to send again, and gives up
// what it is told was stored.
func checkHeard(t *testing.T, a *tracker.Adapter, r *http.Request) {
	require.Equal(t, http.StatusOK, a.Success.Status)
	if a.Failure != nil {
		failure := a.Failure(r, http.StatusServiceUnavailable, `"down"`)
		require.GreaterOrEqual(t, failure.Status, 400)
		require.NotEqual(t, a.Success.Body, failure.Body)
	}
}

// wasSent reports whether a time stands in a request, as a text or as a number.
func wasSent(at int64, query string, body []byte) bool {
	decoded, _ := url.ParseQuery(query)
	form, _ := url.ParseQuery(string(body))
	sent := string(body) + " " + fuzztest.Unescaped(string(body))
	for _, values := range []url.Values{decoded, form} {
		for _, list := range values {
			sent += " " + strings.Join(list, " ")
		}
	}
	return fuzztest.Times(sent)[at] || containsNumber(sent, at)
}

// containsNumber reports whether one of a text's numbers is a time in seconds or
// milliseconds.
func containsNumber(sent string, at int64) bool {
	for _, word := range strings.FieldsFunc(sent, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eExXpP_abcdfABCDF", r) }) {
		if got, ok := tracker.Microseconds(word); ok && got == at {
			return true
		}
	}
	return false
}
