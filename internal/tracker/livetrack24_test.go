package tracker_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/tracker"
)

func TestLiveTrack24_StoresPoints(t *testing.T) {
	t.Parallel()
	const guest, user7 = "1234567", "2164260871" // 0x81000007
	point := func(sid, rest string) request {
		return request{target: "/track.php?leolive=4&sid=" + sid + "&pid=2&lat=46.50000&lon=7.25000" + rest}
	}
	want := func(device, sid, rest string) string {
		return `{"flight_id":"livetrack24-` + device + `-20260713","device_id":"` + sid + `","datetime":"2026-07-13T12:00:00Z","lat":46.5,"lon":7.25` + rest + `}`
	}
	const rest = `,"elevation":1800,"speed":10,"heading":360`
	cases{
		"of a guest": {request: point(guest, "&alt=1800&sog=36&cog=360&tm="+noon), want: want(guest, guest, rest)},
		"of a user":  {request: point(user7, "&alt=1800&sog=36&cog=360&tm="+noon), want: want("7-"+user7, "7", rest)},
		"decimals":   {request: point(guest, "&alt=1800.5&sog=36.0&cog=0.25&tm="+noon), want: want(guest, guest, `,"elevation":1800.5,"speed":10,"heading":0.25`)},
		"without a session": {request: request{target: "/track.php?leolive=1&client=x&v=1&lat=46.5&lon=7.25&alt=1800&sog=36&cog=360&tm=" + noon + "&user=anna&pass=secret"},
			want: want("anna", "anna", rest)},
		"start":    {request: request{target: "/track.php?leolive=2&sid=" + user7 + "&pid=1&client=LK8000&v=7&user=anna&pass=secret&trk1=5&vtype=1&vname=kite"}},
		"end":      {request: request{target: "/track.php?leolive=3&sid=" + user7 + "&pid=9&prid=0"}},
		"no time":  {request: point(guest, "&alt=1&sog=1&cog=1"), rejected: "tm is missing"},
		"no place": {request: request{target: "/track.php?leolive=4&sid=5&pid=2&tm=" + noon}, rejected: "lat must be a number"},
	}.run(t, "livetrack24")
}

func TestLiveTrack24_TellsDistress(t *testing.T) {
	t.Parallel()
	for prid, want := range map[string]string{"0": "", "1": "", "2": "", "3": "needs help, may be hurt", "4": "needs help, seriously hurt"} {
		report, _, err := request{target: "/track.php?leolive=3&sid=2164260871&pid=9&prid=" + prid}.send(t, adapter(t, "livetrack24"))
		require.NoError(t, err)
		assert.Equal(t, want, report.Distress)
	}
}

func TestLiveTrack24_NumbersUsersFrom1To24Bits(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, user := range []string{"", "guest", "anna", "ben"} {
		report, _, err := request{target: "/client.php?op=login&user=" + user + "&pass=x"}.send(t, adapter(t, "livetrack24"))
		require.NoError(t, err)
		number, err := strconv.Atoi(report.Body)
		require.NoError(t, err)
		assert.Greater(t, number, 0)
		assert.Less(t, number, 1<<24)
		assert.False(t, seen[report.Body])
		seen[report.Body] = true
	}
}

func TestLiveTrack24_SaysWhatLK8000Compares(t *testing.T) {
	t.Parallel()
	assert.Equal(t, tracker.Response{Status: 200, ContentType: "text/plain", Body: "OK"}, adapter(t, "livetrack24").Success)
}
