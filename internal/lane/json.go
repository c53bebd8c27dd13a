package lane

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-faster/jx"
	"github.com/google/uuid"
)

// newJSONDecoder returns the decoder of a lane whose requests are JSON objects
// with the track's columns as members beside a list of points.
//
// A body is read without reflection and without an allocation for a point: by
// the fastDecoder if it can, and otherwise from the start by decodeSlow.
func newJSONDecoder(l *Lane, list string) Decoder {
	members, required := pointMembers(l)
	return func(body []byte, options DecodeOptions) (Decoded, error) {
		d := jsonDecoder{lane: l, list: list, members: members, required: required, options: options}
		return d.decode(body)
	}
}

// member is one name that a point may have in JSON.
type member struct {
	name   string
	role   role
	column int // of a value: index into Lane.ValueColumns
	Column
}

type role uint8

const (
	roleTime role = iota
	roleLat
	roleLon
	roleValue
)

// pointMembers returns the members that a point of the lane may have, and with
// bit i set those that it must have.
func pointMembers(l *Lane) (members []member, required uint32) {
	members = []member{
		{name: l.TimeColumn, role: roleTime, Column: Column{Required: true}},
		{name: "lat", role: roleLat, Column: Column{Required: true}},
		{name: "lon", role: roleLon, Column: Column{Required: true}},
	}
	for i, c := range l.ValueColumns {
		name := c.JSONName
		if name == "" {
			name = c.Name
		}
		members = append(members, member{name: name, role: roleValue, column: i, Column: c})
	}
	for i := range members {
		if members[i].Required {
			required |= 1 << i
		}
	}
	return members, required
}

// jsonDecoder decodes one body.
type jsonDecoder struct {
	lane    *Lane
	list    string
	members []member
	options DecodeOptions
	json    *jx.Decoder
	decoded Decoded

	required uint32 // bit i: members[i] is

	// badField and badReason say why no point of this body can be stored,
	// when a value that they share is at fault.
	badField, badReason string
}

func (d *jsonDecoder) decode(body []byte) (Decoded, error) {
	fields := d.reset(body)
	if fast := (fastDecoder{jsonDecoder: d, body: body}); fast.decode(fields) {
		return d.finish(body, fields)
	}
	return d.decodeSlow(body, d.reset(body))
}

// minPointJSON is the length of the shortest point in JSON, in bytes.
const minPointJSON = len(`{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}`)

// jsonCapacity is how many points a body may hold. A list of them that had to grow
// would take more than twice the memory meanwhile.
func jsonCapacity(body []byte) int {
	objects := bytes.Count(body, []byte("{")) - 1 // all but the body itself
	return min(max(1, objects), len(body)/minPointJSON+1, MaxPoints)
}

// reset makes room for the points of a body and returns the fields of their
// track.
func (d *jsonDecoder) reset(body []byte) []Field {
	fields := make([]Field, len(d.lane.TrackColumns))
	for i := range fields {
		fields[i].Null = true
	}
	d.badField, d.badReason = "", ""
	points := d.decoded.Points
	if points == nil {
		points = reusePoints(d.options.Reuse, d.lane, jsonCapacity(body))
	}
	points.clear()
	points.Tracks = points.Tracks[:0]
	points.AddTrack(Track{
		Fields: fields, ReceivedAt: d.options.Now.UnixMicro(), RequestID: d.options.RequestID,
	})
	d.decoded = Decoded{Points: points}
	return fields
}

// decodeSlow reads any body.
func (d *jsonDecoder) decodeSlow(body []byte, fields []Field) (Decoded, error) {
	d.json = jx.DecodeBytes(body)
	if len(bytes.TrimSpace(body)) == 0 {
		return Decoded{}, &MalformedError{"The body is empty; send a JSON object."}
	}
	if d.json.Next() != jx.Object {
		return Decoded{}, &MalformedError{"The body must be a JSON object."}
	}
	object, err := d.json.ObjIter()
	if err != nil {
		return Decoded{}, malformedJSON(err)
	}
	listed := false
	for object.Next() {
		if string(object.Key()) == d.list {
			listed = true
			err = d.readList()
		} else {
			err = d.readTrackMember(object.Key(), fields)
		}
		if err != nil {
			return Decoded{}, err
		}
	}
	if err := object.Err(); err != nil {
		return Decoded{}, malformedJSON(err)
	}
	if err := d.json.Skip(); !errors.Is(err, io.EOF) {
		return Decoded{}, &MalformedError{"There is more after the JSON object; send one object a request."}
	}
	if !listed {
		return Decoded{}, &MalformedError{fmt.Sprintf("%q is missing.", d.list)}
	}
	return d.finish(body, fields)
}

// readTrackMember reads a member of the request's object that is not the list.
func (d *jsonDecoder) readTrackMember(name []byte, fields []Field) error {
	column := d.trackColumn(name)
	if column < 0 {
		return skip(d.json)
	}
	switch d.json.Next() {
	case jx.Null:
		fields[column] = Field{Null: true}
		return skip(d.json)
	case jx.String:
	default:
		return &MalformedError{fmt.Sprintf("%q must be a string.", name)}
	}
	text, err := d.json.StrBytes()
	if err != nil {
		return malformedJSON(err)
	}
	return d.setTrackField(column, text, fields)
}

// trackColumn returns the index of the track's column with this name, or -1.
func (d *jsonDecoder) trackColumn(name []byte) int {
	for i := range d.lane.TrackColumns {
		if string(name) == d.lane.TrackColumns[i].Name {
			return i
		}
	}
	return -1
}

// setTrackField sets a track's value, and notes when no point can be
// stored with it.
func (d *jsonDecoder) setTrackField(column int, text []byte, fields []Field) error {
	c := &d.lane.TrackColumns[column]
	if c.Kind == UUID {
		id, err := uuid.ParseBytes(text)
		if err != nil {
			return &MalformedError{fmt.Sprintf("%q must be a UUID.", c.Name)}
		}
		fields[column] = Field{Value: string(id[:])}
		return nil
	}
	reason := checkText(text)
	if reason == "" && c.Required && len(text) == 0 {
		reason = "must not be empty"
	}
	if reason != "" {
		d.badField, d.badReason = c.Name, reason
		text = nil // it may be large
	}
	fields[column] = TextField(string(text))
	return nil
}

// finish checks that the track has what it needs, makes the UUID of a flight
// that came without one, and returns what was read.
func (d *jsonDecoder) finish(body []byte, fields []Field) (Decoded, error) {
	for i, c := range d.lane.TrackColumns {
		if c.Kind == UUID {
			var id uuid.UUID
			if fields[i].Null {
				id = uuidOf(body)
				fields[i] = Field{Value: string(id[:])}
			} else {
				copy(id[:], fields[i].Value)
			}
			d.decoded.Response = ResponseMember{c.Name, id.String()}
		}
		if c.Required && fields[i].Null {
			return Decoded{}, &MalformedError{fmt.Sprintf("%q is missing.", c.Name)}
		}
	}
	if d.badField != "" {
		d.rejectAll()
		return d.decoded, nil
	}
	if err := checkStored(d.decoded.Points); err != nil {
		return Decoded{}, err
	}
	return d.decoded, nil
}

// uuidOf makes the UUID of a flight that came without one, of version 5 (RFC
// 9562), from the request's JSON without its white space: a client that sends
// the same body again, as it is told to after a 503, means the same flight.
func uuidOf(body []byte) uuid.UUID {
	namespace := uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://tracklane/scoring"))
	sum := sha1.New()
	sum.Write(namespace[:])
	if json.Valid(body) {
		writeCompact(sum, body)
	} else {
		sum.Write(body) // what only this package's decoders accept is taken as it is
	}
	id := uuid.UUID(sum.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 5<<4 // version
	id[8] = id[8]&0x3f | 0x80 // variant
	return id
}

// writeCompact writes valid JSON without its white space, as json.Compact does, and
// takes no memory for it: a body may be large.
func writeCompact(to io.Writer, body []byte) {
	start, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++ // whatever it escapes
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\n' || c == '\r' || c == '\t'):
			_, _ = to.Write(body[start:i]) // a hash takes all
			start = i + 1
		}
	}
	_, _ = to.Write(body[start:])
}

// rejectAll names every point of the request: the fault is in what they share.
func (d *jsonDecoder) rejectAll() {
	total := d.decoded.Points.Len() + d.decoded.RejectedTotal
	d.decoded = Decoded{Points: NewPoints(d.lane, 0), Response: d.decoded.Response}
	for i := range total {
		d.decoded.Reject(i, d.badField, d.badReason)
	}
}

func (d *jsonDecoder) readList() error {
	if d.json.Next() != jx.Array {
		return &MalformedError{fmt.Sprintf("%q must be a list.", d.list)}
	}
	// A name that comes twice counts the last time it comes.
	points := d.decoded.Points
	points.clear()
	d.decoded.Rejected, d.decoded.RejectedTotal, d.decoded.gaps = nil, 0, nil

	array, err := d.json.ArrIter()
	if err != nil {
		return malformedJSON(err)
	}
	for index := 0; array.Next(); index++ {
		if index == MaxPoints {
			return tooManyPoints()
		}
		if d.json.Next() != jx.Object {
			d.decoded.Reject(index, "", "must be an object")
			if err := skip(d.json); err != nil {
				return err
			}
			continue
		}
		field, reason, err := d.readPoint(points)
		if err != nil {
			return err
		}
		if reason != "" {
			d.decoded.Reject(index, field, reason)
		}
	}
	if err := array.Err(); err != nil {
		return malformedJSON(err)
	}
	return nil
}

// readPoint reads one object of the list into a new row. When the point cannot
// be stored it adds none and returns the field at fault and the reason.
func (d *jsonDecoder) readPoint(points *Points) (field, reason string, err error) {
	row := points.Add(0, 0, 0, 0)
	var seen uint32 // bit i: members[i] was there and not null
	fail := func(name, why string) {
		if reason == "" {
			field, reason = name, why
		}
	}
	object, err := d.json.ObjIter()
	if err != nil {
		return "", "", malformedJSON(err)
	}
	next := 0
	for object.Next() {
		i := d.find(object.Key(), next)
		if i < 0 {
			if err := skip(d.json); err != nil {
				return "", "", err
			}
			continue
		}
		next = i + 1
		m := &d.members[i]
		given, why, err := d.readMember(points, row, m)
		if err != nil {
			return "", "", err
		}
		if given {
			seen |= 1 << i
		} else {
			seen &^= 1 << i
			if m.role == roleValue {
				points.Rows[row].Present &^= 1 << m.column
			}
		}
		if why != "" {
			fail(m.name, why)
		}
	}
	if err := object.Err(); err != nil {
		return "", "", malformedJSON(err)
	}
	if reason == "" {
		for i := range d.members {
			if d.members[i].Required && seen&(1<<i) == 0 {
				fail(d.members[i].name, "is missing")
				break
			}
		}
	}
	if reason != "" {
		points.RemoveLast()
	}
	return field, reason, nil
}

// find returns the index of the member with this name, or -1. Senders keep to
// one order, so it looks first where the next member is expected.
func (d *jsonDecoder) find(name []byte, expected int) int {
	if expected < len(d.members) && string(name) == d.members[expected].name {
		return expected
	}
	for i := range d.members {
		if string(name) == d.members[i].name {
			return i
		}
	}
	return -1
}

// readMember stores one member of a point. given is false for null.
func (d *jsonDecoder) readMember(points *Points, row int, m *member) (given bool, reason string, err error) {
	found := d.json.Next()
	if found == jx.Null {
		return false, "", skip(d.json)
	}
	want, otherwise := jx.Number, "must be a number"
	switch {
	case m.role == roleTime || m.Kind == Text:
		want, otherwise = jx.String, "must be a string"
	case m.Kind == Bool:
		want, otherwise = jx.Bool, "must be true or false"
	}
	if found != want {
		return true, otherwise, skip(d.json)
	}
	if reason, err = d.readValue(points, row, m, want); err != nil {
		return true, "", malformedJSON(err)
	}
	return true, reason, nil
}

func (d *jsonDecoder) readValue(points *Points, row int, m *member, kind jx.Type) (reason string, err error) {
	switch kind {
	case jx.String:
		text, err := d.json.StrBytes()
		if err != nil {
			return "", err
		}
		if m.role == roleTime {
			return setTime(&points.Rows[row], text, d.options.Now), nil
		}
		return setText(points, row, m, text), nil
	case jx.Bool:
		value, err := d.json.Bool()
		if err != nil {
			return "", err
		}
		points.SetBool(row, m.column, value)
		return "", nil
	}
	value, err := readFloat(d.json)
	if err != nil {
		return "", err
	}
	return setNumber(points, row, m, value), nil
}

// The set functions store a member of a point and return why it cannot be kept,
// or "".

func setTime(row *Row, text []byte, now time.Time) string {
	at, reason := ParseTimestamp(text)
	row.Time = at
	if reason != "" {
		return reason
	}
	return checkTime(at, now)
}

func setText(points *Points, row int, m *member, text []byte) string {
	reason := checkText(text)
	if reason == "" {
		points.SetText(row, m.column, string(text))
	}
	return reason
}

func setNumber(points *Points, row int, m *member, value float64) string {
	switch m.role {
	case roleLat:
		points.Rows[row].Lat = value
		return checkCoordinate(value, latLimit)
	case roleLon:
		points.Rows[row].Lon = value
		return checkCoordinate(value, lonLimit)
	}
	points.SetFloat(row, m.column, value)
	return checkFloat(value, m.Max)
}

// readFloat reads a number to its nearest float64. One that is too large for a
// float64 is an infinity, as the checks will find.
func readFloat(json *jx.Decoder) (float64, error) {
	number, err := json.Num()
	if err != nil {
		return 0, err
	}
	value, err := strconv.ParseFloat(string(number), 64)
	if err != nil && !math.IsInf(value, 0) {
		return 0, err
	}
	return value, nil
}

func skip(json *jx.Decoder) error {
	if err := json.Skip(); err != nil {
		return malformedJSON(err)
	}
	return nil
}

func malformedJSON(err error) error {
	return &MalformedError{fmt.Sprintf("The body is not valid JSON: %v.", err)}
}
