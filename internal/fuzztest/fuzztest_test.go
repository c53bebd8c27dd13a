package fuzztest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/fuzztest"
)

func TestTimes_AreThoseThatATextHolds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 14, 10, 15, 30, 250_000_000, time.UTC).UnixMicro()
	for _, text := range []string{
		"<when>2026-07-14T10:15:30.25Z</when>", "2026-07-14 12:15:30.2500001+0200", "x2026-07-14t06:15:30.25-04", "2026-07-14T10:15:30.25",
		"1784024130.25", `"1784024130250"`, "1784024130250000,2", "2026-07-14 15:45:30.25 05:30",
	} {
		assert.True(t, fuzztest.Times(text)[at], text)
	}
	for _, text := range []string{"2026-07-14T10:15:30Z", "2026-07-14T10:15:30.25+01:00", "1784024130", "2026-07-14", ""} {
		assert.False(t, fuzztest.Times(text)[at], text)
	}
	assert.Equal(t, `"2026-07"/é\`, fuzztest.Unescaped(`\u0022\u0032026-07\u0022\/é\`))
}
