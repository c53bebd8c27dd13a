package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
)

// phoneApp is how an app sends its n-th position, and when it takes it off its queue:
// until then it sends the same again, before all others.
type phoneApp struct {
	method, path, body string // with the latitude and the Unix seconds, or the time
	iso                bool   // the time in ISO 8601
	accepts            func(code int, text string) bool
}

// success is the rule of most apps.
func success(code int, _ string) bool { return code < 300 }

// phoneApps are the apps with a queue, and what each waits for by its source.
func phoneApps() map[string]phoneApp {
	return map[string]phoneApp{
		// Before 2.6.0 the body has to be a list of messages.
		"owntracks": {method: "POST", path: "/live/owntracks", body: `{"_type":"location","tid":"an","lat":%[1]g,"lon":7.25,"tst":%[2]v}`,
			accepts: func(code int, text string) bool { return code < 300 && text == "[]" }},
		"traccar 8":  {method: "POST", path: "/live/traccar?id=eight&lat=%[1]g&lon=7.25&timestamp=%[2]v&speed=10", accepts: func(code int, _ string) bool { return code < 400 }},
		"traccar 9":  {method: "POST", path: "/live/traccar", iso: true, body: `{"location":{"timestamp":"%[2]v","coords":{"latitude":%[1]g,"longitude":7.25,"speed":-1}},"device_id":"nine"}`, accepts: success},
		"traccar 10": {method: "POST", path: "/live/traccar", body: "id=ten&lat=%[1]g&lon=7.25&timestamp=%[2]v", accepts: success},
		"gpslogger":  {method: "GET", path: "/live/gpslogger?lat=%[1]g&lon=7.25&spd=3&timestamp=%[2]v&aid=ab12", accepts: success},
		// It keeps the whole batch.
		"overland": {method: "POST", path: "/live/overland", iso: true, accepts: func(code int, text string) bool { return code < 300 && strings.Contains(text, `"result":"ok"`) },
			body: `{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[7.25,%[1]g]},"properties":{"timestamp":"%[2]v","device_id":"over"}}]}`},
		// It looks at the body alone, whatever the status.
		"livetrack24": {method: "GET", path: "/track.php?leolive=4&sid=1234567&pid=2&lat=%[1]g&lon=7.25&alt=1&sog=1&cog=1&tm=%[2]v",
			accepts: func(_ int, text string) bool { return text == "OK" }},
	}
}

// try sends the n-th position once, and reports whether the app is done with it.
func (a phoneApp) try(url string, lat float64, n int) bool {
	at := time.Unix(1783944000+int64(n), 0).UTC()
	when := any(at.Unix())
	if a.iso {
		when = at.Format(time.RFC3339)
	}
	fill := func(text string) string {
		if !strings.Contains(text, "%[") {
			return text
		}
		return fmt.Sprintf(text, lat, when)
	}
	request, err := http.NewRequest(a.method, url+fill(a.path), strings.NewReader(fill(a.body)))
	if err != nil {
		return false
	}
	if a.body != "" && a.body[0] != '{' {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return err == nil && a.accepts(response.StatusCode, string(text))
}

// send sends positions in order, each until the app is done with it, and some of them
// once more, as if the response had been lost. One can never be stored.
func (a phoneApp) send(t *testing.T, name string, url func() string, progress *atomic.Int64) {
	for n := range positions {
		lat := 46.5
		if n == positions/2 {
			lat = 146.5
		}
		for repeat := range 1 + n%2 {
			end := time.Now().Add(60 * time.Second)
			for !a.try(url(), lat, n) {
				if time.Now().After(end) {
					assert.Fail(t, "sends for ever", "%s: position %d, repeat %d", name, n, repeat)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		progress.Add(1)
	}
}

// positions is how many each app sends.
const positions = 20

// Redis and the API are killed while the apps send.
func TestPhones_LoseNothingAndRepeatNothingForEver(t *testing.T) {
	t.Parallel()
	database, redis := servers.Database(t), servers.Redis(t)
	if redis.InMemory() {
		return
	}
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + redis.URL()}
	serve := startProcess(t, "serve", environment...)
	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	var url atomic.Pointer[string]
	url.Store(&serve.url)
	var progress atomic.Int64
	var sending sync.WaitGroup
	all := phoneApps()
	for name, a := range all {
		sending.Go(func() { a.send(t, name, func() string { return *url.Load() }, &progress) })
	}
	sent := func(part int) {
		require.Eventually(t, func() bool { return progress.Load() >= int64(len(all)*positions*part/10) }, 60*time.Second, 5*time.Millisecond)
	}
	sent(2)
	require.NoError(t, redis.Kill())
	sent(4)
	require.NoError(t, serve.Kill())
	require.NoError(t, redis.Restart(t.Context()))
	again := startProcess(t, "serve", environment...)
	url.Store(&again.url)
	sent(6)
	killTogether(t, redis, again)
	third := startProcess(t, "serve", environment...)
	url.Store(&third.url)
	sending.Wait()
	requireRows(t, pool, len(all)*(positions-1), `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, len(all), `SELECT count(*) FROM (SELECT flight_id FROM live_track_points GROUP BY flight_id HAVING count(DISTINCT datetime) = $1) f`, positions-1)
	sendWholeFiles(t, third.url)
	requireRows(t, pool, 200, `SELECT count(*) FROM uploaded_track_points`)
}

// killTogether kills Redis and an API, and starts Redis again.
func killTogether(t *testing.T, redis *devservers.Redis, api child) {
	t.Helper()
	require.NoError(t, redis.Kill())
	require.NoError(t, api.Kill())
	require.NoError(t, redis.Restart(t.Context()))
}

// sendWholeFiles is GPSLogger, which sends the whole of its CSV file at each upload,
// while the file grows.
func sendWholeFiles(t *testing.T, url string) {
	t.Helper()
	var file strings.Builder
	file.WriteString("time,lat,lon,elevation,accuracy,bearing,speed,satellites,provider,hdop,vdop,pdop,geoidheight,ageofdgpsdata,dgpsid,activity,battery,annotation,timestamp_ms,time_offset,distance,starttimestamp_ms,profile_name,battery_charging\n")
	for upload := range 3 {
		for n := range 100 * (1 - upload/2) { // the third time it has not grown
			at := time.UnixMilli(1783944000000 + int64(upload*100+n)*1000).UTC()
			fmt.Fprintf(&file, "%s,46.5,7.25,1800.0,4.0,270.0,10.0,9,gps,0.9,,,,,,,80,,%d,+02:00,12.5,1783940000000,Default Profile,false\n", at.Format("2006-01-02T15:04:05.000Z"), at.UnixMilli())
		}
		require.Eventually(t, func() bool {
			return post(t, url+"/upload?filename=20260713.csv", "application/octet-stream", file.String()).code < 300
		}, 60*time.Second, 100*time.Millisecond)
	}
}
