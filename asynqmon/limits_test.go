package asynqmon_test

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
)

func TestUI_ChangesFewTasksAtOnce(t *testing.T) {
	i := start(t, asynqmon.Options{})
	var lines bytes.Buffer
	before := log.Default().Writer()
	log.SetOutput(&lines)
	defer log.SetOutput(before)
	named := func(n int) string {
		ids := make([]string, n)
		for id := range ids {
			ids[id] = fmt.Sprintf(`"%d"`, id)
		}
		return `{"task_ids":[` + strings.Join(ids, ",") + `]}`
	}
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"as many as a page shows": {named(20), http.StatusOK},
		"the limit":               {named(100), http.StatusOK},
		"more":                    {named(101), http.StatusRequestEntityTooLarge},
		"a large body":            {`{"task_ids":["` + strings.Repeat("x", 64<<10) + `"]}`, http.StatusRequestEntityTooLarge},
		"no JSON":                 {"{", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			lines.Reset()
			response, err := http.Post(i.url+"/asynqmon/api/queues/live/archived_tasks:batch_run", "application/json", strings.NewReader(c.body))
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, c.code, response.StatusCode)
			assert.LessOrEqual(t, strings.Count(lines.String(), "\n"), 100)
		})
	}
}
