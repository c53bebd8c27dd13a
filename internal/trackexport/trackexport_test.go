package trackexport

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func fixesOf(list ...lane.Fix) Fixes {
	return func(yield func(lane.Fix, error) bool) {
		for _, fix := range list {
			if !yield(fix, nil) {
				return
			}
		}
	}
}

func fixAt(at time.Time, lat, lon, elevation float64) lane.Fix {
	fix := lane.NoFix()
	fix.Time, fix.Lat, fix.Lon, fix.Elevation = at.UnixMicro(), lat, lon, elevation
	return fix
}

func written(t *testing.T, name string, flight Flight, list ...lane.Fix) string {
	t.Helper()
	format, ok := Find(name)
	require.True(t, ok)
	var text bytes.Buffer
	require.NoError(t, format.Write(&text, flight, fixesOf(list...)))
	return text.String()
}

var noon = time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)

func TestIGC_HasNoMoreDigitsThanNeeded(t *testing.T) {
	t.Parallel()
	plain := fixAt(noon, 2801163.0/60000, -471823.0/60000, 1954)
	plain.BarometricAltitude = -12
	assert.Equal(t, "AXTLtracklane\r\nHFDTEDATE:140726\r\nHFPLTPILOTINCHARGE:anna_\r\nHFDTMGPSDATUM:WGS84\r\nHFFTYFRTYPE:tracklane\r\n"+
		"B1200004641163N00751823WA-001201954\r\n", written(t, "igc", Flight{Pilot: "anna\n"}, plain))
	fine := fixAt(noon.Add(250*time.Millisecond), 28011634.0/600000, 7.5, math.NaN())
	assert.Contains(t, written(t, "igc", Flight{}, plain, fine),
		"I033636LAD3737LOD3839TDS\r\nB1200004641163N00751823WA-0012019540000\r\nB1200004641163N00730000EV0000000000"+"4025\r\n")
}

func TestIGC_NamesTheDateWhereMidnightAloneDoesNot(t *testing.T) {
	t.Parallel()
	late := time.Date(2026, 7, 14, 23, 59, 59, 0, time.UTC)
	for name, c := range map[string]struct {
		at    time.Time
		dates int
	}{
		"over midnight":    {late.Add(2 * time.Second), 1},
		"the day after":    {late.Add(20 * time.Hour), 2},
		"days later":       {late.Add(72 * time.Hour), 2},
		"the same evening": {late, 1},
	} {
		text := written(t, "igc", Flight{}, fixAt(late, 46, 7, 0), fixAt(c.at, 46, 7, 0))
		assert.Equal(t, c.dates, strings.Count(text, "HFDTE"), name)
	}
}

func TestFormats_HoldEveryFixOfEveryFlight(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 300} {
		var list []lane.Fix
		for i := range n {
			list = append(list, fixAt(noon.Add(time.Duration(i)*time.Second), random.Float64()*180-90, random.Float64()*360-180, 100))
		}
		hostile := Flight{ID: "</name><x>&\"\x00\xff", Pilot: "=cmd()", Lane: "live"}
		var feature struct {
			Geometry   *struct{ Coordinates any }
			Properties struct{ CoordTimes []time.Time }
		}
		require.NoError(t, json.Unmarshal([]byte(written(t, "geojson", hostile, list...)), &feature))
		assert.Len(t, feature.Properties.CoordTimes, n)
		assert.Equal(t, n == 0, feature.Geometry == nil)
		for i, at := range feature.Properties.CoordTimes {
			assert.Equal(t, list[i].Time, at.UnixMicro())
		}
		assert.Equal(t, n, countElements(t, written(t, "gpx", hostile, list...), "trkpt"))
		assert.Equal(t, n, countElements(t, written(t, "kml", hostile, list...), "coord"))
		assert.Equal(t, n+1, strings.Count(written(t, "csv", hostile, list...), "\r\n"))
		assert.Equal(t, n, strings.Count(written(t, "igc", hostile, list...), "\r\nB"))
	}
}

func countElements(t *testing.T, text, name string) (n int) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == name {
			n++
		}
		if start, ok := token.(xml.StartElement); ok {
			require.NotEqual(t, "x", start.Name.Local)
		}
	}
}

func TestFormat_NamesAFileSafely(t *testing.T) {
	t.Parallel()
	format, _ := Find("igc")
	assert.Equal(t, "___etc_a__b___.igc", format.FileName("../etc/a\r\nb\";é"))
	assert.Len(t, format.FileName(strings.Repeat("x", 400)), 104)
}

// At the time of each fix, the simplified way is within the tolerance.
func TestSimplify_KeepsTheToleranceAtEachTime(t *testing.T) {
	t.Parallel()
	var list []lane.Fix
	for i := range 3000 { // circles in a thermal, then a glide
		angle, glide := float64(i)/4, math.Max(0, float64(i-1500))
		list = append(list, fixAt(noon.Add(time.Duration(i)*time.Second), 46+0.001*math.Sin(angle)*math.Exp(-glide/50)+glide*1e-4, 7+0.001*math.Cos(angle)*math.Exp(-glide/50), 1000+float64(i)))
	}
	for _, tolerance := range []float64{1, 10, 100} {
		var kept []lane.Fix
		for fix, err := range Simplify(fixesOf(list...), tolerance) {
			require.NoError(t, err)
			kept = append(kept, fix)
		}
		assert.Equal(t, list[0].Time, kept[0].Time)
		assert.Equal(t, list[len(list)-1].Time, kept[len(kept)-1].Time)
		next := 1
		for _, fix := range list {
			for next < len(kept)-1 && kept[next].Time < fix.Time {
				next++
			}
			assert.True(t, near(kept[next-1], kept[next], []lane.Fix{fix}, tolerance*1.001), fmt.Sprint(tolerance))
		}
		if tolerance >= 10 {
			assert.Less(t, len(kept), len(list)*3/4)
		}
	}
}
