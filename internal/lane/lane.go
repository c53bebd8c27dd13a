// Package lane holds what distinguishes the four kinds of traffic: for each
// lane its name, priority, weight, table, columns, key and decoder. Routes,
// queues, aggregation, writing and status all go through the list that All
// makes, and identify a lane by its name. A fifth lane is one more definition
// here, a migration and a test.
package lane

import (
	"cmp"
	"slices"
	"time"
)

// Kind says how a column's value is held in Points and in PostgreSQL.
type Kind uint8

// The kinds of column that lanes use.
const (
	Float     Kind = iota // float8; finite
	Bool                  // boolean
	Timestamp             // timestamptz, to the microsecond
	Text                  // text, valid UTF-8 without NUL
	BigInt                // bigint; only as a track's column
	UUID                  // uuid; only as a track's column
)

// SQLType returns the kind's type in PostgreSQL, as information_schema names it.
func (k Kind) SQLType() string {
	return [...]string{
		Float: "double precision", Bool: "boolean", Timestamp: "timestamp with time zone",
		Text: "text", BigInt: "bigint", UUID: "uuid",
	}[k]
}

// Column is one column of a lane's table.
type Column struct {
	Name string // in the table
	Kind Kind

	// JSONName is the column's name in a request, where that differs from Name.
	JSONName string

	// Required rejects a point that does not have the value.
	Required bool

	// Max, when it is not 0, rejects a point whose Float is outside 0…Max.
	Max float64
}

// Lane is one pipeline: endpoint, queue, table.
// A Lane is never changed after All has made it, so any number of goroutines
// may read it.
type Lane struct {
	// Name is the endpoint's path without its slash and the asynq queue.
	Name string

	// Priority is 1 for the most urgent lane; lanes may share a priority.
	Priority int

	// Weight is the default asynq weight: with every queue full, a lane gets
	// its weight's share of the workers' batches.
	Weight int

	// Table is where the lane's points end up.
	Table string

	// TrackColumns lists the columns whose value all points of a request share. The
	// first of them identifies the flight or device and is part of the key.
	TrackColumns []Column

	// TimeColumn is the column with the time of the fix. The table's key is
	// (TrackColumns[0], TimeColumn, lat, lon).
	TimeColumn string

	// ValueColumns lists the optional columns that each point may fill for itself.
	ValueColumns []Column

	// MaxBody is the largest request body, in bytes.
	MaxBody int64

	// ContentTypes lists the media types the endpoint accepts. A type that ends
	// in "/*" stands for all of its subtypes. A request that names no type is
	// always accepted.
	ContentTypes []string

	// Files says that the endpoint accepts files of flights, too.
	Files bool

	// PlainText makes the endpoint respond "OK" or "NOK" in plain text unless
	// the client accepts JSON.
	PlainText bool

	// SpeedKMH says that the column speed is in km/h. Elsewhere it is in m/s.
	SpeedKMH bool

	// Device, where it is not nil, returns which device sends a body, as its first
	// line says and proves with a key: whoever does so needs no token. It is given
	// the body's first line, or more of it. Its errors are those of Decode, which
	// checks the key as well.
	Device func(body []byte) (serial int64, err error)

	// Decode turns a request body into points. See Decoder.
	Decode Decoder
}

// Decoder turns a request body into the lane's points.
//
// Points that cannot be right are left out and named in Decoded.Rejected; the
// others are kept. The error is a *MalformedError when the body cannot be read
// at all, a *TooLargeError when it holds more than a request may, or a
// *ForbiddenError when the sender may not post. The decoded
// points do not refer to body's memory.
type Decoder func(body []byte, options DecodeOptions) (Decoded, error)

// DecodeOptions is what a decoder needs to know besides the body.
type DecodeOptions struct {
	// Now is when the API accepted the request. It becomes the points'
	// received_at, and times more than a day after it are rejected.
	Now time.Time

	// RequestID goes with the points to the log line of their write.
	RequestID string

	// Reuse is a list that nobody uses any more, or nil: the points take its
	// memory.
	Reuse *Points
}

// Decoded is what a request held.
type Decoded struct {
	Points *Points

	// Rejected names the points that were left out, the first MaxRejections
	// of them. RejectedTotal counts all.
	Rejected      []Rejection
	RejectedTotal int

	// gaps are the indexes, ascending, at which the request holds no point of
	// Points: rejected points, and lines that are none.
	gaps []int32

	// Response is what the lane adds to the response of an accepted request.
	// Its name is empty on a lane that adds nothing.
	Response ResponseMember
}

// ResponseMember is one text member of a JSON response, such as the flight that
// the points were stored under.
type ResponseMember struct{ Name, Value string }

// MaxRejections is how many rejected points a response names one by one.
const MaxRejections = 100

// Rejection names a point that was left out, and why.
type Rejection struct {
	// Index is the point's place in its list, from 0; in a Flymaster file it
	// is the line, from 1.
	Index int    `json:"index"`
	Field string `json:"field"`
	Error string `json:"error"`
}

// Reject names a point that is left out. index is its place in the request, above
// that of the one before.
func (d *Decoded) Reject(index int, field, reason string) {
	d.gaps = append(d.gaps, int32(index))
	d.RejectedTotal++
	if len(d.Rejected) < MaxRejections {
		d.Rejected = append(d.Rejected, Rejection{Index: index, Field: field, Error: reason})
	}
}

// Refuse names a point that was decoded, and could not be stored. point is its
// place in the order in which it was added to Points, from 0, as Points.Index
// returns it; reason is for the sender.
func (d *Decoded) Refuse(point int, reason string) {
	index := point
	for _, gap := range d.gaps {
		if int(gap) > index {
			break
		}
		index++
	}
	d.RejectedTotal++
	at, _ := slices.BinarySearchFunc(d.Rejected, index, func(r Rejection, index int) int { return cmp.Compare(r.Index, index) })
	d.Rejected = slices.Insert(d.Rejected, at, Rejection{Index: index, Error: reason})
	d.Rejected = d.Rejected[:min(len(d.Rejected), MaxRejections)]
}

// MalformedError says that a body could not be read at all.
type MalformedError struct{ Reason string }

func (e *MalformedError) Error() string { return e.Reason }

// ForbiddenError says that the sender did not prove who it is.
type ForbiddenError struct{ Reason string }

func (e *ForbiddenError) Error() string { return e.Reason }

// Columns lists every column of the lane's table, in the order in which the
// writer fills them: the track's, the time, lat, lon, the values, received_at.
func (l *Lane) Columns() []Column {
	columns := make([]Column, 0, len(l.TrackColumns)+len(l.ValueColumns)+4)
	columns = append(columns, l.TrackColumns...)
	columns = append(columns,
		Column{Name: l.TimeColumn, Kind: Timestamp}, Column{Name: "lat", Kind: Float}, Column{Name: "lon", Kind: Float})
	columns = append(columns, l.ValueColumns...)
	return append(columns, Column{Name: "received_at", Kind: Timestamp})
}

// Key lists the names of the key's columns, in order.
func (l *Lane) Key() []string {
	return []string{l.TrackColumns[0].Name, l.TimeColumn, "lat", "lon"}
}

// Options configures the lanes. The zero value accepts every sender.
type Options struct {
	// FlymasterSecret checks the key that a Flymaster device sends; empty
	// means that the key is not checked.
	FlymasterSecret string
}

// All returns the lanes, most urgent first. A program calls it once and hands
// the list on; only the decoders depend on the options.
func All(options Options) []*Lane {
	return []*Lane{live(), upload(), scoring(), flymaster(options.FlymasterSecret)}
}

const megabyte = 1 << 20

func live() *Lane {
	l := flightLane()
	l.Name, l.Priority, l.Weight = "live", 1, 6
	l.Table, l.MaxBody = "live_track_points", megabyte
	return l
}

func upload() *Lane {
	l := flightLane()
	l.Name, l.Priority, l.Weight = "upload", 2, 3
	l.Table, l.MaxBody, l.Files = "uploaded_track_points", 16*megabyte, true
	return l
}

// flightColumns are the fields of a Flight, in their order.
func flightColumns() []Column {
	return []Column{
		{Name: "flight_id", Kind: Text, Required: true},
		{Name: "device_id", Kind: Text},
		{Name: "pilot_id", Kind: Text},
		{Name: "race_id", Kind: Text},
	}
}

// flightLane is what the live and upload lanes share.
func flightLane() *Lane {
	l := &Lane{
		TrackColumns: flightColumns(),
		TimeColumn:   "datetime",
		// Fix has a field for each.
		ValueColumns: []Column{
			{Name: "elevation", Kind: Float},
			{Name: "barometric_altitude", Kind: Float},
			{Name: "speed", Kind: Float},
			{Name: "heading", Kind: Float, Max: 360},
		},
		ContentTypes: []string{"application/json"},
	}
	l.Decode = newJSONDecoder(l, "track_points")
	return l
}

func scoring() *Lane {
	l := &Lane{
		Name: "scoring", Priority: 2, Weight: 3,
		Table: "scoring_tracks", MaxBody: 16 * megabyte,
		TrackColumns: []Column{{Name: "flight_uuid", Kind: UUID}},
		TimeColumn:   "date_time",
		ValueColumns: []Column{
			{Name: "gps_alt", Kind: Float, Required: true},
			{Name: "time", Kind: Text},
			{Name: "rounded_time", Kind: Text},
			{Name: "validity", Kind: Text},
			{Name: "pressure_alt", Kind: Float},
			{Name: "lad", Kind: Float, JSONName: "LAD"},
			{Name: "lod", Kind: Float, JSONName: "LOD"},
			{Name: "speed", Kind: Float},
			{Name: "elevation", Kind: Float},
			{Name: "altitude_diff", Kind: Float},
			{Name: "altitude_diff_smooth", Kind: Float},
			{Name: "speed_smooth", Kind: Float},
			{Name: "takeoff_condition", Kind: Bool},
			{Name: "in_flight", Kind: Bool},
		},
		ContentTypes: []string{"application/json"},
	}
	l.Decode = newJSONDecoder(l, "tracks")
	return l
}

func flymaster(secret string) *Lane {
	l := &Lane{
		Name: "flymaster", Priority: 3, Weight: 1,
		Table: "flymaster", MaxBody: 16 * megabyte,
		TrackColumns: []Column{{Name: "device_id", Kind: BigInt, Required: true}},
		TimeColumn:   "date_time",
		ValueColumns: []Column{
			{Name: "gps_alt", Kind: Float, Required: true},
			{Name: "speed", Kind: Float, Required: true},
			{Name: "heading", Kind: Float, Required: true, Max: 360},
			{Name: "uploaded_at", Kind: Timestamp, Required: true},
		},
		ContentTypes: []string{
			"text/*", "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data",
		},
		PlainText: true,
		SpeedKMH:  true,
	}
	if secret != "" {
		l.Device = func(body []byte) (int64, error) { return readDevice(&lineReader{rest: body}, secret) }
	}
	l.Decode = flymasterDecoder(l, secret)
	return l
}
