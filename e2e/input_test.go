package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
)

// exactly writes a float with as many digits as it takes to read it again.
func exactly(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

// scoringPoint is a row of scoring_tracks but for the flight and received_at,
// and the JSON of a request.
type scoringPoint struct {
	DateTime           time.Time `json:"date_time" db:"date_time"`
	Lat                float64   `json:"lat"`
	Lon                float64   `json:"lon"`
	GPSAlt             float64   `json:"gps_alt" db:"gps_alt"`
	Time               *string   `json:"time,omitempty"`
	RoundedTime        *string   `json:"rounded_time,omitempty" db:"rounded_time"`
	Validity           *string   `json:"validity,omitempty"`
	PressureAlt        *float64  `json:"pressure_alt,omitempty" db:"pressure_alt"`
	LAD                *float64  `json:"LAD,omitempty" db:"lad"`
	LOD                *float64  `json:"LOD,omitempty" db:"lod"`
	Speed              *float64  `json:"speed,omitempty"`
	Elevation          *float64  `json:"elevation,omitempty"`
	AltitudeDiff       *float64  `json:"altitude_diff,omitempty" db:"altitude_diff"`
	AltitudeDiffSmooth *float64  `json:"altitude_diff_smooth,omitempty" db:"altitude_diff_smooth"`
	SpeedSmooth        *float64  `json:"speed_smooth,omitempty" db:"speed_smooth"`
	TakeoffCondition   *bool     `json:"takeoff_condition,omitempty" db:"takeoff_condition"`
	InFlight           *bool     `json:"in_flight,omitempty" db:"in_flight"`
}

func TestScoring_StoresTracksBitForBit(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	random := rand.New(rand.NewPCG(10, 11))
	float := func() *float64 {
		if random.IntN(3) == 0 {
			return nil
		}
		return new(random.NormFloat64() * 1e3)
	}
	text := func(choice ...string) *string {
		if random.IntN(3) == 0 {
			return nil
		}
		return &choice[random.IntN(len(choice))]
	}
	truth := func() *bool {
		if random.IntN(3) == 0 {
			return nil
		}
		return new(random.IntN(2) == 0)
	}
	var sent []scoringPoint
	for i := range 700 {
		sent = append(sent, scoringPoint{
			DateTime: time.Date(2026, 7, 14, 8, 0, i, random.IntN(1e6)*1000, time.UTC),
			Lat:      random.Float64()*180 - 90, Lon: random.Float64()*360 - 180, GPSAlt: random.NormFloat64(),
			Time: text("", "12:00:00", "Zürich \"ä\" \\ 🪂"), RoundedTime: text("12:00"), Validity: text("A", "V"),
			PressureAlt: float(), LAD: float(), LOD: float(), Speed: float(), Elevation: float(),
			AltitudeDiff: float(), AltitudeDiffSmooth: float(), SpeedSmooth: float(),
			TakeoffCondition: truth(), InFlight: truth(),
		})
	}
	flight := uuid.NewString()
	body, err := json.Marshal(map[string]any{"flight_uuid": flight, "tracks": sent})
	require.NoError(t, err)
	queued := postJSON(t, s.url+"/scoring", string(body))
	require.Equal(t, 202, queued.code, queued.text)
	assert.Equal(t, flight, queued.FlightUUID)

	pool := openDatabase(t, database)
	requireRows(t, pool, len(sent), `SELECT count(*) FROM scoring_tracks WHERE flight_uuid = $1`, flight)
	rows, err := pool.Query(t.Context(), `SELECT date_time, lat, lon, gps_alt, time, rounded_time, validity,
		pressure_alt, lad, lod, speed, elevation, altitude_diff, altitude_diff_smooth, speed_smooth,
		takeoff_condition, in_flight FROM scoring_tracks ORDER BY date_time`)
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByName[scoringPoint])
	require.NoError(t, err)
	for i := range got {
		got[i].DateTime = got[i].DateTime.UTC()
		require.Equal(t, sent[i], got[i])
	}
}

func TestFlymaster_StoresLinesBitForBit(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database,
		"REDIS_URL="+servers.Redis(t).URL(), "FLYMASTER_SECRET=s3cret")
	type point struct {
		at, uploaded                       time.Time
		lat, lon, altitude, speed, heading float64
	}
	random := rand.New(rand.NewPCG(12, 13))
	var sent []point
	var lines []string
	for i := range 600 {
		at := time.Unix(1783958400+int64(i), 0).UTC()
		p := point{
			at, at.Add(time.Duration(random.IntN(60)) * time.Second),
			random.Float64()*180 - 90, random.Float64()*360 - 180,
			random.NormFloat64() * 1e3, random.Float64() * 30, random.Float64() * 360,
		}
		sent = append(sent, p)
		lines = append(lines, fmt.Sprintf("%d,%d,%s,%s,%s, %s,%s", p.uploaded.Unix(), p.at.Unix(),
			exactly(p.lat), exactly(p.lon), exactly(p.altitude), exactly(p.speed), exactly(p.heading)))
	}
	key := sha256.Sum256([]byte("987654321" + "s3cret"))
	file := "987654321," + hex.EncodeToString(key[:]) + "\n" + strings.Join(lines, "\r\n") + "\nEOF"
	queued := post(t, s.url+"/flymaster", "application/octet-stream", file, "Accept", "application/json")
	require.Equal(t, 202, queued.code, queued.text)
	assert.Equal(t, 600, queued.Points)
	assert.Equal(t, "queued", queued.Status)

	pool := openDatabase(t, database)
	requireRows(t, pool, len(sent), `SELECT count(*) FROM flymaster WHERE device_id = 987654321`)
	rows, err := pool.Query(t.Context(),
		`SELECT date_time, uploaded_at, lat, lon, gps_alt, speed, heading FROM flymaster ORDER BY date_time`)
	require.NoError(t, err)
	defer rows.Close()
	for i := 0; rows.Next(); i++ {
		var p point
		require.NoError(t, rows.Scan(&p.at, &p.uploaded, &p.lat, &p.lon, &p.altitude, &p.speed, &p.heading))
		p.at, p.uploaded = p.at.UTC(), p.uploaded.UTC()
		require.Equal(t, sent[i], p)
	}
	require.NoError(t, rows.Err())
}

func TestLive_StoresGoodPointsBesideBadOnes(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	pool := openDatabase(t, database)
	at := secondAt
	good := func(second int) string { return `{"datetime":` + at(second) + `,"lat":1,"lon":2}` }
	bad := map[string]struct{ point, field string }{
		"a latitude in text":         {`{"datetime":` + at(5) + `,"lat":"1","lon":2}`, "lat"},
		"a latitude too large":       {`{"datetime":` + at(5) + `,"lat":90.0000001,"lon":2}`, "lat"},
		"a longitude not finite":     {`{"datetime":` + at(5) + `,"lat":1,"lon":-1e999}`, "lon"},
		"a longitude nested":         {`{"datetime":` + at(5) + `,"lat":1,"lon":[[[2]]]}`, "lon"},
		"a speed that is an object":  {`{"datetime":` + at(5) + `,"lat":1,"lon":2,"speed":{"m/s":1}}`, "speed"},
		"no coordinates":             {`{"datetime":` + at(5) + `}`, "lat"},
		"a time without a zone":      {`{"datetime":"2026-07-14T11:00:05","lat":1,"lon":2}`, "datetime"},
		"a time with NUL":            {`{"datetime":"2026-07-14T11:00:05Z\u0000","lat":1,"lon":2}`, "datetime"},
		"a 61st second at noon":      {`{"datetime":"2026-07-14T12:00:60Z","lat":1,"lon":2}`, "datetime"},
		"a time two days ahead":      {`{"datetime":"` + time.Now().Add(48*time.Hour).Format(time.RFC3339) + `","lat":1,"lon":2}`, "datetime"},
		"a number":                   {`17`, ""},
		"null":                       {`null`, ""},
		"an empty object":            {`{}`, "datetime"},
		"a name twice, the last bad": {`{"datetime":` + at(5) + `,"lat":1,"lon":2,"lat":91}`, "lat"},
	}
	want := 0
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			a := postJSON(t, s.url+"/live", `{"flight_id":"`+name+`","track_points":[`+good(1)+`,`+c.point+`,`+good(2)+`]}`)
			require.Equal(t, 202, a.code, "%s: %s", name, a.text)
			assert.Equal(t, 2, a.Points)
			require.Equal(t, 1, a.RejectedTotal)
			assert.Equal(t, 1, a.Rejected[0].Index)
			assert.Equal(t, c.field, a.Rejected[0].Field)
			assert.NotEmpty(t, a.Rejected[0].Error)
			want += 2
		})
	}
	for name, body := range map[string]string{
		"a leap second":       `{"flight_id":"leap","track_points":[{"datetime":"2016-12-31T23:59:60Z","lat":1,"lon":2},` + good(1) + `]}`,
		"names twice":         `{"flight_id":"x","track_points":[` + good(9) + `],"flight_id":"twice","track_points":[` + good(1) + `,` + good(2) + `]}`,
		"unknown members":     `{"v":{"a":[1,{"b":null}]},"flight_id":"unknown","track_points":[{"x":[[]],"datetime":` + at(1) + `,"lat":1,"lon":2},` + good(2) + `]}`,
		"points before names": `{"track_points":[` + good(1) + `,` + good(2) + `],"flight_id":"late"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := postJSON(t, s.url+"/live", body)
			require.Equal(t, 202, a.code, "%s: %s", name, a.text)
			assert.Equal(t, 2, a.Points)
			want += 2
		})
	}
	many := postJSON(t, s.url+"/live", `{"flight_id":"many","track_points":[`+strings.Repeat(`{"lat":1},`, 250)+good(1)+`]}`)
	require.Equal(t, 202, many.code)
	assert.Equal(t, 250, many.RejectedTotal)
	assert.Len(t, many.Rejected, 100, "not all are named one by one")
	want++
	requireRows(t, pool, want, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

// secondAt is a time as a JSON string, so many seconds after 11:00.
func secondAt(second int) string { return fmt.Sprintf(`"2026-07-14T11:00:%02dZ"`, second) }

func TestScoring_StoresGoodTracksBesideBadOnes(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	pool := openDatabase(t, database)
	at := secondAt
	const flight = "00000000-0000-4000-8000-000000000001"
	track := func(second int, member string) string {
		return `{"date_time":` + at(second) + `,"lat":1,"lon":2,"gps_alt":3` + member + `}`
	}
	scored := postJSON(t, s.url+"/scoring", `{"flight_uuid":"`+flight+`","tracks":[`+strings.Join([]string{
		track(1, ""), track(2, `,"time":"NUL \u0000"`), track(3, ",\"validity\":\"\xff\xfe\""), track(4, `,"in_flight":"yes"`),
		track(5, `,"time":"`+strings.Repeat("ä", 100)+`"`), track(6, `,"time":"`+strings.Repeat("ä", 101)+`"`),
		`{"date_time":` + at(7) + `,"lat":1,"lon":2}`,
	}, ",")+`]}`)
	require.Equal(t, 202, scored.code, scored.text)
	assert.Equal(t, 2, scored.Points)
	var fields []string
	for _, r := range scored.Rejected {
		fields = append(fields, fmt.Sprint(r.Index, " ", r.Field))
	}
	assert.Equal(t, []string{"1 time", "2 validity", "3 in_flight", "5 time", "6 gps_alt"}, fields)
	requireRows(t, pool, 2, `SELECT count(*) FROM scoring_tracks WHERE flight_uuid = $1`, flight)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

func TestFlymaster_StoresGoodLinesBesideBadOnes(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	pool := openDatabase(t, database)
	lines := post(t, s.url+"/flymaster", "", flymasterFile(flymasterLine,
		"1783958400,1783958400,NaN,7,1,1,1", "1783958400,1783958400,46,+Inf,1,1,1", "1783958400,1783958400,46,7,-inf,1,1",
		"1783958400,1783958400,46,7,1,1,361", "x,1783958400,46,7,1,1,1", "1783958400,1e300,46,7,1,1,1", ",,,,,,", "\x00",
		"1783958401,1783958401,46,7,1,1,1"), "Accept", "application/json")
	require.Equal(t, 202, lines.code, lines.text)
	assert.Equal(t, 2, lines.Points)
	assert.Equal(t, 8, lines.RejectedTotal)
	for i, r := range lines.Rejected {
		assert.Equal(t, 3+i, r.Index, "the index is the line")
	}
	requireRows(t, pool, 2, `SELECT count(*) FROM flymaster`)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}
