package trackexport

import (
	"bufio"
	"math"

	"tracklane/internal/lane"
)

// writeCSV writes a line for each fix, with the names of the columns of /live. There
// are numbers and times in it and no text that somebody sent, so a spreadsheet finds
// no formula. A value that a fix does not have is empty.
func writeCSV(w *bufio.Writer, _ Flight, fixes Fixes) error {
	w.WriteString("datetime,lat,lon,elevation,barometric_altitude,speed,heading\r\n")
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		writeRow(w, fix)
	}
	return nil
}

func writeRow(w *bufio.Writer, fix lane.Fix) {
	w.WriteString(rfc3339(fix.Time))
	for _, value := range []float64{fix.Lat, fix.Lon, fix.Elevation, fix.BarometricAltitude, fix.Speed, fix.Heading} {
		w.WriteByte(',')
		if !math.IsNaN(value) {
			w.WriteString(number(value))
		}
	}
	w.WriteString("\r\n")
}
