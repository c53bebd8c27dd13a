package lane

import (
	"encoding/binary"
	"math"
	"time"
)

// Points is a list of points of one lane, from one request or from many.
//
// Numbers lie flat in three slices, so a batch of a thousand points is a
// handful of allocations. A Points is not safe for concurrent use.
type Points struct {
	Lane   *Lane
	Tracks []Track
	Rows   []Row

	// values holds len(Lane.ValueColumns) cells a row: a float's bits, 0 or 1, Unix
	// microseconds, or an index into texts.
	values []uint64
	texts  []string
}

// Track is what the points of one request have in common.
type Track struct {
	// Fields holds a value for each of the lane's track columns.
	Fields []Field

	ReceivedAt int64 // Unix microseconds
	RequestID  string
}

// Field is one value of a track.
type Field struct {
	Null bool

	// Value is in PostgreSQL's binary format: a text as it is, a bigint in 8
	// bytes, big end first, a uuid in 16.
	Value string
}

// Row is one point: its track, its key, and which of its values are given.
type Row struct {
	TrackIndex int32  // index into Points.Tracks
	Present    uint32 // bit i is set when the point has Lane.ValueColumns[i]
	Time       int64  // Unix microseconds
	Lat, Lon   float64

	// cell is where the row's values begin in Points.values.
	cell int
}

// NewPoints returns an empty list with room for capacity points.
func NewPoints(l *Lane, capacity int) *Points {
	return &Points{
		Lane:   l,
		Rows:   make([]Row, 0, capacity),
		values: make([]uint64, 0, capacity*len(l.ValueColumns)),
	}
}

// reusePoints is NewPoints with the memory of a list that nobody uses any more, if
// it is not nil.
func reusePoints(old *Points, l *Lane, capacity int) *Points {
	if old == nil {
		return NewPoints(l, capacity)
	}
	clear(old.texts[:cap(old.texts)])
	clear(old.Tracks)
	return &Points{
		Lane: l, Tracks: old.Tracks[:0],
		Rows:   withRoom(old.Rows, capacity),
		values: withRoom(old.values, capacity*len(l.ValueColumns)),
		texts:  old.texts[:0],
	}
}

// withRoom returns an empty list with room for capacity elements, in the memory of
// old if that is enough.
func withRoom[E any](old []E, capacity int) []E {
	if cap(old) < capacity {
		return make([]E, 0, capacity)
	}
	return old[:0]
}

// Merge returns a copy of the points of lists, which are of one lane, in their
// order. It must be given at least one list.
func Merge(lists []*Points) *Points {
	total := 0
	for _, list := range lists {
		total += list.Len()
	}
	merged := NewPoints(lists[0].Lane, total)
	for _, list := range lists {
		merged.append(list)
	}
	return merged
}

func (p *Points) append(list *Points) {
	tracks, texts := int32(len(p.Tracks)), uint64(len(p.texts))
	p.Tracks = append(p.Tracks, list.Tracks...)
	p.texts = append(p.texts, list.texts...)
	columns := p.Lane.ValueColumns
	for _, row := range list.Rows {
		cells := list.values[row.cell : row.cell+len(columns)]
		row.TrackIndex, row.cell = row.TrackIndex+tracks, len(p.values)
		p.Rows, p.values = append(p.Rows, row), append(p.values, cells...)
		for i, c := range columns {
			if c.Kind == Text {
				p.values[row.cell+i] += texts
			}
		}
	}
}

// Len is the number of points.
func (p *Points) Len() int { return len(p.Rows) }

// AddTrack appends a track and returns its index.
func (p *Points) AddTrack(t Track) int32 {
	p.Tracks = append(p.Tracks, t)
	return int32(len(p.Tracks) - 1)
}

// Add appends a point without values; SetFloat and its like give it some.
// It returns the row's index.
func (p *Points) Add(track int32, at int64, lat, lon float64) int {
	p.Rows = append(p.Rows, Row{TrackIndex: track, Time: at, Lat: lat, Lon: lon, cell: len(p.values)})
	for range p.Lane.ValueColumns {
		p.values = append(p.values, 0)
	}
	return len(p.Rows) - 1
}

// RemoveLast takes back the point that Add appended last.
func (p *Points) RemoveLast() {
	last := len(p.Rows) - 1
	p.values = p.values[:p.Rows[last].cell]
	p.Rows = p.Rows[:last]
}

// clear takes back all points and keeps their room. The tracks stay.
func (p *Points) clear() { p.Rows, p.values, p.texts = p.Rows[:0], p.values[:0], p.texts[:0] }

// SetFloat gives row's Float column its value.
func (p *Points) SetFloat(row, column int, value float64) {
	p.SetBits(row, column, math.Float64bits(value))
}

// SetBool gives row's Bool column its value.
func (p *Points) SetBool(row, column int, value bool) {
	var bits uint64
	if value {
		bits = 1
	}
	p.SetBits(row, column, bits)
}

// SetBits gives row's value column its bits: a float's, 0 or 1 for a Bool, or
// Unix microseconds for a Timestamp.
func (p *Points) SetBits(row, column int, bits uint64) {
	r := &p.Rows[row]
	r.Present |= 1 << column
	p.values[r.cell+column] = bits
}

// SetText gives row's Text column its value.
func (p *Points) SetText(row, column int, text string) {
	if at, ok := p.Bits(row, column); ok {
		p.texts[at] = text
		return
	}
	p.texts = append(p.texts, text)
	p.SetBits(row, column, uint64(len(p.texts)-1))
}

// Bits returns what SetBits stored; ok is false when the point has no such
// value.
func (p *Points) Bits(row, column int) (bits uint64, ok bool) {
	r := &p.Rows[row]
	return p.values[r.cell+column], r.Present&(1<<column) != 0
}

// Text returns what SetText stored; ok is false when the point has no such
// value.
func (p *Points) Text(row, column int) (text string, ok bool) {
	bits, ok := p.Bits(row, column)
	if !ok {
		return "", false
	}
	return p.texts[bits], true
}

// Index is the place of a row in the order in which points were added, from 0,
// whatever the order of the rows is now and whichever of them are left.
func (p *Points) Index(row int) int { return p.Rows[row].cell / len(p.Lane.ValueColumns) }

// Slice returns the points from index from up to but without to. They share
// memory with p.
func (p *Points) Slice(from, to int) *Points {
	part := *p
	part.Rows = p.Rows[from:to:to]
	return &part
}

// TextField returns a track's text value.
func TextField(text string) Field { return Field{Value: text} }

// BigIntField returns a track's bigint value.
func BigIntField(n int64) Field {
	return Field{Value: string(binary.BigEndian.AppendUint64(nil, uint64(n)))}
}

// TimeOf returns the time that a number of Unix microseconds stands for, in
// UTC.
func TimeOf(microseconds int64) time.Time { return time.UnixMicro(microseconds).UTC() }

// FloatOf returns the float whose bits SetBits stored.
func FloatOf(bits uint64) float64 { return math.Float64frombits(bits) }

// Seq is the row's place in the order in which points were added: it grows with
// each point, not always by one.
func (r *Row) Seq() int { return r.cell }

// LatBits and LonBits are the coordinates as they are stored, bit for bit.
func (r *Row) LatBits() uint64 { return math.Float64bits(r.Lat) }

// LonBits is the longitude as LatBits is the latitude.
func (r *Row) LonBits() uint64 { return math.Float64bits(r.Lon) }
