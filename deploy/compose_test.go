// Package deploy holds what goes with compose.yaml, and its tests.
package deploy

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/config"
)

const composeFile = "../compose.yaml"

var passwords = []string{
	"POSTGRES_PASSWORD=thermal", "POSTGRES_OWNER_PASSWORD=ridge", "POSTGRES_APP_PASSWORD=wave", "REDIS_PASSWORD=glide",
	"SECRET_KEY=0123456789abcdef0123456789abcdef", "OPERATOR_PASSWORD=cloudbase",
}

// The variables that compose.yaml leaves out, since REDIS_PASSWORD and PROD
// say what is to be said of the Redis that it starts.
var leftOut = []string{"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_USERNAME"}

func load(t *testing.T, options ...cli.ProjectOptionsFn) *types.Project {
	t.Helper()
	project, err := tryLoad(t.Context(), options...)
	require.NoError(t, err)
	return project
}

func tryLoad(ctx context.Context, options ...cli.ProjectOptionsFn) (*types.Project, error) {
	prepared, err := cli.NewProjectOptions([]string{composeFile}, options...)
	if err != nil {
		return nil, err
	}
	return prepared.LoadProject(ctx)
}

// environ is what a container of service has in its environment.
func environ(service types.ServiceConfig) []string {
	var entries []string
	for name, value := range service.Environment {
		if value != nil {
			entries = append(entries, name+"="+*value)
		}
	}
	return entries
}

func TestCompose_StartsTheServicesInOrder(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))

	const (
		healthy   = types.ServiceConditionHealthy
		completed = types.ServiceConditionCompletedSuccessfully
	)
	want := map[string]map[string]string{
		"timescaledb": {},
		"redis":       {},
		"migrate":     {"timescaledb": healthy},
		"api":         {"migrate": completed, "timescaledb": healthy, "redis": healthy},
		"worker":      {"migrate": completed, "timescaledb": healthy, "redis": healthy},
	}
	got := make(map[string]map[string]string)
	for name, service := range project.Services {
		got[name] = make(map[string]string)
		for other, dependency := range service.DependsOn {
			got[name][other] = dependency.Condition
			assert.True(t, dependency.Required, name)
		}
	}
	assert.Equal(t, want, got)
}

func TestCompose_RunsTracklaneInThreeServices(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	for name, command := range map[string]types.ShellCommand{
		"migrate": {"migrate", "up"},
		"api":     {"api"},
		"worker":  {"worker"},
	} {
		t.Run(name, func(t *testing.T) {
			service := project.Services[name]
			assert.Equal(t, command, service.Command)
			assert.Equal(t, "tracklane", service.Image)
			require.NotNil(t, service.Build)
			assert.FileExists(t, filepath.Join(service.Build.Context, service.Build.Dockerfile))
		})
	}
}

func TestCompose_KeepsTheLongRunningServicesRunning(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	for _, name := range []string{"timescaledb", "redis", "api", "worker"} {
		t.Run(name, func(t *testing.T) {
			service := project.Services[name]
			assert.Equal(t, types.RestartPolicyUnlessStopped, service.Restart)
			require.NotNil(t, service.HealthCheck)
			assert.False(t, service.HealthCheck.Disable)
			assert.Contains(t, []string{"CMD", "CMD-SHELL"}, service.HealthCheck.Test[0])
		})
	}
	for _, name := range []string{"api", "worker"} {
		// The image has no shell that could run CMD-SHELL.
		assert.Equal(t, types.HealthCheckTest{"CMD", "/tracklane", "healthcheck"}, project.Services[name].HealthCheck.Test, name)
	}
	assert.True(t, strings.HasPrefix(project.Services["migrate"].Restart, types.RestartPolicyOnFailure))
}

func TestCompose_CanRunManyWorkers(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	worker := project.Services["worker"]
	assert.Empty(t, worker.ContainerName)
	assert.Empty(t, worker.Ports)
}

func TestCompose_KeepsDataInNamedVolumes(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	for name, target := range map[string]string{
		"timescaledb": "/var/lib/postgresql/data",
		"redis":       "/data",
	} {
		t.Run(name, func(t *testing.T) {
			mounts := project.Services[name].Volumes
			assert.Equal(t, types.VolumeTypeVolume, mounts[0].Type)
			assert.Equal(t, target, mounts[0].Target)
			assert.Contains(t, project.Volumes, mounts[0].Source)
			for _, mount := range mounts[1:] {
				assert.Equal(t, types.VolumeTypeBind, mount.Type)
				assert.True(t, mount.ReadOnly)
				assert.FileExists(t, mount.Source)
			}
		})
	}
}

func TestCompose_StartsRedisSoThatNoAcknowledgedPointIsDropped(t *testing.T) {
	redis := load(t, cli.WithEnv(passwords)).Services["redis"]
	assert.Equal(t, "redis:8", redis.Image)

	settings := make(map[string]string)
	for pair := range slices.Chunk(redis.Command[1:], 2) {
		require.Len(t, pair, 2)
		settings[pair[0]] = pair[1]
	}
	assert.Equal(t, map[string]string{
		"--requirepass":      "glide",
		"--appendonly":       "yes",
		"--appendfsync":      "always",
		"--save":             "",
		"--maxmemory":        "2gb",
		"--maxmemory-policy": "noeviction",

		"--hash-max-listpack-value":   "512",
		"--zset-max-listpack-entries": "1024",
		"--auto-aof-rewrite-min-size": "512mb",
	}, settings)
}

func TestCompose_PinsTimescaleDB(t *testing.T) {
	assert.Regexp(t, `^timescale/timescaledb:2\.\d+\.\d+-pg17$`, load(t, cli.WithEnv(passwords)).Services["timescaledb"].Image)
}

func TestCompose_SetsVariablesThatTheProgramReads(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	var expected []string
	for _, variable := range config.Describe() {
		if !slices.Contains(leftOut, variable.Name) {
			expected = append(expected, variable.Name)
		}
	}
	for _, name := range []string{"migrate", "api", "worker"} {
		t.Run(name, func(t *testing.T) {
			assert.ElementsMatch(t, expected, slices.Collect(maps.Keys(project.Services[name].Environment)))
		})
	}
}

func TestCompose_ConnectsTracklaneToItsServices(t *testing.T) {
	project := load(t, cli.WithEnv(passwords))
	for _, name := range []string{"migrate", "api", "worker"} {
		t.Run(name, func(t *testing.T) {
			service := project.Services[name]
			loaded, err := config.Load(environ(service))
			require.NoError(t, err)

			pool, err := loaded.DatabasePool()
			require.NoError(t, err)
			database := project.Services["timescaledb"].Environment
			assert.Equal(t, "timescaledb", pool.ConnConfig.Host)
			role, password := "tracklane_app", "POSTGRES_APP_PASSWORD"
			if name == "migrate" {
				role, password = "tracklane_owner", "POSTGRES_OWNER_PASSWORD"
			}
			assert.Equal(t, role, pool.ConnConfig.User)
			assert.Equal(t, *database[password], pool.ConnConfig.Password)
			assert.Equal(t, *database["POSTGRES_DB"], pool.ConnConfig.Database)

			redis, err := loaded.Redis.Options()
			require.NoError(t, err)
			assert.Equal(t, []string{"redis:6379"}, redis.Addrs)
			assert.Equal(t, "glide", redis.Password)

			assert.NoError(t, loaded.CheckAuth(true))
			assert.False(t, loaded.MigrateOnStart)
		})
	}
}

func TestCompose_PublishesOperatorsOnThisMachineAlone(t *testing.T) {
	for publish, host := range map[string]string{"": "127.0.0.1", "443": "", "192.0.2.1:8080": "192.0.2.1"} {
		t.Run(publish, func(t *testing.T) {
			api := load(t, cli.WithEnv(append([]string{"PUBLISH=" + publish}, passwords...))).Services["api"]
			loaded, err := config.Load(environ(api))
			require.NoError(t, err)
			require.Len(t, api.Ports, 2)
			assert.Equal(t, ":8080", loaded.HTTPAddr)
			assert.Equal(t, uint32(8080), api.Ports[0].Target)
			assert.Equal(t, host, api.Ports[0].HostIP)
			assert.Equal(t, ":8081", loaded.OperatorAddr)
			assert.Equal(t, uint32(8081), api.Ports[1].Target)
			assert.Equal(t, "127.0.0.1", api.Ports[1].HostIP)
		})
	}
}

// allServices are those of the profiles, too.
func allServices(t *testing.T) types.Services {
	t.Helper()
	return load(t, cli.WithEnv(passwords), cli.WithProfiles([]string{"*"})).Services
}

func TestCompose_KeepsEveryServiceToWhatItNeeds(t *testing.T) {
	for name, service := range allServices(t) {
		t.Run(name, func(t *testing.T) {
			assert.True(t, service.ReadOnly, "its files cannot be changed")
			assert.Equal(t, []string{"ALL"}, service.CapDrop)
			assert.Equal(t, []string{"no-new-privileges:true"}, service.SecurityOpt)
			assert.False(t, service.Privileged)
			assert.Positive(t, service.MemLimit)
			var added []string
			if name == "caddy" { // for ports 80 and 443
				added = []string{"NET_BIND_SERVICE"}
			}
			assert.Equal(t, added, service.CapAdd)
		})
	}
}

func TestCompose_KeepsTheNetworksApart(t *testing.T) {
	project := load(t, cli.WithEnv(passwords), cli.WithProfiles([]string{"*"}))
	assert.True(t, bool(project.Networks["data"].Internal), "nothing outside reaches the database and Redis")
	want := map[string][]string{
		"timescaledb": {"data"}, "redis": {"data"}, "migrate": {"data"},
		"api": {"clients", "data", "operators"}, "worker": {"data", "operators"},
		"caddy": {"clients"}, "prometheus": {"operators"}, "grafana": {"operators"},
	}
	for name, service := range project.Services {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, want[name], slices.Sorted(maps.Keys(service.Networks)))
			if slices.Equal(want[name], []string{"data"}) {
				assert.Empty(t, service.Ports)
			}
		})
	}
}

// Only Caddy's own address may say who a client is, and no other container gets it.
func TestCompose_TrustsCaddyAlone(t *testing.T) {
	project := load(t, cli.WithEnv(passwords), cli.WithProfiles([]string{"*"}))
	loaded, err := config.Load(environ(project.Services["api"]))
	require.NoError(t, err)
	require.Len(t, loaded.TrustedProxies, 1)
	trusted := loaded.TrustedProxies[0]
	assert.True(t, trusted.IsSingleIP())
	assert.Equal(t, project.Services["caddy"].Networks["clients"].Ipv4Address, trusted.Addr().String())

	pool := project.Networks["clients"].Ipam.Config[0]
	assert.True(t, netip.MustParsePrefix(pool.Subnet).Contains(trusted.Addr()))
	assert.False(t, netip.MustParsePrefix(pool.IPRange).Contains(trusted.Addr()))
}

func TestCompose_MountsWhatTLSNeeds(t *testing.T) {
	services := load(t, cli.WithEnv(append([]string{"TLS_DIR=/etc/ssl/tracklane", "TLS_CERT_FILE=/tls/cert.pem", "TLS_KEY_FILE=/tls/key.pem"}, passwords...))).Services
	for _, name := range []string{"api", "worker"} {
		loaded, err := config.Load(environ(services[name]))
		require.NoError(t, err)
		assert.Equal(t, "/tls/cert.pem", loaded.TLSCertFile, name)
		require.Len(t, services[name].Volumes, 1)
		mount := services[name].Volumes[0]
		assert.Equal(t, "/etc/ssl/tracklane", mount.Source, name)
		assert.Equal(t, "/tls", mount.Target, name)
		assert.True(t, mount.ReadOnly, name)
	}
	assert.DirExists(t, allServices(t)["api"].Volumes[0].Source)
}

func TestCompose_WaitsLongerThanTracklaneTakesToStop(t *testing.T) {
	// Even when the environment asks for more.
	project := load(t, cli.WithEnv(append([]string{"SHUTDOWN_TIMEOUT=10m"}, passwords...)))
	for _, name := range []string{"api", "worker"} {
		t.Run(name, func(t *testing.T) {
			service := project.Services[name]
			loaded, err := config.Load(environ(service))
			require.NoError(t, err)
			require.NotNil(t, service.StopGracePeriod)
			assert.Greater(t, time.Duration(*service.StopGracePeriod), loaded.ShutdownTimeout)
		})
	}
}

func TestCompose_AsksForThePasswords(t *testing.T) {
	for i, left := range passwords {
		t.Run(left, func(t *testing.T) {
			_, err := tryLoad(t.Context(), cli.WithEnv(slices.Delete(slices.Clone(passwords), i, i+1)))
			assert.ErrorContains(t, err, "set it in .env")
		})
	}
}

// With the example's four secrets filled in and each of its defaults spelled
// out, compose runs what it runs with the passwords alone.
func TestExampleFile_ServesCompose(t *testing.T) {
	example, err := os.ReadFile("../.env.example")
	require.NoError(t, err)
	text := string(example)
	for _, variable := range config.Describe() {
		text = strings.ReplaceAll(text, "\n# "+variable.Name+"=", "\n"+variable.Name+"=")
	}
	for _, entry := range passwords {
		name, _, _ := strings.Cut(entry, "=")
		require.Contains(t, text, "\n"+name+"=\n")
		text = strings.Replace(text, "\n"+name+"=\n", "\n"+entry+"\n", 1)
	}
	path := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))

	spelledOut := load(t, cli.WithEnvFiles(path), cli.WithDotEnv)
	plain := load(t, cli.WithEnv(passwords))
	for _, name := range []string{"migrate", "api", "worker"} {
		t.Run(name, func(t *testing.T) {
			require.NotNil(t, spelledOut.Services[name].Environment["WORKER_CONCURRENCY"], "passed on from the file")
			got, err := config.Load(environ(spelledOut.Services[name]))
			require.NoError(t, err)
			want, err := config.Load(environ(plain.Services[name]))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestExampleFile_ListsWhatComposeSubstitutes(t *testing.T) {
	example, err := os.ReadFile("../.env.example")
	require.NoError(t, err)

	prepared, err := cli.NewProjectOptions([]string{composeFile}, cli.WithInterpolation(false))
	require.NoError(t, err)
	model, err := prepared.LoadModel(t.Context())
	require.NoError(t, err)
	variables := template.ExtractVariables(model, template.DefaultPattern)
	require.Contains(t, variables, "POSTGRES_PASSWORD")
	for name := range variables {
		assert.Contains(t, string(example), "\n"+name+"=", name)
	}
}
