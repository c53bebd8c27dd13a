package kubernetes

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"tracklane/internal/config"
	"tracklane/internal/status"
)

// problems are what is wrong with manifests, each a line.
type problems []string

func (p *problems) unless(right bool, format string, values ...any) {
	if !right {
		*p = append(*p, fmt.Sprintf(format, values...))
	}
}

// problemsOf holds manifests against the program and against each other.
func problemsOf(m manifests) problems {
	var p problems
	for name, pod := range m.pods() {
		p.unless(len(pod.Spec.Containers) == 1 && len(pod.Spec.InitContainers) == 0, "%s: one container is checked", name)
		p.checkCommand(name, pod)
		p.checkEnvironment(m, name, pod)
		p.checkProbes(name, pod)
		p.checkSecurity(name, pod)
		p.checkResources(name, pod)
	}
	p.checkSelectors(m)
	p.checkScaling(m)
	p.checkNetwork(m)
	for name, namespace := range m.namespaces {
		p.unless(namespace.Labels["pod-security.kubernetes.io/enforce"] == "restricted", "namespace %s: pods are not restricted", name)
	}
	return p
}

// checkCommand checks that a pod runs a command of the program, of an image that does
// not change under its name.
func (p *problems) checkCommand(name string, pod corev1.PodTemplateSpec) {
	container := pod.Spec.Containers[0]
	commands := map[string][]string{"api": {"api"}, "worker": {"worker"}, "migrate": {"migrate", "up"}}
	p.unless(slices.Equal(container.Args, commands[name]), "%s: the arguments are %q", name, container.Args)
	p.unless(len(container.Command) == 0, "%s: the image's entry point is replaced", name)
	pinned := regexp.MustCompile(`^[^:@]+(:\d+\.\d+\.\d+)?(@sha256:[0-9a-f]{64})?$`)
	p.unless(pinned.MatchString(container.Image) && container.Image != "tracklane", "%s: the image %s is not pinned", name, container.Image)
}

// secrets are the values that an operator would put into the Secrets.
var secrets = map[string]map[string]string{
	"tracklane": {
		"DATABASE_URL": "postgres://tracklane_app:wave@database:5432/tracklane", "REDIS_URL": "redis://:glide@redis:6379",
		"SECRET_KEY": "0123456789abcdef0123456789abcdef", "OPERATOR_PASSWORD": "cloudbase",
	},
	"tracklane-owner": {"DATABASE_URL": "postgres://tracklane_owner:ridge@database:5432/tracklane"},
}

// checkEnvironment checks that a pod's variables are those of the program, that it
// starts with them, and that secrets come from a Secret.
func (p *problems) checkEnvironment(m manifests, name string, pod corev1.PodTemplateSpec) {
	container := pod.Spec.Containers[0]
	var environ []string
	for _, source := range container.EnvFrom {
		p.unless(source.ConfigMapRef != nil, "%s: its variables come from elsewhere than a ConfigMap", name)
		if source.ConfigMapRef == nil {
			continue
		}
		values := m.configMaps[source.ConfigMapRef.Name]
		p.unless(values != nil, "%s: there is no ConfigMap %s", name, source.ConfigMapRef.Name)
		if values != nil {
			for variable, value := range values.Data {
				p.unless(!isSecret(variable), "%s: %s is in a ConfigMap", name, variable)
				environ = append(environ, variable+"="+value)
			}
		}
	}
	for _, variable := range container.Env {
		p.unless(variable.Value == "" && variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil, "%s: %s is not from a Secret", name, variable.Name)
		if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
			continue
		}
		from := variable.ValueFrom.SecretKeyRef
		value := secrets[from.Name][from.Key]
		optional := from.Optional != nil && *from.Optional
		p.unless(from.Key == variable.Name && (value != "" || optional), "%s: %s is %s of the Secret %s", name, variable.Name, from.Key, from.Name)
		p.unless((from.Name == "tracklane-owner") == (name == "migrate"), "%s: %s is of the Secret %s", name, variable.Name, from.Name)
		environ = append(environ, variable.Name+"="+value)
	}
	for _, entry := range environ {
		variable, _, _ := strings.Cut(entry, "=")
		p.unless(slices.ContainsFunc(config.Describe(), func(v config.Variable) bool { return v.Name == variable }), "%s: the program reads no %s", name, variable)
	}
	loaded, err := config.Load(environ)
	p.unless(err == nil, "%s: %v", name, err)
	if err == nil && name != "migrate" {
		p.checkSettings(name, pod, loaded)
	}
}

func isSecret(variable string) bool {
	return slices.ContainsFunc(config.Describe(), func(v config.Variable) bool { return v.Secret && v.Name == variable })
}

// checkSettings checks that a pod of the API or of workers fits its settings.
func (p *problems) checkSettings(name string, pod corev1.PodTemplateSpec, loaded config.Config) {
	err := loaded.CheckAuth(name == "api")
	p.unless(err == nil, "%s: %v", name, err)
	p.unless(loaded.AuthRequired() && loaded.Production, "%s: it is open to everybody", name)
	p.unless(!loaded.MigrateOnStart, "%s: it changes the schema", name)
	ports := map[string]string{"operators": loaded.OperatorAddr}
	if name == "api" {
		ports["http"] = loaded.HTTPAddr
		p.unless(len(loaded.TrustedProxies) > 0, "api: all clients have the address of the proxy")
	}
	for port, address := range ports {
		_, number, _ := net.SplitHostPort(address)
		found, exists := portOf(pod, intstr.FromString(port))
		p.unless(exists && strconv.Itoa(int(found)) == number, "%s: the port %s is not that of %s", name, port, address)
	}

	stop := loaded.ShutdownTimeout
	lifecycle := pod.Spec.Containers[0].Lifecycle
	waits := lifecycle != nil && lifecycle.PreStop != nil && lifecycle.PreStop.Sleep != nil
	p.unless(waits == (name == "api"), "%s: what clients reach, and nothing else, waits before it stops", name)
	if waits {
		stop += time.Duration(lifecycle.PreStop.Sleep.Seconds) * time.Second
		p.unless(lifecycle.PreStop.Sleep.Seconds >= 5, "%s: proxies have no time to hear of the end", name)
	}
	grace := pod.Spec.TerminationGracePeriodSeconds
	p.unless(grace != nil && time.Duration(*grace)*time.Second > stop, "%s: it is killed before the %s that it may take to stop", name, stop)
}

// portOf is the number of a container's port.
func portOf(pod corev1.PodTemplateSpec, port intstr.IntOrString) (int32, bool) {
	for _, each := range pod.Spec.Containers[0].Ports {
		if port.Type == intstr.String && each.Name == port.StrVal || port.Type == intstr.Int && each.ContainerPort == port.IntVal {
			return each.ContainerPort, true
		}
	}
	return 0, false
}

// probeTime is how soon a probe is answered, whatever is down: responseTimeout in
// docs/architecture.md.
const probeTime = time.Second

// checkProbes checks that a process is restarted when it hangs alone, and is given no
// requests when it takes no points.
func (p *problems) checkProbes(name string, pod corev1.PodTemplateSpec) {
	container := pod.Spec.Containers[0]
	if name == "migrate" {
		return
	}
	for path, probes := range map[string][]*corev1.Probe{
		"/livez": {container.StartupProbe, container.LivenessProbe}, "/readyz": {container.ReadinessProbe},
	} {
		for _, probe := range probes {
			p.unless(probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Path == path, "%s: a probe of %s is missing", name, path)
			if probe == nil || probe.HTTPGet == nil {
				continue
			}
			_, exists := portOf(pod, probe.HTTPGet.Port)
			p.unless(exists && probe.HTTPGet.Port.StrVal == "operators", "%s: a probe asks the port %s", name, probe.HTTPGet.Port.String())
			if path == "/readyz" {
				p.unless(time.Duration(probe.TimeoutSeconds)*time.Second > probeTime, "%s: a probe waits for %d s", name, probe.TimeoutSeconds)
			}
		}
	}
}

// imageUser is who the Dockerfile's image runs as.
const imageUser = 65532

func (p *problems) checkSecurity(name string, pod corev1.PodTemplateSpec) {
	off := func(setting *bool) bool { return setting != nil && !*setting }
	on := func(setting *bool) bool { return setting != nil && *setting }
	p.unless(off(pod.Spec.AutomountServiceAccountToken), "%s: it has a token of the API server", name)
	p.unless(off(pod.Spec.EnableServiceLinks), "%s: a Service named redis would set REDIS_PORT", name)
	p.unless(!pod.Spec.HostNetwork && !pod.Spec.HostPID && !pod.Spec.HostIPC && len(pod.Spec.Volumes) == 0, "%s: it shares something with the node", name)
	if user := pod.Spec.SecurityContext; user == nil || !on(user.RunAsNonRoot) || user.RunAsUser == nil || *user.RunAsUser != imageUser ||
		user.RunAsGroup == nil || *user.RunAsGroup != imageUser {
		p.unless(false, "%s: it does not run as the image's user", name)
	}
	profile := pod.Spec.SecurityContext
	p.unless(profile != nil && profile.SeccompProfile != nil && profile.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "%s: system calls are not filtered", name)
	locked := pod.Spec.Containers[0].SecurityContext
	p.unless(locked != nil && off(locked.AllowPrivilegeEscalation) && !on(locked.Privileged), "%s: it may gain privileges", name)
	p.unless(locked != nil && on(locked.ReadOnlyRootFilesystem), "%s: its files can be changed", name)
	p.unless(locked != nil && locked.Capabilities != nil && slices.Equal(locked.Capabilities.Drop, []corev1.Capability{"ALL"}) &&
		len(locked.Capabilities.Add) == 0, "%s: it has capabilities", name)
}

// serverMemory is what a process that clients talk to may need; see memoryLimit in
// internal/app and SECURITY.md.
const serverMemory = 256 << 20

func (p *problems) checkResources(name string, pod corev1.PodTemplateSpec) {
	resources := pod.Spec.Containers[0].Resources
	p.unless(resources.Requests.Cpu().Sign() > 0 && resources.Requests.Memory().Sign() > 0, "%s: it requests no resources", name)
	p.unless(resources.Limits.Memory().Value() > serverMemory, "%s: its memory is not limited, or too much so", name)
	p.unless(resources.Limits.Cpu().IsZero(), "%s: it is throttled", name)
}

// selected are the pods that a selector selects.
func selected(m manifests, by metav1.LabelSelector) []string {
	selector, err := metav1.LabelSelectorAsSelector(&by)
	if err != nil {
		return nil
	}
	var names []string
	for name, pod := range m.pods() {
		if selector.Matches(labels.Set(pod.Labels)) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

func (p *problems) checkSelectors(m manifests) {
	own := func(what, name string, by metav1.LabelSelector) {
		p.unless(slices.Equal(selected(m, by), []string{name}), "%s %s: it selects the pods of %q", what, name, selected(m, by))
	}
	for name, deployment := range m.deployments {
		own("Deployment", name, *deployment.Spec.Selector)
		for _, spread := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
			own("topologySpreadConstraints of", name, *spread.LabelSelector)
		}
		p.unless(len(deployment.Spec.Template.Spec.TopologySpreadConstraints) > 0, "%s: all its pods may be on one node", name)
		update := deployment.Spec.Strategy.RollingUpdate
		p.unless(update != nil && update.MaxUnavailable.IntValue() == 0 && update.MaxSurge.IntValue() > 0, "%s: there are fewer of it during an update", name)
		budget := m.budgets[name]
		p.unless(budget != nil && budget.Spec.MaxUnavailable.IntValue() == 1, "%s: it has no PodDisruptionBudget", name)
	}
	for name, budget := range m.budgets {
		own("PodDisruptionBudget", name, *budget.Spec.Selector)
	}
	for name, service := range m.services {
		own("Service", name, metav1.LabelSelector{MatchLabels: service.Spec.Selector})
		for _, port := range service.Spec.Ports {
			_, exists := portOf(m.pods()[name], port.TargetPort)
			p.unless(exists && port.TargetPort.StrVal == "http", "Service %s: it leads to the port %s", name, port.TargetPort.String())
		}
	}
}

// checkScaling checks that what is scaled is there, and that nothing else says how many
// there are.
func (p *problems) checkScaling(m manifests) {
	for name, scaler := range m.autoscalers {
		target := m.deployments[scaler.Spec.ScaleTargetRef.Name]
		p.unless(scaler.Spec.ScaleTargetRef.Kind == "Deployment" && target != nil && target.Spec.Replicas == nil, "autoscaler %s: its Deployment is missing, or has replicas", name)
		p.unless(scaler.Spec.MinReplicas != nil && *scaler.Spec.MinReplicas >= 2, "autoscaler %s: one may be alone", name)
	}
	p.unless(m.autoscalers["api"] != nil, "api: it is not scaled")
	known := exportedMetrics()
	for name, scaler := range m.scaled {
		spec := scaler.Spec
		target := m.deployments[spec.ScaleTargetRef.Name]
		p.unless(target != nil && target.Spec.Replicas == nil, "ScaledObject %s: its Deployment is missing, or has replicas", name)
		p.unless(spec.MinReplicaCount >= 2 && spec.MinReplicaCount <= spec.Fallback.Replicas && spec.Fallback.Replicas <= spec.MaxReplicaCount, "ScaledObject %s: its numbers do not fit together", name)
		for _, trigger := range spec.Triggers {
			threshold, err := strconv.Atoi(trigger.Metadata.Threshold)
			p.unless(trigger.Type == "prometheus" && err == nil && threshold > 0, "ScaledObject %s: its trigger is %s at %q", name, trigger.Type, trigger.Metadata.Threshold)
			query, err := parser.ParseExpr(trigger.Metadata.Query)
			p.unless(err == nil, "ScaledObject %s: %v", name, err)
			for _, selector := range parser.ExtractSelectors(query) {
				metric := selector[len(selector)-1].Value
				p.unless(slices.Contains(known, metric), "ScaledObject %s: no process has a metric %s", name, metric)
			}
		}
		p.unless(len(spec.Triggers) == 1, "ScaledObject %s: it has no trigger", name)
	}
}

// exportedMetrics are the names of the metrics about queues and servers.
func exportedMetrics() []string {
	descriptions := make(chan *prometheus.Desc, 100)
	status.NewExporter(nil).Describe(descriptions)
	close(descriptions)
	var names []string
	for description := range descriptions {
		names = append(names, regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(description.String())[1])
	}
	return names
}

// checkNetwork checks that pods reach and are reached by what they need, and nothing else.
func (p *problems) checkNetwork(m manifests) {
	both := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	p.unless(slices.ContainsFunc(slices.Collect(maps.Values(m.policies)), func(each *networkingv1.NetworkPolicy) bool {
		return len(each.Spec.PodSelector.MatchLabels)+len(each.Spec.PodSelector.MatchExpressions)+len(each.Spec.Ingress)+len(each.Spec.Egress) == 0 &&
			slices.Equal(each.Spec.PolicyTypes, both)
	}), "no NetworkPolicy refuses what is not named")
	reached, reaches := make(map[string][]string), make(map[string][]string)
	for name, policy := range m.policies {
		pods := selected(m, policy.Spec.PodSelector)
		p.unless(len(pods) > 0, "NetworkPolicy %s: it selects no pods", name)
		for _, pod := range pods {
			for _, rule := range policy.Spec.Ingress {
				p.unless(len(rule.From) == 1 && rule.From[0].NamespaceSelector != nil && len(rule.From[0].NamespaceSelector.MatchLabels) > 0, "NetworkPolicy %s: everybody comes in", name)
				for _, port := range rule.Ports {
					_, exists := portOf(m.pods()[pod], *port.Port)
					p.unless(exists, "NetworkPolicy %s: the pods of %s have no port %s", name, pod, port.Port.String())
					reached[pod] = append(reached[pod], port.Port.String())
				}
				p.unless(len(rule.Ports) > 0, "NetworkPolicy %s: every port is reached", name)
			}
			for _, rule := range policy.Spec.Egress {
				for _, port := range rule.Ports {
					reaches[pod] = append(reaches[pod], port.Port.String())
				}
				p.unless(len(rule.Ports) > 0, "NetworkPolicy %s: every port outside is reached", name)
			}
		}
	}
	for pod, want := range map[string][]string{"api": {"http", "operators"}, "worker": {"operators"}, "migrate": nil} {
		p.unless(slices.Equal(slices.Sorted(slices.Values(reached[pod])), want), "%s: its ports %q are reached", pod, reached[pod])
		for _, port := range []string{"53", "5432", "6379"} {
			p.unless(slices.Contains(reaches[pod], port), "%s: it does not reach the port %s", pod, port)
		}
	}
}
