package e2e

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetrics_AreConventionalAndAllThatAlertsAndDashboardName(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.startWorker(t)
	in.post(t, "metrics")
	in.requireStored(t, "metrics", 20*time.Second)
	response, err := http.Get(in.api + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)

	problems, err := promlint.New(strings.NewReader(string(text))).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)

	named := regexp.MustCompile(`tracklane_[a-z_]+`)
	known := map[string]bool{}
	for _, name := range named.FindAllString(string(text), -1) {
		known[name] = true
	}
	for _, file := range []string{"alerts.yml", "grafana/dashboards/tracklane.json"} {
		t.Run(file, func(t *testing.T) {
			content, err := os.ReadFile("../deploy/observability/" + file)
			require.NoError(t, err)
			names := named.FindAllString(string(content), -1)
			assert.NotEmpty(t, names)
			for _, name := range names {
				assert.True(t, known[name], "%s names %s, which /metrics does not have", file, name)
			}
		})
	}
}
