// Package tracker knows what the apps of pilots' phones send and what each of them
// has to hear, so that it sends nothing for ever and loses nothing.
//
// An Adapter is one app's format: how a request becomes positions of the lane live,
// and the responses that the app understands. Everything behind it, from the rules
// for a point to the group commit, is the lane's own (Decode). A new format is one
// file with its Adapter, a line in All, and a test.
package tracker

import (
	"encoding/json"
	"net/http"
	"strconv"

	"tracklane/internal/lane"
)

// Adapter is one app's format. It is never changed, so any number of goroutines may
// use it.
type Adapter struct {
	// Name is the app's in metrics, logs and flights' ids: lower case, no spaces.
	Name string

	// Routes are the requests that the app makes.
	Routes []Route

	// Login returns what a request says of its sender, where the app has a way of its
	// own to say it; nil where it has none.
	Login func(*http.Request) Login

	// Read reads a request. The error is a *lane.MalformedError when the body will
	// never be readable, and a *lane.TooLargeError when it holds too many positions.
	// The report does not refer to the body's memory.
	Read func(r *http.Request, body []byte) (Report, error)

	// Success is the response to what was stored, and to what is not to be sent
	// again although it could not be. A zero Success is tracklane's own JSON, which
	// names the flight and what was rejected.
	Success Response

	// Failure makes the response to what is to be sent again, or by somebody else,
	// of its status and reason; nil = tracklane's own, a problem in JSON.
	Failure func(r *http.Request, status int, reason string) Response
}

// Login is what a request of an app says of its sender that sends a password when it
// begins, and then the number of its session alone.
type Login struct {
	User, Password string // empty where the request has none

	// Session is the number of the session that the request is of; 0 = of none.
	Session uint32

	// Starts says that the request starts the session.
	Starts bool
}

// Route is a method and a path.
type Route struct{ Method, Path string }

// Response is what an app hears, byte for byte.
type Response struct {
	Status      int
	ContentType string
	Body        string
}

// jsonFailure is a failure as an object that names the reason.
func jsonFailure(status int, reason string) Response {
	text, err := json.Marshal(map[string]string{"error": reason})
	if err != nil { // a text always marshals
		text = []byte("{}")
	}
	return Response{status, "application/json", string(text)}
}

// Report is what a request says.
type Report struct {
	// Positions are those that were sent, in their order. A message that is
	// none, such as a heartbeat, has no entry.
	Positions []Position

	// Distress is what a pilot in distress says; empty if he is not. Device is the
	// app's id of who sent it.
	Distress, Device string

	// Body is what the app has to hear instead of the body of Success; empty = that.
	Body string
}

// Identify makes a report the sender's, where that is known by the session or the
// password of a Login: the app's own ids are secrets then, and have no place in what
// is stored and shown.
func (report *Report) Identify(sender Sender) {
	if sender.User != 0 && report.Body != "" {
		report.Body = strconv.FormatUint(uint64(sender.User), 10)
	}
	if sender.Session == "" {
		return
	}
	report.Device = first(sender.Pilot, sender.Device)
	for i := range report.Positions {
		report.Positions[i].Device, report.Positions[i].Session = sender.Device, sender.Session
	}
}

// Position is one position that an app sent.
type Position struct {
	// Device is the app's own id of the device; it may be empty.
	Device string

	// Session is the app's own id of the flight or track; empty where it has none.
	Session string

	Fix lane.Fix

	// Field and Reason say why the position cannot be used; an empty Reason does
	// not, and Decode checks the Fix.
	Field, Reason string
}

// maxPositions is how many positions a request may have: Overland sends 1,000 at
// the most.
const maxPositions = 5000

// All returns the adapters.
func All() []*Adapter {
	return []*Adapter{ownTracks(), osmAnd(), traccar(), gpsLogger(), overland(), liveTrack24()}
}
