package tracker

import (
	"encoding/json"
	"net/http"

	"tracklane/internal/lane"
)

// overland is Overland's batch of GeoJSON features (Overland-iOS, README "API"). The
// app keeps a batch until it gets an object whose result is ok, and shows its user
// the error of any other.
func overland() *Adapter {
	return &Adapter{
		Name:    "overland",
		Routes:  []Route{{http.MethodPost, "/live/overland"}},
		Read:    readOverland,
		Success: Response{http.StatusOK, "application/json", `{"result":"ok"}`},
		Failure: func(_ *http.Request, status int, reason string) Response { return jsonFailure(status, reason) },
	}
}

// overlandFeature is a place, or something else that happened: then it has an
// action, or a type of its own.
type overlandFeature struct {
	Type     text `json:"type"`
	Geometry struct {
		Coordinates []number `json:"coordinates"` // lon, lat
	} `json:"geometry"`
	Properties struct {
		Action           text    `json:"action"`
		Time             text    `json:"timestamp"`
		Altitude         *number `json:"altitude"`          // metres
		VerticalAccuracy *number `json:"vertical_accuracy"` // metres; negative: the altitude is not known
		Speed            *number `json:"speed"`             // m/s; negative: not known
		Course           *number `json:"course"`            // negative: not known
		Device           text    `json:"device_id"`
		Unique           text    `json:"unique_id"`
	} `json:"properties"`
}

func readOverland(r *http.Request, body []byte) (Report, error) {
	var batch struct {
		Locations json.RawMessage `json:"locations"`
		Current   json.RawMessage `json:"current"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return Report{}, &lane.MalformedError{Reason: `The body must be an object with "locations".`}
	}
	var locations []json.RawMessage
	if len(batch.Locations) > 0 && batch.Locations[0] != 'n' { // null
		var err error
		if locations, err = list(batch.Locations); err != nil {
			return Report{}, err
		}
	}
	report := Report{Positions: make([]Position, 0, len(locations)+1)}
	for _, raw := range locations {
		var f overlandFeature
		if json.Unmarshal(raw, &f) != nil {
			report.Positions = append(report.Positions, Position{Reason: "must be a GeoJSON feature"})
			continue
		}
		if f.Properties.Action == "" && f.Type != "trip" {
			report.Positions = append(report.Positions, f.position(r))
		}
	}
	// Where the phone is now. It comes again among the locations, maybe much later,
	// and is the same row then.
	var now overlandFeature
	if len(batch.Current) > 0 && json.Unmarshal(batch.Current, &now) == nil {
		if p := now.position(r); p.Reason == "" {
			report.Positions = append(report.Positions, p)
		}
	}
	return report, nil
}

func (f *overlandFeature) position(r *http.Request) Position {
	properties := &f.Properties
	p := Position{
		Device: first(string(properties.Device), string(properties.Unique), r.URL.Query().Get("device_id")),
		Fix:    lane.NoFix(),
	}
	if len(f.Geometry.Coordinates) < 2 {
		p.reject("geometry", "must be a point")
		return p
	}
	p.setTime("timestamp", string(properties.Time))
	p.setPlace(float64(f.Geometry.Coordinates[1]), float64(f.Geometry.Coordinates[0]))
	if accuracy := orNaN(properties.VerticalAccuracy); !(accuracy < 0) {
		p.Fix.Elevation = orNaN(properties.Altitude)
	}
	p.Fix.Speed = metresPerSecond.speed(orNaN(properties.Speed))
	p.Fix.Heading = heading(orNaN(properties.Course))
	return p
}
