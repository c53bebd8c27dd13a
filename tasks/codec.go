package tasks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"tracklane/internal/lane"
)

// A payload is one block after another, so payloads are joined by writing one
// behind the other. A block holds the points of one track:
//
//	version     1 byte, blockVersion
//	length      uvarint, of all that follows in this block
//	count       uvarint, of points
//	received_at 8 bytes, Unix microseconds
//	base        8 bytes, Unix microseconds: the first point's time
//	request id  text
//	fields      for each of the lane's track columns: 0 if null, else
//	            uvarint 1 + length, and the bytes
//	points      count times:
//	  present   uvarint, bit i set when the lane's value i follows
//	  time      varint, microseconds after base
//	  lat, lon  8 bytes each, IEEE 754
//	  values    those present, in order: 8 bytes each, but for a Bool one byte
//	            and for a Text a text
//
// A text is its length as a uvarint and its bytes. Numbers of fixed length are
// little-endian. A point with four values takes 54 bytes.
const blockVersion = 1

// lastVersion is the last byte that a later version of tracklane may begin a
// block with. Every byte of readable text is above it.
const lastVersion = 31

// pointSize is what a point takes at the least.
const pointSize = 1 + 1 + 8 + 8

// headSize is what the head of a block takes, with texts of usual length.
const headSize = 100

// Encode appends points to payload as blocks, one for each run of points of
// one track.
func Encode(payload []byte, points *lane.Points) []byte {
	payload = slices.Grow(payload, headSize+points.Len()*(pointSize+8*len(points.Lane.ValueColumns)))
	for from := 0; from < points.Len(); {
		to := from + 1
		for to < points.Len() && points.Rows[to].TrackIndex == points.Rows[from].TrackIndex {
			to++
		}
		payload = encodeBlock(payload, points, from, to)
		from = to
	}
	return payload
}

func encodeBlock(payload []byte, points *lane.Points, from, to int) []byte {
	track := &points.Tracks[points.Rows[from].TrackIndex]
	base := points.Rows[from].Time

	// The length stands before what it counts: write behind room for it, then
	// move the block up against it.
	payload = append(payload, blockVersion)
	lengthAt := len(payload)
	payload = append(payload, make([]byte, binary.MaxVarintLen32)...)
	bodyAt := len(payload)

	payload = binary.AppendUvarint(payload, uint64(to-from))
	payload = append8(payload, uint64(track.ReceivedAt))
	payload = append8(payload, uint64(base))
	payload = appendText(payload, track.RequestID)
	for _, field := range track.Fields {
		if field.Null {
			payload = append(payload, 0)
			continue
		}
		payload = binary.AppendUvarint(payload, uint64(len(field.Value))+1)
		payload = append(payload, field.Value...)
	}
	for row := from; row < to; row++ {
		payload = encodePoint(payload, points, row, base)
	}

	length := len(payload) - bodyAt
	lengthEnd := lengthAt + binary.PutUvarint(payload[lengthAt:bodyAt], uint64(length))
	copy(payload[lengthEnd:], payload[bodyAt:])
	return payload[:lengthEnd+length]
}

func encodePoint(payload []byte, points *lane.Points, row int, base int64) []byte {
	r := &points.Rows[row]
	payload = binary.AppendUvarint(payload, uint64(r.Present))
	payload = binary.AppendVarint(payload, r.Time-base)
	payload = append8(payload, r.LatBits())
	payload = append8(payload, r.LonBits())
	for i := range points.Lane.ValueColumns {
		bits, ok := points.Bits(row, i)
		if !ok {
			continue
		}
		switch points.Lane.ValueColumns[i].Kind {
		case lane.Bool:
			payload = append(payload, byte(bits))
		case lane.Text:
			text, _ := points.Text(row, i)
			payload = appendText(payload, text)
		default:
			payload = append8(payload, bits)
		}
	}
	return payload
}

func append8(payload []byte, bits uint64) []byte {
	return binary.LittleEndian.AppendUint64(payload, bits)
}

func appendText(payload []byte, text string) []byte {
	payload = binary.AppendUvarint(payload, uint64(len(text)))
	return append(payload, text...)
}

// Count returns how many points a payload holds, reading only the head of each
// block.
func Count(payload []byte) (int, error) {
	total := 0
	for r := (reader{rest: payload}); len(r.rest) > 0; {
		_, count, err := r.nextBlock()
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}

// Decode reads a payload of the lane's points. The error says what is wrong
// with a payload that Encode did not write, and is errNewerVersion for one that a
// later version may have written; Decode never panics and takes no more memory
// than some ten times the payload's size.
func Decode(l *lane.Lane, payload []byte) (*lane.Points, error) {
	total, err := Count(payload)
	if err != nil {
		return nil, fmt.Errorf("decode a payload of the lane %s: %w", l.Name, err)
	}
	points := lane.NewPoints(l, total)
	for r := (reader{rest: payload}); len(r.rest) > 0; {
		block, count, err := r.nextBlock()
		if err == nil {
			err = decodeBlock(points, block, count)
		}
		if err != nil {
			return nil, fmt.Errorf("decode a payload of the lane %s at byte %d: %w",
				l.Name, len(payload)-len(r.rest), err)
		}
	}
	return points, nil
}

func decodeBlock(points *lane.Points, block reader, count int) error {
	l := points.Lane
	track := lane.Track{Fields: make([]lane.Field, len(l.TrackColumns))}
	track.ReceivedAt = int64(block.fixed8())
	base := int64(block.fixed8())
	track.RequestID = block.text()
	for i, c := range l.TrackColumns {
		track.Fields[i] = block.field(c.Kind)
	}
	index := points.AddTrack(track)
	for range count {
		present := block.uvarint()
		if present >= 1<<len(l.ValueColumns) {
			block.fail(errUnknownValue)
		}
		at := base + block.varint()
		lat, lon := math.Float64frombits(block.fixed8()), math.Float64frombits(block.fixed8())
		if block.err != nil {
			return block.err
		}
		row := points.Add(index, at, lat, lon)
		for i := range l.ValueColumns {
			if present&(1<<i) == 0 {
				continue
			}
			switch l.ValueColumns[i].Kind {
			case lane.Bool:
				points.SetBits(row, i, uint64(block.bool()))
			case lane.Text:
				points.SetText(row, i, block.text())
			default:
				points.SetBits(row, i, block.fixed8())
			}
		}
	}
	if len(block.rest) > 0 {
		block.fail(errTooLong)
	}
	return block.err
}

var (
	errTruncated    = errors.New("it ends too early")
	errTooLong      = errors.New("a block is longer than its points")
	errVersion      = errors.New("a block has an unknown version")
	errNewerVersion = errors.New("a newer version of tracklane wrote a block")
	errNumber       = errors.New("a number is malformed")
	errCount        = errors.New("a block cannot hold as many points as it says")
	errUnknownValue = errors.New("a point has a value that the lane does not know")
	errText         = errors.New("a text is not valid UTF-8 without NUL")
)

// reader takes values off the front of a payload. After the first error it
// returns zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errTruncated)
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// nextBlock returns what follows a block's count, and the count.
func (r *reader) nextBlock() (block reader, count int, err error) {
	version := r.take(1)
	switch {
	case r.err != nil || version[0] == blockVersion:
	case version[0] > blockVersion && version[0] <= lastVersion:
		r.fail(errNewerVersion)
	default:
		r.fail(errVersion)
	}
	block.rest = r.take(r.uvarint())
	if r.err != nil {
		return reader{}, 0, r.err
	}
	points := block.uvarint()
	if block.err == nil && points > uint64(len(block.rest)/pointSize) {
		block.fail(errCount)
	}
	if block.err != nil {
		r.fail(block.err)
		return reader{}, 0, r.err
	}
	return block, int(points), nil
}

func (r *reader) uvarint() uint64 {
	value, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail(errNumber)
		return 0
	}
	r.rest = r.rest[n:]
	return value
}

func (r *reader) varint() int64 {
	value, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(errNumber)
		return 0
	}
	r.rest = r.rest[n:]
	return value
}

func (r *reader) fixed8() uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (r *reader) bool() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	if b[0] > 1 {
		r.fail(errNumber)
		return 0
	}
	return b[0]
}

func (r *reader) text() string {
	text := string(r.take(r.uvarint()))
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		r.fail(errText)
	}
	return text
}

// field reads one value of a track: a text, or a bigint's or uuid's bytes.
func (r *reader) field(kind lane.Kind) lane.Field {
	length := r.uvarint()
	if length == 0 {
		return lane.Field{Null: true}
	}
	value := string(r.take(length - 1))
	wrong := false
	switch kind {
	case lane.BigInt:
		wrong = len(value) != 8
	case lane.UUID:
		wrong = len(value) != 16
	default:
		wrong = !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0
	}
	if wrong {
		r.fail(errText)
	}
	return lane.Field{Value: value}
}
