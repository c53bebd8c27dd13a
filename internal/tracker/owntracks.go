package tracker

import (
	"encoding/json"
	"net/http"
	"strings"

	"tracklane/internal/lane"
)

// ownTracks is the HTTP mode of OwnTracks (booklet, tech/http and tech/json): one
// message in JSON a request. The app reads the response as a list of messages, and
// sends any message again, before all others, that does not get one.
func ownTracks() *Adapter {
	accepted := Response{http.StatusOK, "application/json", "[]"}
	return &Adapter{
		Name:    "owntracks",
		Routes:  []Route{{http.MethodPost, "/live/owntracks"}},
		Read:    readOwnTracks,
		Success: accepted,
		Failure: func(_ *http.Request, status int, reason string) Response {
			if status == http.StatusRequestEntityTooLarge {
				return accepted // a position is small, and it would come again for ever
			}
			return jsonFailure(status, reason)
		},
	}
}

// ownTracksMessage is a message of the type location. acc, alt, cog, vac and vel are
// missing where they are zero or not known.
type ownTracksMessage struct {
	Type  text    `json:"_type"`
	Lat   *number `json:"lat"`
	Lon   *number `json:"lon"`
	Time  text    `json:"tst"` // Unix seconds
	Alt   *number `json:"alt"` // metres
	Speed *number `json:"vel"` // km/h
	Cog   *number `json:"cog"`
	Topic text    `json:"topic"`
	Tid   text    `json:"tid"`
}

func readOwnTracks(r *http.Request, body []byte) (Report, error) {
	if len(body) == 0 {
		return Report{}, nil // a friend was deleted
	}
	var m ownTracksMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return Report{}, &lane.MalformedError{Reason: "The body must be a message of OwnTracks."}
	}
	switch m.Type {
	case "location":
	case "":
		return Report{}, &lane.MalformedError{Reason: `The message has no "_type".`}
	case "encrypted":
		return Report{}, &lane.MalformedError{Reason: "The message is encrypted: use https in its place."}
	default:
		return Report{}, nil
	}
	p := Position{Device: ownTracksDevice(r, m), Fix: lane.NoFix()}
	p.setTime("tst", string(m.Time))
	p.setPlace(orNaN(m.Lat), orNaN(m.Lon))
	p.Fix.Elevation = orNaN(m.Alt)
	p.Fix.Speed = kilometresPerHour.speed(orNaN(m.Speed))
	p.Fix.Heading = heading(orNaN(m.Cog))
	return Report{Positions: []Position{p}}, nil
}

// ownTracksDevice is the user and the device, each from where it can be trusted
// most.
func ownTracksDevice(r *http.Request, m ownTracksMessage) string {
	query := r.URL.Query()
	user, _, _ := r.BasicAuth()
	parts := strings.SplitN(string(m.Topic), "/", 3)
	if len(parts) < 3 || parts[0] != "owntracks" || parts[1] == "http" { // of the app itself: owntracks/http/TID
		parts = make([]string, 3)
	}
	user = first(user, r.Header.Get("X-Limit-U"), query.Get("u"), parts[1])
	device := first(r.Header.Get("X-Limit-D"), query.Get("d"), parts[2], string(m.Tid))
	return strings.Trim(user+"-"+device, "-")
}
