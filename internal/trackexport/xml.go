package trackexport

import (
	"bufio"
	"encoding/xml"
	"math"
	"strings"
)

// writeGPX writes GPX 1.1 (https://www.topografix.com/GPX/1/1/): a trkpt for each
// fix.
func writeGPX(w *bufio.Writer, flight Flight, fixes Fixes) error {
	w.WriteString(xml.Header + `<gpx version="1.1" creator="tracklane" xmlns="http://www.topografix.com/GPX/1/1">` +
		"\n<trk><name>" + escaped(flight.ID) + "</name><trkseg>\n")
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		w.WriteString(`<trkpt lat="` + number(fix.Lat) + `" lon="` + number(fix.Lon) + `">`)
		if height := altitude(fix); !math.IsNaN(height) {
			w.WriteString("<ele>" + number(height) + "</ele>")
		}
		w.WriteString("<time>" + rfc3339(fix.Time) + "</time></trkpt>\n")
	}
	w.WriteString("</trkseg></trk>\n</gpx>\n")
	return nil
}

// writeKML writes a gx:Track (https://developers.google.com/kml/documentation/kmlreference#gxtrack).
// Each when stands before its gx:coord, as readers pair them by their order.
func writeKML(w *bufio.Writer, flight Flight, fixes Fixes) error {
	w.WriteString(xml.Header + `<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2">` +
		"\n<Document><name>" + escaped(flight.ID) + "</name>\n<Placemark><name>" + escaped(flight.ID) + "</name>\n" +
		"<gx:Track><altitudeMode>absolute</altitudeMode>\n")
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		w.WriteString("<when>" + rfc3339(fix.Time) + "</when><gx:coord>" + number(fix.Lon) + " " + number(fix.Lat))
		if height := altitude(fix); !math.IsNaN(height) {
			w.WriteString(" " + number(height))
		}
		w.WriteString("</gx:coord>\n")
	}
	w.WriteString("</gx:Track></Placemark></Document>\n</kml>\n")
	return nil
}

// escaped is text in XML. A character that XML cannot hold becomes U+FFFD.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder has no errors
	return b.String()
}
