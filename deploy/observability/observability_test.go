// Package observability holds the configuration of Prometheus and Grafana that
// compose.yaml mounts, and its tests.
package observability

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
)

// scrapeTimeMetrics are those of status.NewExporter, which needs a whole
// installation.
var scrapeTimeMetrics = []string{
	"tracklane_queue_tasks", "tracklane_queue_waiting_points", "tracklane_queue_oldest_seconds",
	"tracklane_queue_paused", "tracklane_workers",
	"tracklane_redis_up", "tracklane_redis_used_memory_bytes", "tracklane_redis_max_memory_bytes",
	"tracklane_redis_breaker_open", "tracklane_database_up", "tracklane_database_connections",
	"tracklane_database_acquire_wait_seconds_total",
}

// seriesOf lists the names of the series in an response of /metrics.
func seriesOf(t *testing.T, response string) map[string]bool {
	t.Helper()
	metrics := expfmt.NewTextParser(model.LegacyValidation)
	families, err := metrics.TextToMetricFamilies(strings.NewReader(response))
	require.NoError(t, err)
	names := make(map[string]bool)
	for name, family := range families {
		names[name] = true
		if family.GetType().String() == "HISTOGRAM" {
			names[name+"_bucket"], names[name+"_sum"], names[name+"_count"] = true, true, true
		}
	}
	return names
}

// knownSeries lists the names of the series that a process of tracklane has
// once it has been used on each lane.
func knownSeries(t *testing.T) map[string]bool {
	t.Helper()
	lanes := lane.All(lane.Options{})
	recorder := metrics.New(lanes, "test")
	for _, l := range lanes {
		recorder.Request(l, http.StatusAccepted, 0)
	}
	response := httptest.NewRecorder()
	recorder.Handler().ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	names := seriesOf(t, response.Body.String())
	for _, name := range scrapeTimeMetrics {
		names[name] = true
	}
	return names
}

// checkExpression parses a PromQL expression and requires each series that it
// names to be known.
func checkExpression(t *testing.T, where, expression string, known map[string]bool) {
	t.Helper()
	parsed, err := parser.ParseExpr(expression)
	require.NoError(t, err, where)
	selectors := parser.ExtractSelectors(parsed)
	assert.NotEmpty(t, selectors, where)
	for _, selector := range selectors {
		for _, matcher := range selector {
			if matcher.Name == model.MetricNameLabel {
				assert.True(t, known[matcher.Value], "%s: no process has a metric %s", where, matcher.Value)
			}
		}
	}
}

func TestAlerts_UseMetricsThatExist(t *testing.T) {
	groups, errs := rulefmt.ParseFile("alerts.yml", false, model.LegacyValidation)
	require.Empty(t, errs)
	known := knownSeries(t)
	names := make([]string, 0)
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Alert)
			checkExpression(t, rule.Alert, rule.Expr, known)
			assert.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"], rule.Alert)
			assert.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			assert.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		}
	}
	assert.ElementsMatch(t, []string{
		"TracklaneBacklogGrowing", "TracklaneOldestPointWaits", "TracklaneWriteErrors", "TracklaneTasksArchived",
		"TracklaneRedisMemoryHigh", "TracklaneNoWorker", "TracklaneFallbackInUse",
	}, names)
}

// dashboard is as much of Grafana's model as is checked.
type dashboard struct {
	UID    string
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			RefID, Expr string
			Datasource  struct{ Type, UID string }
		}
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	content, err := os.ReadFile("grafana/dashboards/tracklane.json")
	require.NoError(t, err)
	var read dashboard
	require.NoError(t, json.Unmarshal(content, &read))
	return read
}

func TestDashboard_UsesMetricsThatExist(t *testing.T) {
	known := knownSeries(t)
	grafanas := strings.NewReplacer("$__rate_interval", "1m")
	for _, panel := range readDashboard(t).Panels {
		assert.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			checkExpression(t, panel.Title, grafanas.Replace(target.Expr), known)
		}
	}
}

func TestDashboard_PanelsDoNotOverlap(t *testing.T) {
	occupied := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, panel := range readDashboard(t).Panels {
		assert.False(t, ids[panel.ID], panel.Title)
		ids[panel.ID] = true
		place := panel.GridPos
		assert.LessOrEqual(t, place.X+place.W, 24, panel.Title)
		for x := place.X; x < place.X+place.W; x++ {
			for y := place.Y; y < place.Y+place.H; y++ {
				assert.Empty(t, occupied[[2]int{x, y}], panel.Title)
				occupied[[2]int{x, y}] = panel.Title
			}
		}
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, into))
}

// profile is what compose starts with the profile observability.
func profile(t *testing.T) *types.Project {
	t.Helper()
	prepared, err := cli.NewProjectOptions([]string{"../../compose.yaml"},
		cli.WithEnv([]string{
			"POSTGRES_PASSWORD=thermal", "POSTGRES_OWNER_PASSWORD=ridge", "POSTGRES_APP_PASSWORD=wave", "REDIS_PASSWORD=glide",
			"SECRET_KEY=0123456789abcdef0123456789abcdef", "OPERATOR_PASSWORD=cloudbase",
		}),
		cli.WithProfiles([]string{"observability"}))
	require.NoError(t, err)
	project, err := prepared.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

// mounted returns the file of this repository that a container sees at path.
func mounted(t *testing.T, service types.ServiceConfig, path string) string {
	t.Helper()
	for _, mount := range service.Volumes {
		rest, below := strings.CutPrefix(path, mount.Target)
		if mount.Type == types.VolumeTypeBind && below && (rest == "" || rest[0] == '/') {
			assert.True(t, mount.ReadOnly, mount.Target)
			return mount.Source + rest
		}
	}
	require.Fail(t, "nothing is mounted there", path)
	return ""
}

func TestPrometheus_ScrapesEachProcessAndReadsTheAlerts(t *testing.T) {
	var read struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			DNS []struct {
				Names []string
				Type  string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	project := profile(t)
	prometheus := project.Services["prometheus"]
	readYAML(t, mounted(t, prometheus, "/etc/prometheus/prometheus.yml"), &read)
	require.Equal(t, []string{"alerts.yml"}, read.RuleFiles)
	assert.FileExists(t, mounted(t, prometheus, "/etc/prometheus/alerts.yml"))

	var scraped []string
	for _, job := range read.ScrapeConfigs {
		for _, discovery := range job.DNS {
			assert.Equal(t, "A", discovery.Type)
			assert.Equal(t, 8081, discovery.Port)
			scraped = append(scraped, discovery.Names...)
		}
	}
	assert.ElementsMatch(t, []string{"api", "worker"}, scraped)
	for _, name := range scraped {
		assert.Equal(t, ":8081", *project.Services[name].Environment["OPERATOR_ADDR"], name)
	}
}

func TestGrafana_FindsPrometheusAndTheDashboard(t *testing.T) {
	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	var providers struct {
		Providers []struct {
			Options struct{ Path string }
		}
	}
	project := profile(t)
	grafana := project.Services["grafana"]
	readYAML(t, mounted(t, grafana, "/etc/grafana/provisioning/datasources/prometheus.yaml"), &sources)
	readYAML(t, mounted(t, grafana, "/etc/grafana/provisioning/dashboards/tracklane.yaml"), &providers)
	require.Len(t, sources.Datasources, 1)
	require.Len(t, providers.Providers, 1)

	source := sources.Datasources[0]
	assert.Contains(t, project.Services, "prometheus")
	assert.Equal(t, "http://prometheus:9090", source.URL)
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			assert.Equal(t, source.UID, target.Datasource.UID, panel.Title)
			assert.Equal(t, source.Type, target.Datasource.Type, panel.Title)
		}
	}
	home := *grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	assert.Equal(t, providers.Providers[0].Options.Path, filepath.Dir(home))
	assert.FileExists(t, mounted(t, grafana, home))
}

func TestProfile_IsPinnedKeepsItsDataAndServesThisMachineOnly(t *testing.T) {
	project := profile(t)
	for _, name := range []string{"prometheus", "grafana"} {
		t.Run(name, func(t *testing.T) {
			service := project.Services[name]
			assert.Equal(t, []string{"observability"}, service.Profiles)
			assert.Regexp(t, `:v?\d+\.\d+\.\d+$`, service.Image)
			assert.True(t, slices.ContainsFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool {
				return v.Type == types.VolumeTypeVolume && v.Source == name
			}), name)
			require.Len(t, service.Ports, 1)
			assert.Equal(t, "127.0.0.1", service.Ports[0].HostIP)
		})
	}
}

// The containers run as users of their own, who have to be able to read what
// is mounted.
func TestMountedFiles_AreReadableByAnyUser(t *testing.T) {
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		want := fs.FileMode(0o004)
		if entry.IsDir() {
			want = 0o005
		}
		assert.Equal(t, want, info.Mode()&want, path)
		return err
	}))
}
