package kubernetes

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManifests_FitTheProgramAndEachOther(t *testing.T) {
	for _, directory := range []string{"base", "keda"} {
		t.Run(directory, func(t *testing.T) {
			m, err := build(t, directory)
			require.NoError(t, err)
			assert.Len(t, m.deployments, 2)
			assert.Len(t, m.jobs, 1)
			assert.Empty(t, problemsOf(m))
		})
	}
}

// Each check finds what it is for: with the edit, the problem is the one that it names.
func TestManifests_AreCheckedForWhatCouldBeWrong(t *testing.T) {
	const api, worker, migrate, network, kustomization = "base/api.yaml", "base/worker.yaml", "base/migrate.yaml", "base/network.yaml", "base/kustomization.yaml"
	for _, test := range []struct {
		edit
		want string
	}{
		{edit{api, "containerPort: 8080", "containerPorts: 8080"}, `unknown field "containerPorts"`},
		{edit{api, "periodSeconds: 1\n", "periodSeconds: soon\n"}, "cannot unmarshal string"},
		{edit{api, "kind: Service\n", "kind: Servant\n"}, "v1 Servant is no kind"},
		{edit{api, "args: [api]", "args: [apis]"}, `api: the arguments are ["apis"]`},
		{edit{migrate, "args: [migrate, up]", "args: [migrate]"}, "migrate: the arguments are"},
		{edit{api, "args: [api]", "command: [api]"}, "api: the image's entry point is replaced"},
		{edit{kustomization, `newTag: "1.0.0"`, `newTag: latest`}, "registry.example/tracklane:latest is not pinned"},
		{edit{api, "configMapRef: {name: tracklane}", "configMapRef: {name: settings}"}, "api: there is no ConfigMap settings"},
		{edit{api, "- configMapRef: {name: tracklane}", "- secretRef: {name: tracklane}"}, "api: its variables come from elsewhere"},
		{edit{kustomization, "- PROD=true", "- PROD=true\n      - OPERATOR_PASSWORD=x"}, "OPERATOR_PASSWORD is in a ConfigMap"},
		{edit{kustomization, "- PROD=true", "- PRODUCTION=true"}, "the program reads no PRODUCTION"},
		{edit{kustomization, "- PROD=true", "- PROD=true\n      - LOG_LEVEL=loud"}, "LOG_LEVEL="},
		{edit{kustomization, "- PROD=true", "- AUTH=off"}, "api: it is open to everybody"},
		{edit{kustomization, "- MIGRATE_ON_START=false", "- MIGRATE_ON_START=true"}, "worker: it changes the schema"},
		{edit{kustomization, "- TRUSTED_PROXIES=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", ""}, "all clients have the address of the proxy"},
		{edit{api, "name: SECRET_KEY\n", "name: SECRET_KEY_PREVIOUS\n"}, "SECRET_KEY must be set"},
		{edit{api, "valueFrom: {secretKeyRef: {name: tracklane, key: SECRET_KEY}}", "value: 0123456789abcdef0123456789abcdef"}, "api: SECRET_KEY is not from a Secret"},
		{edit{api, "name: tracklane, key: REDIS_URL", "name: tracklane, key: REDIS"}, "api: REDIS_URL is REDIS of the Secret tracklane"},
		{edit{worker, "name: tracklane, key: DATABASE_URL", "name: tracklane-owner, key: DATABASE_URL"}, "worker: DATABASE_URL is of the Secret tracklane-owner"},
		{edit{kustomization, "HTTP_ADDR=:8080", "HTTP_ADDR=:8000"}, "api: the port http is not that of :8000"},
		{edit{kustomization, "OPERATOR_ADDR=:8081", "OPERATOR_ADDR=:8000"}, "worker: the port operators is not that of :8000"},
		{edit{kustomization, "SHUTDOWN_TIMEOUT=30s", "SHUTDOWN_TIMEOUT=35s"}, "api: it is killed before the 45s"},
		{edit{worker, "terminationGracePeriodSeconds: 35", "terminationGracePeriodSeconds: 30"}, "worker: it is killed before the 30s"},
		{edit{api, "seconds: 10", "seconds: 1"}, "proxies have no time to hear"},
		{edit{api, "preStop: {sleep: {seconds: 10}}", "{}"}, "api: what clients reach, and nothing else, waits"},
		{edit{api, "path: /readyz", "path: /health"}, "api: a probe of /readyz is missing"},
		{edit{worker, "livenessProbe:\n            httpGet: {path: /livez", "livenessProbe:\n            httpGet: {path: /readyz"}, "worker: a probe of /livez is missing"},
		{edit{api, "path: /readyz, port: operators", "path: /readyz, port: http"}, "api: a probe asks the port http"},
		{edit{api, "timeoutSeconds: 2", "timeoutSeconds: 1"}, "api: a probe waits for 1 s"},
		{edit{api, "automountServiceAccountToken: false", "automountServiceAccountToken: true"}, "api: it has a token"},
		{edit{api, "enableServiceLinks: false", "enableServiceLinks: true"}, "api: a Service named redis would set REDIS_PORT"},
		{edit{worker, "enableServiceLinks: false", "enableServiceLinks: false\n      hostNetwork: true"}, "worker: it shares something with the node"},
		{edit{worker, "runAsUser: 65532", "runAsUser: 0"}, "worker: it does not run as the image's user"},
		{edit{migrate, "seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Unconfined}"}, "migrate: system calls are not filtered"},
		{edit{api, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"}, "api: it may gain privileges"},
		{edit{api, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"}, "api: its files can be changed"},
		{edit{migrate, "capabilities: {drop: [ALL]}", "capabilities: {drop: [ALL], add: [CHOWN]}"}, "migrate: it has capabilities"},
		{edit{api, "requests: {cpu: 500m, memory: 256Mi}", "requests: {memory: 256Mi}"}, "api: it requests no resources"},
		{edit{api, "limits: {memory: 512Mi}", "limits: {memory: 128Mi}"}, "api: its memory is not limited, or too much so"},
		{edit{worker, "limits: {memory: 512Mi}", "limits: {cpu: 1, memory: 512Mi}"}, "worker: it is throttled"},
		{edit{api, "matchLabels: {app.kubernetes.io/name: api}", "matchLabels: {app.kubernetes.io/part-of: tracklane}"}, "Deployment api: it selects the pods of"},
		{edit{api, "whenUnsatisfiable: ScheduleAnyway\n          labelSelector:\n            matchLabels: {app.kubernetes.io/name: api}",
			"whenUnsatisfiable: ScheduleAnyway\n          labelSelector:\n            matchLabels: {app.kubernetes.io/name: worker}"}, "topologySpreadConstraints of api: it selects"},
		{edit{worker, "maxUnavailable: 0", "maxUnavailable: 1"}, "worker: there are fewer of it during an update"},
		{edit{worker, "spec:\n  maxUnavailable: 1\n", "spec:\n  maxUnavailable: 0\n"}, "worker: it has no PodDisruptionBudget"},
		{edit{worker, "spec:\n  maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: worker}", "spec:\n  maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: api}"}, "PodDisruptionBudget worker: it selects"},
		{edit{api, "selector: {app.kubernetes.io/name: api}", "selector: {app.kubernetes.io/name: web}"}, "Service api: it selects the pods of []"},
		{edit{api, "targetPort: http", "targetPort: operators"}, "Service api: it leads to the port operators"},
		{edit{api, "kind: Deployment, name: api", "kind: Deployment, name: web"}, "autoscaler api: its Deployment is missing"},
		{edit{api, "minReplicas: 2", "minReplicas: 1"}, "autoscaler api: one may be alone"},
		{edit{network, "podSelector: {}\n  policyTypes: [Ingress, Egress]", "podSelector: {}\n  policyTypes: [Ingress]"}, "no NetworkPolicy refuses what is not named"},
		{edit{network, "values: [api, worker]", "values: [web]"}, "NetworkPolicy operators: it selects no pods"},
		{edit{network, "- {port: http}", "- {port: web}"}, "NetworkPolicy clients: the pods of api have no port web"},
		{edit{network, "- {port: http}", "- {port: operators}"}, `api: its ports ["operators" "operators"] are reached`},
		{edit{network, "- from:\n        - namespaceSelector:\n            matchLabels: {kubernetes.io/metadata.name: ingress}\n      ports:", "- ports:"}, "NetworkPolicy clients: everybody comes in"},
		{edit{network, "      ports:\n        - {port: http}\n", ""}, "NetworkPolicy clients: every port is reached"},
		{edit{network, "        - {port: 6379}\n", ""}, "worker: it does not reach the port 6379"},
		{edit{network, "    - ports:\n        - {port: 5432}", "    - {}\n    - ports:\n        - {port: 5432}"}, "NetworkPolicy data: every port outside is reached"},
		{edit{"base/namespace.yaml", "enforce: restricted", "enforce: baseline"}, "namespace tracklane: pods are not restricted"},
	} {
		t.Run(test.want, func(t *testing.T) { requireProblem(t, "base", test.edit, test.want) })
	}
}

func TestManifests_AreCheckedForWhatCouldBeWrongWithKEDA(t *testing.T) {
	const worker = "keda/worker.yaml"
	for _, test := range []struct {
		edit
		want string
	}{
		{edit{worker, "pollingInterval", "pollInterval"}, `unknown field "pollInterval"`},
		{edit{worker, "scaleTargetRef: {name: worker}", "scaleTargetRef: {name: api}\n  cooldownPeriod: 1"}, `"cooldownPeriod" already`},
		{edit{worker, "scaleTargetRef: {name: worker}", "scaleTargetRef: {name: workers}"}, "ScaledObject worker: its Deployment is missing"},
		{edit{"keda/kustomization.yaml", "- op: remove\n        path: /spec/replicas", "- op: replace\n        path: /spec/replicas\n        value: 3"}, "ScaledObject worker: its Deployment is missing, or has replicas"},
		{edit{worker, "maxReplicaCount: 8", "maxReplicaCount: 3"}, "ScaledObject worker: its numbers do not fit together"},
		{edit{worker, "tracklane_queue_waiting_points", "tracklane_waiting_points"}, "no process has a metric tracklane_waiting_points"},
		{edit{worker, "sum(max by", "sum(max of"}, "ScaledObject worker: 1:"},
		{edit{worker, `"200000"`, `"many"`}, "ScaledObject worker: its trigger is prometheus at \"many\""},
		{edit{worker, "- type: prometheus", "- type: redis"}, "ScaledObject worker: its trigger is redis"},
	} {
		t.Run(test.want, func(t *testing.T) { requireProblem(t, "keda", test.edit, test.want) })
	}
}

func requireProblem(t *testing.T, directory string, e edit, want string) {
	t.Helper()
	m, err := build(t, directory, e)
	if err != nil {
		require.ErrorContains(t, err, want)
		return
	}
	require.Contains(t, strings.Join(problemsOf(m), "\n"), want)
}

// What an operator has to make by hand is said where the installation is described.
func TestManifests_SecretsAreDescribed(t *testing.T) {
	guide, err := os.ReadFile("../../docs/deploy.md")
	require.NoError(t, err)
	for name, values := range secrets {
		_, command, found := strings.Cut(string(guide), "create secret generic "+name+" ")
		require.True(t, found, name)
		for key := range values {
			assert.Contains(t, command, "--from-literal="+key+"=", name)
		}
	}
}
