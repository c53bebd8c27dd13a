package trackfile

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const igcHead = "AXYZ042\r\nHFDTEDATE:140726,01\r\n"

func TestIGC_ReadsFixes(t *testing.T) {
	t.Parallel()
	check(t, map[string]vector{
		"both altitudes": {
			file:  igcHead + "B1015304630000N00715000EA0120001234\r\nGABC\r\n",
			fixes: []string{"3 2026-07-14T10:15:30Z 46.5 7.25 1234/1200 - -"},
		},
		"the short date, south and west, below the sea": {
			file:  "AXYZ042\nHFDTE140726\nB1015304630000S00715000WA-0012-0034\n",
			fixes: []string{"3 2026-07-14T10:15:30Z -46.5 -7.25 -34/-12 - -"},
		},
		"a date without its colon": {
			file:  "AXYZ042\nHFDTEDATE140726\nB1015304630000N00715000EA0120001234\n",
			fixes: []string{"3 2026-07-14T10:15:30Z 46.5 7.25 1234/1200 - -"},
		},
		"a fix without altitude": {
			file:  igcHead + "B1015304630000N00715000EV0120001234\n",
			fixes: []string{"3 2026-07-14T10:15:30Z 46.5 7.25 -/1200 - -"},
		},
		"no barometer, then one": {
			file: igcHead + "B1015304630000N00715000EA0000001234\nB1015314630000N00715000EA0000101234\nB1015324630000N00715000EA0000001234\n",
			fixes: []string{
				"3 2026-07-14T10:15:30Z 46.5 7.25 1234/- - -", "4 2026-07-14T10:15:31Z 46.5 7.25 1234/1 - -",
				"5 2026-07-14T10:15:32Z 46.5 7.25 1234/0 - -",
			},
		},
		"decimals of minutes and seconds": {
			file:  igcHead + "I033637LAD3839LOD4042TDS\nB1015304630000N00715000EA01200012341234567\n",
			fixes: []string{"4 2026-07-14T10:15:30.567Z 46.500002 7.250005666666667 1234/1200 - -"},
		},
		"another I record": {
			file:  igcHead + "I033637LAD3839LOD4042TDS\nI023637SIU3838TDS\nB1015304630000N00715000EA01200012341234567\n",
			fixes: []string{"5 2026-07-14T10:15:30.3Z 46.5 7.25 1234/1200 - -"},
		},
		"every line end, unknown records, other characters": {
			file:  "\xef\xbb\xbfAXYZ042\r\r\nHFDTE140726\rHFPLTPILOT:J\xfcrg\nQ?\x00\x01\n\nB1015304630000N00715000EA0120001234",
			fixes: []string{"7 2026-07-14T10:15:30Z 46.5 7.25 1234/1200 - -"},
		},
	})
}

func TestIGC_RejectsWhatIsNoFix(t *testing.T) {
	t.Parallel()
	check(t, map[string]vector{
		"lines that cannot be right": {
			file: igcHead + strings.Join([]string{
				"B1015300000000N00000000EV0120001234", "B1015304660000N00715000EA0120001234", "B1015304630000N00760000EA0120001234",
				"B2415304630000N00715000EA0120001234", "B1015304630000N00715000EX0120001234", "B1015304630000N00715000EA00-1201234",
				"B1015304630000N00715000EA012000-123x", "B101530", "B1015304630000X00715000EA0120001234", "B1015 04630000N00715000EA0120001234",
				"B1015304630000N00715000EA0120001234",
			}, "\n"),
			fixes: []string{"13 2026-07-14T10:15:30Z 46.5 7.25 1234/1200 - -"},
			rejected: []string{
				"3 lat: must not be 0, with lon 0: the logger had no position", "4 lat: must be DDMMmmm and N or S, with minutes below 60",
				"5 lon: must be DDDMMmmm and E or W, with minutes below 60", "6 datetime: must be a time of day, HHMMSS",
				"7 : the validity must be A or V", "8 barometric_altitude: must be five digits, or - and four",
				"9 elevation: must be five digits, or - and four", "10 : a B record must have 35 characters or more",
				"11 lat: must be DDMMmmm and N or S, with minutes below 60", "12 datetime: must be a time of day, HHMMSS",
			},
		},
		"a file without a date":             {file: "AXYZ042\nB1015304630000N00715000EA0120001234\n", problem: "no date"},
		"a file whose date is none":         {file: "AXYZ042\nHFDTE310226\nB1015304630000N00715000EA0120001234\n", problem: "no date"},
		"a file without fixes":              {file: igcHead + "GABC\n", problem: "holds no fixes"},
		"a line that is too long, not held": {file: igcHead + "B" + strings.Repeat("1", 2<<20) + "\n", rejected: []string{"3 : the line is too long"}},
	})
}

func TestIGC_PutsFixesOnTheirDays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ records, want string }{
		"over midnight":                    {"T235958 T235959 T000001 T000002", "14 23:59:58, 14 23:59:59, 15 00:00:01, 15 00:00:02"},
		"a step back is no midnight":       {"T123428 T123421 T123429", "14 12:34:28, 14 12:34:21, 14 12:34:29"},
		"nor is one of eleven hours":       {"T174209 T060252 T060300", "14 17:42:09, 14 06:02:52, 14 06:03:00"},
		"a step back over midnight":        {"T235959 T000003 T235958 T000004", "14 23:59:59, 15 00:00:03, 14 23:59:58, 15 00:00:04"},
		"two midnights":                    {"T200000 T040000 T150000 T200000 T020000", "14 20:00:00, 15 04:00:00, 15 15:00:00, 15 20:00:00, 16 02:00:00"},
		"a clock at zero in the afternoon": {"T140000 T000000 T140002", "14 14:00:00, 15 00:00:00, 14 14:00:02"},
		"a long rest in the day":           {"T060000 T190000", "14 06:00:00, 14 19:00:00"},
		"another date":                     {"T235959 D160726 T060000 D140726 T070000", "14 23:59:59, 16 06:00:00, 14 07:00:00"},
		"the same date twice":              {"T100000 D140726 T100001", "14 10:00:00, 14 10:00:01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := igcHead
			for _, r := range strings.Fields(c.records) {
				if r[0] == 'D' {
					file += "HFDTE" + r[1:] + "\n"
				} else {
					file += "B" + r[1:] + "4630000N00715000EA0120001234\n"
				}
			}
			got, err := walk(strings.NewReader(file), "", "")
			require.NoError(t, err)
			var times []string
			for _, fix := range got.fixes {
				at := strings.Fields(fix)[1]
				times = append(times, at[8:10]+" "+at[11:19])
			}
			assert.Equal(t, c.want, strings.Join(times, ", "))
		})
	}
}

func TestIGC_KnowsLoggerAndPilot(t *testing.T) {
	t.Parallel()
	got, err := walk(strings.NewReader("AXYZ042 Some Logger\nHFPLTPILOTINCHARGE: J\xf6rg  \nHFDTE140726\nB1015304630000N00715000EA0120001234\n"), "", "")
	require.NoError(t, err)
	assert.Equal(t, "XYZ042 Some Logger", got.files[0].Device)
	assert.Equal(t, "Jörg", got.files[0].Pilot)
}

// What the package says of the mapping: a coordinate is what was written again.
func TestIGC_DegreesBecomeTheSameDigits(t *testing.T) {
	t.Parallel()
	for n := 0; n < 180*60000; n += 977 {
		degrees, ok := igcDegrees(fmt.Appendf(nil, "%03d", n/60000), fmt.Appendf(nil, "%05d", n%60000), []byte("97"), 'W', 'E', 'W')
		require.True(t, ok)
		assert.InDelta(t, n*100+97, math.Round(-degrees*6_000_000), 0)
	}
}
