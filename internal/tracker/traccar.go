package tracker

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"tracklane/internal/lane"
)

// traccar is the Traccar Client of all generations: up to 8 parameters in the query,
// 9 an object in JSON, from 10 on a form. In parameters speeds are in knots, in the
// object in m/s. Any response below 400 takes a position off the app's queue.
func traccar() *Adapter {
	return &Adapter{
		Name:    "traccar",
		Routes:  []Route{{http.MethodGet, "/live/traccar"}, {http.MethodPost, "/live/traccar"}},
		Read:    readParameters(knots),
		Success: Response{Status: http.StatusOK},
	}
}

// traccarMessage is what Traccar Client 9 and LK8000 send; LK8000 leaves out what is
// not here. Of what is, time and place alone are certain to be there. A speed or a
// heading of -1 is not known.
type traccarMessage struct {
	Device   text `json:"device_id"`
	Location *struct {
		Time   text `json:"timestamp"`
		Coords struct {
			Lat     *number `json:"latitude"`
			Lon     *number `json:"longitude"`
			Alt     *number `json:"altitude"` // metres
			Speed   *number `json:"speed"`    // m/s
			Heading *number `json:"heading"`
		} `json:"coords"`
		Extras struct {
			Alarm text `json:"alarm"`
		} `json:"extras"`
		Alarm text `json:"alarm"`
	} `json:"location"`
}

// readTraccarJSON reads one message or an array of them; each may be of parameters,
// too, whose speeds are in the unit given.
func readTraccarJSON(body []byte, query url.Values, speeds unit) (Report, error) {
	messages, err := list(body)
	if err != nil {
		return Report{}, err
	}
	var report Report
	for _, raw := range messages {
		var m traccarMessage
		err := json.Unmarshal(raw, &m)
		switch {
		case err == nil && m.Location != nil:
			report.addTraccar(m, query)
		default:
			values, ok := flatten(raw, query)
			if !ok || report.addParameters(values, speeds) != nil {
				report.Positions = append(report.Positions, Position{Reason: "must be an object with a position"})
			}
		}
	}
	return report, nil
}

func (report *Report) addTraccar(m traccarMessage, query url.Values) {
	location := m.Location
	p := Position{Device: first(string(m.Device), query.Get("id")), Fix: lane.NoFix()}
	for _, alarm := range []text{location.Alarm, location.Extras.Alarm} {
		if strings.EqualFold(string(alarm), "sos") {
			report.Distress, report.Device = "sos", p.Device
		}
	}
	p.setTime("timestamp", string(location.Time))
	p.setPlace(orNaN(location.Coords.Lat), orNaN(location.Coords.Lon))
	p.Fix.Elevation = orNaN(location.Coords.Alt)
	p.Fix.Speed = metresPerSecond.speed(orNaN(location.Coords.Speed))
	p.Fix.Heading = heading(orNaN(location.Coords.Heading))
	report.Positions = append(report.Positions, p)
}
