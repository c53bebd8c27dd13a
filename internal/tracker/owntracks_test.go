package tracker_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestOwnTracks_StoresLocations(t *testing.T) {
	t.Parallel()
	const path = "/live/owntracks"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anna:secret"))
	cases{
		"of Android": {request: request{target: path, body: `{"_type":"location","topic":"owntracks/http/xy","_id":"","source":"fused","batt":40,"bs":1,"acc":10,"vac":1,
			"lat":46.5,"lon":7.25,"alt":1800,"vel":36,"cog":270,"created_at":1783944010,"tst":1783944000,"m":1,"conn":"m","inregions":[],"tid":"xy"}`},
			want: `{"flight_id":"owntracks-xy-20260713","device_id":"xy","datetime":"2026-07-13T12:00:00Z","lat":46.5,"lon":7.25,"elevation":1800,"speed":10,"heading":270}`},
		"without what is not known": {request: request{target: path, body: `{"lon":7.25,"lat":46.5,"tst":1783944000,"_type":"location","tid":"JJ"}`},
			want: `{"flight_id":"owntracks-JJ-20260713","device_id":"JJ","datetime":"2026-07-13T12:00:00Z","lat":46.5,"lon":7.25}`},
		"of iOS, by its topic": {request: request{target: path, body: `{"_type":"location","topic":"owntracks/ben/PHONE-1","tst":1783944000,"lat":1,"lon":2,"alt":0,"tid":"AC"}`},
			want: `{"flight_id":"owntracks-ben-PHONE-1-20260713","device_id":"ben-PHONE-1","datetime":"2026-07-13T12:00:00Z","lat":1,"lon":2,"elevation":0}`},
		"of a tracker that stands": {request: request{target: path, body: `{"_type":"location","topic":"owntracks/box/860000000000001","tst":1783944000,"lat":46.5,"lon":7.25,"vel":0,"cog":113,
			"alt":1113,"mcc":228,"mnc":1,"lac":"4F4D","cid":"673A","acc":10,"t":"I","don":105,"tid":"CS"}`},
			want: `{"flight_id":"owntracks-box-860000000000001-20260713","device_id":"box-860000000000001","datetime":"2026-07-13T12:00:00Z","lat":46.5,"lon":7.25,"elevation":1113,"speed":0,"heading":113}`},
		"by its headers": {request: request{target: path, header: []string{"X-Limit-U", "ben", "X-Limit-D", "phone"}, body: `{"_type":"location","topic":"owntracks/x/y","tst":1783944000,"lat":1,"lon":2}`},
			want: `{"flight_id":"owntracks-ben-phone-20260713","device_id":"ben-phone","datetime":"2026-07-13T12:00:00Z","lat":1,"lon":2}`},
		"by its query": {request: request{target: path + "?u=ben&d=phone", body: `{"_type":"location","tst":1783944000,"lat":1,"lon":2,"tid":"zz"}`},
			want: `{"flight_id":"owntracks-ben-phone-20260713","device_id":"ben-phone","datetime":"2026-07-13T12:00:00Z","lat":1,"lon":2}`},
		"by its user": {request: request{target: path + "?u=ben", header: []string{"Authorization", basic}, body: `{"_type":"location","tst":1783944000,"lat":1,"lon":2,"tid":"zz"}`},
			want: `{"flight_id":"owntracks-anna-zz-20260713","device_id":"anna-zz","datetime":"2026-07-13T12:00:00Z","lat":1,"lon":2}`},
		"a bad latitude":  {request: request{target: path, body: `{"_type":"location","tst":1783944000,"lat":91,"lon":2,"tid":"zz"}`}, rejected: "lat must be between -90 and 90"},
		"no time":         {request: request{target: path, body: `{"_type":"location","lat":1,"lon":2,"tid":"zz","created_at":1783944000}`}, rejected: "tst is missing"},
		"a time of 2030":  {request: request{target: path, body: `{"_type":"location","tst":1893456000,"lat":1,"lon":2,"tid":"zz"}`}, rejected: "datetime must not be more than 24 hours ahead"},
		"a place of text": {request: request{target: path, body: `{"_type":"location","tst":1783944000,"lat":"north","lon":2,"tid":"zz"}`}, rejected: "lat must be a number"},
	}.run(t, "owntracks")
}

func TestOwnTracks_PassesOverWhatIsNoLocation(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", `{"_type":"transition","tst":1}`, `{"_type":"lwt","tst":1783944000}`, `{"_type":"dump","configuration":{}}`, `{"_type":"card","face":""}`,
		`{"_type":"waypoints","waypoints":[]}`, `{"_type":"status"}`, `{"_type":"steps","tst":1783944000,"steps":9}`, `{"_type":"cmd","action":"dump"}`,
	} {
		report, decoded, err := request{target: "/live/owntracks", body: body}.send(t, adapter(t, "owntracks"))
		require.NoError(t, err, body)
		assert.Empty(t, report.Positions)
		assert.Zero(t, decoded.RejectedTotal)
	}
	for _, body := range []string{`{"_type":"encrypted","data":"x"}`, `{}`, `[]`, `nonsense`, `{"_type":`} {
		_, _, err := request{target: "/live/owntracks", body: body}.send(t, adapter(t, "owntracks"))
		var malformed *lane.MalformedError
		assert.ErrorAs(t, err, &malformed, body)
	}
}
