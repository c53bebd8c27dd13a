package tracker_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/lane"
)

func TestOverland_StoresABatch(t *testing.T) {
	t.Parallel()
	feature := func(coordinates, properties string) string {
		return `{"type":"Feature","geometry":{"type":"Point","coordinates":` + coordinates + `},"properties":{` + properties + `}}`
	}
	good := feature("[7.25,46.5]", `"timestamp":"2026-07-13T12:00:00Z","altitude":1800,"vertical_accuracy":4,"speed":10,"course":270,"device_id":"7","motion":[],"wifi":""`)
	want := at("overland", "7", `"lat":46.5,"lon":7.25,"elevation":1800,"speed":10,"heading":270`)
	bare := at("overland", "7", `"lat":46.5,"lon":7.25`)
	body := func(list string) request {
		return request{target: "/live/overland", body: `{"locations":[` + list + `]}`}
	}
	cases{
		"one":                  {request: body(good), want: want},
		"one that comes again": {request: request{target: "/live/overland", body: `{"locations":[` + good + `],"current":` + good + `,"trip":{"mode":"walk"}}`}, want: want + "\n" + want},
		"a current of nothing": {request: request{target: "/live/overland", body: `{"locations":[],"current":{"type":"Feature","properties":{}}}`}},
		"nothing known":        {request: body(feature("[7.25,46.5]", `"timestamp":"2026-07-13T05:00:00-0700","altitude":0,"vertical_accuracy":-1,"speed":-1,"course":-1,"device_id":"7"`)), want: bare},
		"what happened":        {request: body(feature("[0,0]", `"action":"visit","timestamp":"2026-07-13T12:00:00Z"`) + `,{"type":"trip"}`)},
		"one bad of two":       {request: body(feature("[7,91]", `"timestamp":"2026-07-13T12:00:00Z","device_id":"7"`) + "," + good), want: want, rejected: "lat must be between -90 and 90"},
		"no features":          {request: body(`5,null,{"geometry":7}`), rejected: " must be a GeoJSON feature; geometry must be a point;  must be a GeoJSON feature"},
		"no time":              {request: body(feature("[7,46]", `"device_id":"7"`)), rejected: "timestamp is missing"},
		"no device":            {request: body(feature("[7,46]", `"timestamp":"2026-07-13T12:00:00Z","device_id":""`)), rejected: "device_id is missing: give the device an id in the app, or use a pilot's token"},
	}.run(t, "overland")

	_, _, err := request{target: "/live/overland", body: `{"locations":[` + strings.Repeat("0,", 6000) + `0]}`}.send(t, adapter(t, "overland"))
	var large *lane.TooLargeError
	assert.ErrorAs(t, err, &large)
}
