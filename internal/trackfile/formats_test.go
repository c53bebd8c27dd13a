package trackfile

import (
	"strings"
	"testing"
)

const (
	fixA = "0 2026-07-14T10:15:30Z 46.5 7.25 1234/- - -"
	fixB = "1 2026-07-14T10:15:31.25Z 46.6 7.35 -/- - -"
)

func TestGPX_ReadsTrackPoints(t *testing.T) {
	t.Parallel()
	const points = `<trk><trkseg><trkpt lat="46.5" lon="7.25"><ele>1234</ele><time>2026-07-14T10:15:30Z</time></trkpt></trkseg>
		<trkseg><trkpt lon="7.35" lat="46.6"><time>2026-07-14T12:15:31.25+02:00</time></trkpt></trkseg></trk>`
	two := []string{fixA, fixB}
	check(t, map[string]vector{
		"1.1":             {file: `<?xml version="1.0" encoding="UTF-8"?><gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1">` + points + `</gpx>`, fixes: two},
		"1.0":             {file: `<?xml version="1.0"?><gpx version="1.0" xmlns="http://www.topografix.com/GPX/1/0">` + points + `</gpx>`, fixes: two},
		"no namespace":    {file: `<gpx>` + points + `</gpx>`, fixes: two},
		"a prefix":        {file: `<g:gpx xmlns:g="x"><g:trk><g:trkpt lat="46.5" lon="7.25"><g:ele> 1234 </g:ele><g:time>2026-07-14T10:15:30</g:time></g:trkpt></g:trk></g:gpx>`, fixes: []string{fixA}},
		"ISO 8859-1":      {file: "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><gpx><metadata><name>J\xf6rg</name></metadata>" + points + "</gpx>", fixes: two},
		"CDATA, comments": {file: `<!-- a --><gpx>` + strings.Replace(points, ">1234<", "><![CDATA[1234]]><!-- m --><", 1) + `</gpx><!-- b -->`, fixes: two},
		"speed, in extensions too": {
			file:  `<gpx><trkpt lat="1" lon="2"><time>2026-07-14T10:15:30z</time><extensions><t:TrackPointExtension><t:speed>3.5</t:speed><t:course>90</t:course></t:TrackPointExtension></extensions></trkpt></gpx>`,
			fixes: []string{"0 2026-07-14T10:15:30Z 1 2 -/- 3.5 90"},
		},
		"waypoints and routes were not flown": {
			file:    `<gpx><wpt lat="1" lon="2"><time>2026-07-14T10:15:30Z</time></wpt><rte><rtept lat="1" lon="2"/></rte></gpx>`,
			problem: "holds no fixes",
		},
		"points that cannot be read": {
			file: `<gpx><trkpt lat="1" lon="2"/><trkpt lat="x" lon="2"><time>2026-07-14T10:15:30Z</time></trkpt>
				<trkpt lat="1"><time>2026-07-14T10:15:30Z</time></trkpt><trkpt lat="1" lon="2"><time>10:15</time></trkpt></gpx>`,
			rejected: []string{"0 datetime: is missing", "1 lat: must be a number", "2 lon: is missing", "3 datetime: must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		},
		"no times": {
			file:     `<gpx><trkpt lat="1" lon="2"/></gpx>`,
			rejected: []string{"0 datetime: is missing"}, problem: "has a time",
		},
		"truncated":           {file: `<gpx>` + points, fixes: two, problem: "breaks off"},
		"truncated in a tag":  {file: `<gpx>` + points + `<trkpt lat="4`, fixes: two, problem: "breaks off"},
		"another file behind": {file: `<gpx>` + points + `</gpx><gpx>` + points + `</gpx>`, fixes: two, problem: "more behind the end"},
		"not well-formed":     {file: `<gpx>` + points + `</trk>`, fixes: two, problem: "closes nothing"},
	})
}

func TestXML_IsBounded(t *testing.T) {
	t.Parallel()
	laughs := `<!DOCTYPE gpx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>`
	check(t, map[string]vector{
		"entities":            {file: `<?xml version="1.0"?>` + laughs + `<gpx><trkpt lat="1" lon="2"><time>&b;</time></trkpt></gpx>`, problem: "not well-formed"},
		"depth":               {file: `<gpx>` + strings.Repeat("<a>", 1<<20), problem: "too many elements"},
		"depth in a text":     {file: `<gpx><trkpt><time>` + strings.Repeat("<a>", 1<<20), problem: "too many elements"},
		"a text":              {file: `<gpx><trkpt><time>` + strings.Repeat("1", 1<<20), problem: "too long"},
		"a tag":               {file: `<gpx ` + strings.Repeat(`a="1" `, 1<<20), problem: "too long"},
		"a text nobody wants": {file: `<gpx><x>` + strings.Repeat("1", 1<<20) + `</x></gpx>`, problem: "holds no fixes"},
		"an encoding":         {file: `<?xml version="1.0" encoding="EBCDIC"?><gpx></gpx>`, problem: "encoding"},
	})
}

func TestKML_ReadsWhatHasTimes(t *testing.T) {
	t.Parallel()
	track := func(inner string) string {
		return `<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2"><Document><Placemark><gx:Track>` + inner + `</gx:Track></Placemark></Document></kml>`
	}
	two := []string{fixA, fixB}
	check(t, map[string]vector{
		"times, then places": {
			file:  track(`<when>2026-07-14T10:15:30Z</when><when>2026-07-14T12:15:31.25+02:00</when><gx:coord>7.25 46.5 1234</gx:coord><gx:coord>7.35 46.6</gx:coord>`),
			fixes: two,
		},
		"in turn": {
			file:  track(`<when>2026-07-14T10:15:30Z</when><coord>7.25 46.5 1234</coord><gx:coord>7.35 46.6</gx:coord><when>2026-07-14T10:15:31.25Z</when>`),
			fixes: two,
		},
		"halves": {
			file:     track(`<when>2026-07-14T10:15:30Z</when><gx:coord>7.25 46.5 1234</gx:coord><when>2026-07-14T10:15:31Z</when>`) + "\n",
			fixes:    []string{fixA},
			rejected: []string{"1 lat: is missing"},
		},
		"placemarks": {
			file: `<kml><Placemark><TimeStamp><when>2026-07-14T10:15:30Z</when></TimeStamp><Point><coordinates>7.25,46.5,1234</coordinates></Point></Placemark>
				<Placemark><Point><coordinates>1,2</coordinates></Point></Placemark></kml>`,
			fixes: []string{fixA},
		},
		"a time without a zone, or of a day": {
			file:     track(`<when>2026-07-14T10:15:30</when><when>2026-07-14</when><gx:coord>7 46</gx:coord><gx:coord>7 46</gx:coord>`),
			rejected: []string{"0 datetime: must have a zone: end it with Z or an offset such as +02:00", "1 datetime: must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		},
		"a line": {
			file:    `<kml><Placemark><LineString><coordinates>` + strings.Repeat("7.25,46.5,1234 ", 50_000) + `</coordinates></LineString></Placemark></kml>`,
			problem: "lines without times",
		},
	})
}

func TestGeoJSON_ReadsWhatHasTimes(t *testing.T) {
	t.Parallel()
	two := []string{fixA, fixB}
	const places, times = `[[7.25,46.5,1234],[7.35,46.6]]`, `["2026-07-14T10:15:30Z",1784024131250]`
	feature := func(geometry, properties string) string {
		return `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":` + geometry + `,"properties":` + properties + `}]}`
	}
	line := `{"type":"LineString","coordinates":` + places + `}`
	check(t, map[string]vector{
		"coordTimes":           {file: feature(line, `{"name":"x","coordTimes":`+times+`}`), fixes: two},
		"coordinateProperties": {file: feature(line, `{"coordinateProperties":{"times":`+times+`}}`), fixes: two},
		"times first":          {file: `{"properties":{"times":` + times + `},"geometry":{"coordinates":` + places + `,"type":"LineString"},"type":"Feature"}`, fixes: two},
		"several lines": {
			file:  feature(`{"type":"MultiLineString","coordinates":[[[7.25,46.5,1234]],[[7.35,46.6]]]}`, `{"coordTimes":[["2026-07-14T10:15:30Z"],["2026-07-14T10:15:31.25Z"]]}`),
			fixes: two,
		},
		"points": {
			file:  feature(`{"type":"Point","coordinates":[7.25,46.5,1234]}`, `{"timestamp":"2026-07-14T12:15:30+0200","speed":-1,"a":{"b":[]}}`),
			fixes: []string{fixA},
		},
		"fewer times":  {file: feature(line, `{"coordTimes":["2026-07-14T10:15:30Z"]}`), fixes: two[:1], rejected: []string{"1 datetime: is missing"}},
		"no times":     {file: feature(line, `{}`), rejected: []string{"0 datetime: is missing", "1 datetime: is missing"}, problem: "has a time"},
		"areas":        {file: feature(`{"type":"Polygon","coordinates":[`+places+`]}`, `{}`), problem: "holds no fixes"},
		"no geometry":  {file: feature(`null`, `null`), problem: "holds no fixes"},
		"truncated":    {file: strings.TrimSuffix(feature(line, `{"coordTimes":`+times+`}`), "]}"), fixes: two, problem: "breaks off"},
		"more":         {file: feature(line, `{"coordTimes":`+times+`}`) + "{}", fixes: two, problem: "more behind the end"},
		"our own JSON": {file: `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T10:15:30Z","lat":46.5,"lon":7.25}]}`, problem: "post it as application/json"},
		"a long name":  {file: `{"` + strings.Repeat("x", 1<<20) + `":1}`, problem: "too long"},
		"a large value nobody wants": {
			file: `{"x":"` + strings.Repeat("x", 1<<20) + `",` + feature(line, `{"coordTimes":`+times+`}`)[1:], fixes: two,
		},
		"depth": {file: `{"geometry":{"coordinates":` + strings.Repeat("[", 1<<20), problem: "not valid JSON"},
	})
}

func TestLines_OfValues(t *testing.T) {
	t.Parallel()
	check(t, map[string]vector{
		"GPSLogger's CSV": {
			file: "time,lat,lon,elevation,accuracy,bearing,speed,satellites,provider,annotation,timestamp_ms\r\n" +
				"2026-07-14T10:15:30.000Z,46.5,7.25,1234,5,90,3.5,9,gps,\"a, \"\"b\"\"\",1784024130000\r\n\r\n,46.5,7.25,,,,,,,,1784024130500\r\n",
			fixes: []string{"2 2026-07-14T10:15:30Z 46.5 7.25 1234/- 3.5 90", "4 2026-07-14T10:15:30.5Z 46.5 7.25 -/- - -"},
		},
		"semicolons and decimal commas": {
			file:  "Timestamp;Latitude (deg);Longitude;Altitude (m);Speed (km/h)\n1784024130;46,5;7,25;1234;36\n",
			fixes: []string{"2 2026-07-14T10:15:30Z 46.5 7.25 1234/- - -"},
		},
		"tabs, the header again": {
			file:  "lat\tlon\tdatetime\n46.5\t7.25\t2026-07-14 12:15:30+02\nlat\tlon\tdatetime\n46.5\t7.25\t1784024130.25\n",
			fixes: []string{"2 2026-07-14T10:15:30Z 46.5 7.25 -/- - -", "4 2026-07-14T10:15:30.25Z 46.5 7.25 -/- - -"},
		},
		"lines that cannot be read": {
			file:     "time,lat,lon\n2026-07-14T10:15:30,1,2\n10:15:30,1,2\n2026-07-14T10:15:30Z,,2\n2026-07-14T10:15:30Z\n2026-07-14T10:15:30Z,1,NaN\n",
			rejected: []string{"2 datetime: must have a zone: end it with Z or an offset such as +02:00", "3 datetime: must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z", "4 lat: is missing", "5 lat: is missing", "6 lon: must be a number"},
		},
		"a CSV without times": {file: "lat,lon\n1,2\n", rejected: []string{"2 datetime: is missing"}, problem: "has a time"},
		"NDJSON": {
			file: `{"datetime":"2026-07-14T10:15:30Z","lat":46.5,"lon":7.25,"elevation":1234}` + "\n" +
				`{"type":"Feature","geometry":{"type":"Point","coordinates":[7.35,46.6]},"properties":{"time":1784024131}}` + "\n[1]\n{\"lat\":\n",
			fixes:    []string{"1 2026-07-14T10:15:30Z 46.5 7.25 1234/- - -", "2 2026-07-14T10:15:31Z 46.6 7.35 -/- - -"},
			rejected: []string{"3 : must be a JSON object", "4 : must be a JSON object"},
		},
	})
}
