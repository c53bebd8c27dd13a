package tracker

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tracklane/internal/lane"
)

// osmAnd is OsmAnd's online tracking, LK8000's profile of the same name, and the
// templates of other apps, as traccar.org/osmand describes them: parameters in the
// query or the body. A speed is in m/s unless a parameter speed names its unit.
func osmAnd() *Adapter {
	return &Adapter{
		Name:    "osmand",
		Routes:  []Route{{http.MethodGet, "/live/osmand"}, {http.MethodPost, "/live/osmand"}},
		Read:    readParameters(metresPerSecond),
		Success: Response{Status: http.StatusOK},
	}
}

// gpsLogger is GPSLogger's custom URL with %ALL, whose names differ a little. The app
// sends its whole file again at each automatic upload.
func gpsLogger() *Adapter {
	a := osmAnd()
	a.Name = "gpslogger"
	a.Routes = []Route{{http.MethodGet, "/live/gpslogger"}, {http.MethodPost, "/live/gpslogger"}}
	return a
}

// readParameters returns the Read of a format of parameters, or of objects in JSON,
// whose speeds are in usual where the request does not say.
func readParameters(usual unit) func(*http.Request, []byte) (Report, error) {
	return func(r *http.Request, body []byte) (Report, error) {
		query, speeds := r.URL.Query(), usual
		for _, value := range query["speed"] {
			if named, ok := unitNamed(value); ok {
				speeds = named
			}
		}
		return readParameterBody(query, body, speeds)
	}
}

// readParameterBody reads parameters of the query and of a form, or JSON.
func readParameterBody(query url.Values, body []byte, speeds unit) (Report, error) {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		return readTraccarJSON(trimmed, query, speeds)
	}
	// What cannot be read of a form is left out, and so is what the query has too.
	form, _ := url.ParseQuery(string(trimmed))
	for name, values := range form {
		if name == "speed" || !query.Has(name) {
			query[name] = append(query[name], values...)
		}
	}
	var report Report
	return report, report.addParameters(query, speeds)
}

func unitNamed(text string) (unit, bool) {
	switch strings.ToLower(text) {
	case "knots", "kn", "kt":
		return knots, true
	case "m/s":
		return metresPerSecond, true
	case "km/h":
		return kilometresPerHour, true
	}
	return 0, false
}

// addParameters adds the position that parameters hold. A message without a place,
// such as a heartbeat, is none; it needs an id.
func (report *Report) addParameters(values url.Values, speeds unit) error {
	get := func(names ...string) string {
		for _, name := range names {
			if text := first(values[name]...); text != "" {
				return text
			}
		}
		return ""
	}
	device := get("id", "deviceid", "device_id", "device", "aid", "ser")
	if strings.EqualFold(get("alarm"), "sos") {
		report.Distress, report.Device = "sos", device
	}
	lat, lon := get("lat"), get("lon", "lng")
	if both := get("location"); lat == "" && lon == "" && both != "" {
		lat, lon, _ = strings.Cut(both, ",")
	}
	if lat == "" && lon == "" {
		if device == "" {
			return &lane.MalformedError{Reason: "The message has neither a position nor an id."}
		}
		return nil
	}
	p := Position{Device: device, Fix: lane.NoFix()}
	p.setTime("timestamp", get("timestamp", "time"))
	p.setPlace(parseNumber(lat), parseNumber(lon))
	if valid := get("valid"); valid == "false" || valid == "0" {
		p.reject("valid", "says that the position is not valid")
	}
	optional := func(names ...string) float64 {
		text := get(names...)
		number := parseNumber(text)
		if text != "" && math.IsNaN(number) && !strings.EqualFold(text, "nan") {
			p.reject(names[0], "must be a number")
		}
		return number
	}
	p.Fix.Elevation = optional("altitude", "alt")
	p.Fix.Heading = heading(optional("bearing", "heading", "dir"))
	if text := speedOf(values["speed"]); text != "" {
		values["speed"] = []string{text}
		p.Fix.Speed = speeds.speed(optional("speed"))
	} else if values.Has("spd") {
		p.Fix.Speed = metresPerSecond.speed(optional("spd"))
	} else {
		p.Fix.Speed = kilometresPerHour.speed(optional("spd_kph"))
	}
	report.Positions = append(report.Positions, p)
	return nil
}

// speedOf is the first value that names no unit.
func speedOf(values []string) string {
	for _, value := range values {
		if _, named := unitNamed(value); !named && strings.TrimSpace(value) != "" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// parseNumber returns NaN for what is no number.
func parseNumber(text string) float64 {
	number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil && !math.IsInf(number, 0) {
		return math.NaN()
	}
	return number
}

// flatten makes parameters of an object whose members are texts and numbers.
func flatten(object json.RawMessage, query url.Values) (url.Values, bool) {
	var members map[string]text
	if json.Unmarshal(object, &members) != nil {
		return nil, false
	}
	if location, given := members["location"]; given && location == "" { // not one that can be read
		return nil, false
	}
	values := url.Values{}
	for name, value := range members {
		values.Set(name, string(value))
	}
	if id := query.Get("id"); id != "" && values.Get("id") == "" {
		values.Set("id", id)
	}
	return values, true
}
