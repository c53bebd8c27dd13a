package tasks

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"tracklane/internal/lane"
)

// drawPoints makes up points of a lane: every kind of value, present or not,
// with any bits that a column can hold.
func drawPoints(t *rapid.T, l *lane.Lane) *lane.Points {
	text := rapid.StringMatching(`[^\x00]{0,20}`)
	bits := rapid.Custom(func(t *rapid.T) uint64 { return math.Float64bits(rapid.Float64().Draw(t, "float")) })
	points := lane.NewPoints(l, 0)
	for range rapid.IntRange(1, 4).Draw(t, "tracks") {
		track := lane.Track{
			ReceivedAt: rapid.Int64().Draw(t, "received at"),
			RequestID:  text.Draw(t, "request id"),
		}
		for i, c := range l.TrackColumns {
			field := lane.TextField(text.Draw(t, "field"))
			switch {
			case c.Kind == lane.BigInt:
				field = lane.BigIntField(rapid.Int64().Draw(t, "serial"))
			case c.Kind == lane.UUID:
				field.Value = string(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
			case i > 0 && rapid.Bool().Draw(t, "null"):
				field = lane.Field{Null: true}
			}
			track.Fields = append(track.Fields, field)
		}
		index := points.AddTrack(track)
		for range rapid.IntRange(1, 5).Draw(t, "points") {
			row := points.Add(index, rapid.Int64Range(-1<<52, 1<<52).Draw(t, "time"),
				rapid.Float64().Draw(t, "lat"), rapid.Float64().Draw(t, "lon"))
			for i, c := range l.ValueColumns {
				if !rapid.Bool().Draw(t, c.Name) {
					continue
				}
				switch c.Kind {
				case lane.Text:
					points.SetText(row, i, text.Draw(t, c.Name))
				case lane.Bool:
					points.SetBits(row, i, uint64(rapid.IntRange(0, 1).Draw(t, c.Name)))
				default:
					points.SetBits(row, i, bits.Draw(t, c.Name))
				}
			}
		}
	}
	return points
}

// requireSame compares points by every bit that matters.
func requireSame(t require.TestingT, want, got *lane.Points) {
	require.Equal(t, want.Len(), got.Len())
	for row := range want.Rows {
		a, b := want.Rows[row], got.Rows[row]
		require.Equal(t, want.Tracks[a.TrackIndex], got.Tracks[b.TrackIndex])
		require.Equal(t, a.Time, b.Time)
		require.Equal(t, a.LatBits(), b.LatBits())
		require.Equal(t, a.LonBits(), b.LonBits())
		require.Equal(t, a.Present, b.Present)
		for i, c := range want.Lane.ValueColumns {
			x, ok := want.Bits(row, i)
			y, _ := got.Bits(row, i)
			if ok && c.Kind == lane.Text {
				textA, _ := want.Text(row, i)
				textB, _ := got.Text(row, i)
				require.Equal(t, textA, textB)
			} else if ok {
				require.Equal(t, x, y)
			}
		}
	}
}

func TestDecode_KeepsPointsBitForBit(t *testing.T) {
	for _, l := range lane.All(lane.Options{}) {
		t.Run(l.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				points := drawPoints(t, l)
				payload := Encode(nil, points)
				count, err := Count(payload)
				require.NoError(t, err)
				require.Equal(t, points.Len(), count)
				decoded, err := Decode(l, payload)
				require.NoError(t, err)
				requireSame(t, points, decoded)
			})
		})
	}
}

func TestDecode_ReadsJoinedPayloads(t *testing.T) {
	for _, l := range lane.All(lane.Options{}) {
		rapid.Check(t, func(t *rapid.T) {
			first, second := drawPoints(t, l), drawPoints(t, l)
			joined := append(Encode(nil, first), Encode(nil, second)...)
			decoded, err := Decode(l, joined)
			require.NoError(t, err)
			requireSame(t, first, decoded.Slice(0, first.Len()))
			requireSame(t, second, decoded.Slice(first.Len(), decoded.Len()))
		})
	}
}

func TestDecode_RefusesATruncatedPayload(t *testing.T) {
	l := lane.All(lane.Options{})[0]
	payload := Encode(nil, examplePoints(l, 3))
	for end := 1; end < len(payload); end++ {
		_, err := Decode(l, payload[:end])
		assert.Error(t, err, "cut at byte %d", end)
	}
}

func TestEncode_TakesLessThan64BytesAPoint(t *testing.T) {
	payload := Encode(nil, examplePoints(lane.All(lane.Options{})[0], 1000))
	assert.Less(t, len(payload), 60*1000)
}

// examplePoints is one flight with a point a second and every value given.
func examplePoints(l *lane.Lane, n int) *lane.Points {
	points := lane.NewPoints(l, n)
	fields := make([]lane.Field, len(l.TrackColumns))
	for i, c := range l.TrackColumns {
		fields[i] = lane.TextField(fmt.Sprint(c.Name, "-0123456789"))
	}
	track := points.AddTrack(lane.Track{Fields: fields, ReceivedAt: 1783958400_000_000, RequestID: "1jz8q0c7x3k2a"})
	for i := range n {
		row := points.Add(track, 1783958400_000_000+int64(i)*1_000_000, 46.5+float64(i)*1.1e-4, 7.25+float64(i)*0.9e-4)
		for column := range l.ValueColumns {
			points.SetFloat(row, column, 1000.1+float64(i))
		}
	}
	return points
}

// FuzzDecode feeds the strict reader garbage: it must not panic, and what it
// takes must come back the same from another round.
func FuzzDecode(f *testing.F) {
	lanes := lane.All(lane.Options{})
	for i, l := range lanes {
		if l.TrackColumns[0].Kind == lane.Text {
			f.Add(byte(i), Encode(nil, examplePoints(l, 2)))
		}
	}
	f.Add(byte(3), []byte{1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, which byte, payload []byte) {
		l := lanes[int(which)%len(lanes)]
		points, err := Decode(l, payload)
		if err != nil {
			return
		}
		count, err := Count(payload)
		require.NoError(t, err)
		require.Equal(t, count, points.Len())
		again, err := Decode(l, Encode(nil, points))
		require.NoError(t, err)
		requireSame(t, points, again)
	})
}

func BenchmarkEncode(b *testing.B) {
	points := examplePoints(lane.All(lane.Options{})[0], 1000)
	var payload []byte
	b.ReportAllocs()
	for b.Loop() {
		payload = Encode(payload[:0], points)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/point")
}

func BenchmarkDecode(b *testing.B) {
	l := lane.All(lane.Options{})[0]
	payload := Encode(nil, examplePoints(l, 1000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(l, payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/point")
}
