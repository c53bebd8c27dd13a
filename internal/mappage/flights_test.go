package mappage

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/browsertest"
)

// What the server answers about flights: one of the lane live and one of its logger,
// which came two hours after it.
const (
	madeUpFlight = `{"id":"cup/1","lane":"live","pilot_id":"anna","race_id":"cup","device_id":null,"points":9000,"max_altitude":2950.4,"distance":81234.5,
		"first_fix":{"datetime":"2026-07-14T10:00:00Z","lat":46.5,"lon":7.5},"last_fix":{"datetime":"2026-07-14T12:30:00Z","lat":46.6,"lon":7.9},
		"received_at":"2026-07-14T12:30:01Z"}`
	madeUpLogger = `{"id":"anna-logger","lane":"upload","pilot_id":"anna","race_id":null,"device_id":null,"points":9001,"max_altitude":2951,"distance":81300,
		"first_fix":{"datetime":"2026-07-14T09:59:00Z","lat":46.5,"lon":7.5},"last_fix":{"datetime":"2026-07-14T12:31:00Z","lat":46.6,"lon":7.9},
		"received_at":"2026-07-14T14:31:00Z"}`
	madeUpPage    = `{"flights":[` + madeUpFlight + `],"next_cursor":"x"}`
	madeUpFlights = `{"flights":[` + madeUpFlight + `,` + madeUpLogger + `],"refused":[
		{"id":"cup/1","lane":"live","count":2,"error":"too high","last":"2026-07-14T12:00:00Z"},
		{"id":"gone","lane":"live","count":1,"error":"too low","last":"2026-07-14T12:00:00Z"}]}`
	madeUpTrack = `{"type":"Feature","geometry":{"type":"LineString","coordinates":[[7.5,46.5,900],[7.7,46.7,2900],[7.6,46.55,2000],[7.9,46.6,1000]]},
		"properties":{"coordTimes":["2026-07-14T10:00:00Z","2026-07-14T11:00:00Z","2026-07-14T12:00:00Z","2026-07-14T12:30:00Z"]}}`
)

func TestFlights_ShowsEachWithItsPictureAndWhatBelongsToIt(t *testing.T) {
	var s site
	s.address = "127.0.0.1:0"
	s.start(t)
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"flights-phone", 390, 844, "dark"}, {"flights", 1280, 720, "light"}} {
		t.Run(screen.name, func(t *testing.T) {
			b := openBrowser(t, screen.width, screen.height, screen.scheme)
			require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/flights")))
			b.waitFor(t, `document.querySelectorAll("article svg polyline").length == 2`)
			const live = `document.getElementById("live-cup%2F1").textContent`
			for _, want := range []string{"annacup/1 · live", "2026-07-14 10:00:00 to 12:30:00", "81.2 km", "2950 m", "2 points refused, last 2026-07-14 12:00:00: too high", "also anna-logger (upload), came 2026-07-14 14:31:00"} {
				b.waitFor(t, fmt.Sprintf("%s.replace('anna ', 'anna').includes(%q)", live, want))
			}
			b.waitFor(t, `document.getElementById("upload-anna-logger").textContent.includes("came 2 h 0 min after its last fix")`)
			b.waitFor(t, `document.getElementById("refused").innerText.includes("gone (live): 1 point refused")`)
			b.waitFor(t, fmt.Sprintf("document.documentElement.scrollWidth <= %d", screen.width))
			b.screenshot(t, screen.name)
			t.Run("accessible", func(t *testing.T) { browsertest.RequireAccessible(t, b) })

			links, err := chromedp.Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("article")[0].querySelectorAll(".links a")].map((link) => link.href.replace(location.origin, ""))`))
			require.NoError(t, err)
			require.Len(t, links, 6)
			assert.Equal(t, "/flights/cup%2F1/track?lane=live&format=igc", links[0])
			b.waitFor(t, `(document.querySelectorAll("article .links a")[5].click(), true)`)
			b.waitFor(t, `document.getElementById("slide-time")?.textContent != "" && document.querySelector("[data-flight='cup/1']") != null`)
			b.waitFor(t, `document.querySelectorAll("#sos li").length == 2`) // who calls for help now
			assert.Empty(t, b.complaints())
		})
	}
}

func TestFlights_ReadsMoreAfterAFailure(t *testing.T) {
	var s site
	s.address = "127.0.0.1:0"
	s.failures = 1
	s.start(t)
	b := openBrowser(t, 1280, 720, "light")
	require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/flights")))
	b.waitFor(t, `document.querySelectorAll("article").length == 1 && !document.getElementById("more").hidden`)
	b.waitFor(t, `(document.getElementById("more").click(), true)`)
	b.waitFor(t, `document.getElementById("status").textContent.includes("cannot be read") && !document.getElementById("more").hidden`)
	b.waitFor(t, `(document.getElementById("more").click(), true)`)
	b.waitFor(t, `document.getElementById("upload-anna-logger") != null && document.getElementById("more").hidden`)
}
