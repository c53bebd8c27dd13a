package lane_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestPoints_Claim(t *testing.T) {
	t.Parallel()
	live := laneNamed(t, "live", lane.Options{})
	for name, c := range map[string]struct {
		members     string // of the body
		pilot, race string // claimed
		want        []any  // pilot_id and race_id; nil = null
		forbidden   string
	}{
		"sets both":                    {pilot: "anna", race: "cup", want: []any{"anna", "cup"}},
		"the same are allowed":         {members: `"pilot_id":"anna","race_id":"cup",`, pilot: "anna", race: "cup", want: []any{"anna", "cup"}},
		"an empty one names nobody":    {members: `"pilot_id":"","race_id":null,`, pilot: "anna", race: "cup", want: []any{"anna", "cup"}},
		"a relay may say any":          {members: `"pilot_id":"anna","race_id":"cup",`, want: []any{"anna", "cup"}},
		"a relay of a race":            {members: `"pilot_id":"anna",`, race: "cup", want: []any{"anna", "cup"}},
		"another pilot":                {members: `"pilot_id":"bert",`, pilot: "anna", forbidden: "pilot_id"},
		"another race changes nothing": {members: `"race_id":"other",`, pilot: "anna", race: "cup", want: []any{nil, "other"}, forbidden: "race_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := `{` + c.members + `"flight_id":"x","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}]}`
			decoded, err := live.Decode([]byte(body), lane.DecodeOptions{Now: now})
			require.NoError(t, err)
			err = decoded.Points.Claim(c.pilot, c.race)
			if c.forbidden != "" {
				var forbidden *lane.ForbiddenError
				require.ErrorAs(t, err, &forbidden)
				assert.Contains(t, forbidden.Reason, c.forbidden)
			} else {
				require.NoError(t, err)
			}
			if c.want != nil {
				assert.Equal(t, c.want, fieldsOf(live, decoded.Points.Tracks[0], "pilot_id", "race_id"))
			}
		})
	}
}

// fieldsOf returns the texts of fields, nil for null.
func fieldsOf(l *lane.Lane, track lane.Track, names ...string) (values []any) {
	for _, name := range names {
		for column, c := range l.TrackColumns {
			if c.Name != name {
				continue
			}
			if field := track.Fields[column]; field.Null {
				values = append(values, nil)
			} else {
				values = append(values, field.Value)
			}
		}
	}
	return values
}

func TestPoints_ClaimLeavesDevicesAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, l := range lane.All(lane.Options{})[2:] {
		points := lane.NewPoints(l, 0)
		points.AddTrack(lane.Track{Fields: []lane.Field{lane.BigIntField(1)}})
		require.NoError(t, points.Claim("anna", "cup"))
		assert.Equal(t, []lane.Field{lane.BigIntField(1)}, points.Tracks[0].Fields)
	}
}
