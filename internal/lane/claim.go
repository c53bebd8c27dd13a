package lane

import "fmt"

// The track columns that say whose points they are. Lanes of devices have none.
const (
	pilotColumn = "pilot_id"
	raceColumn  = "race_id"
)

// Claim makes all points those of a pilot and a race; an empty one is left as it
// is, and so is what the lane has no column for. It returns a *ForbiddenError if a
// track names another pilot or race, and has changed nothing then.
func (p *Points) Claim(pilot, race string) error {
	for column, c := range p.Lane.TrackColumns {
		claimed := claimOf(c.Name, pilot, race)
		if claimed == "" {
			continue
		}
		for _, track := range p.Tracks {
			if field := track.Fields[column]; !field.Null && field.Value != "" && field.Value != claimed {
				return &ForbiddenError{fmt.Sprintf("The token is not for this %s: leave it out, or send the one that the token is for.", c.Name)}
			}
		}
	}
	for column, c := range p.Lane.TrackColumns {
		if claimed := claimOf(c.Name, pilot, race); claimed != "" {
			for _, track := range p.Tracks {
				track.Fields[column] = TextField(claimed)
			}
		}
	}
	return nil
}

func claimOf(column, pilot, race string) string {
	switch column {
	case pilotColumn:
		return pilot
	case raceColumn:
		return race
	}
	return ""
}
