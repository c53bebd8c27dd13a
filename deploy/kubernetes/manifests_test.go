// Package kubernetes holds the manifests that run tracklane on Kubernetes, and their
// tests, which need no cluster.
package kubernetes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// manifests are what one kustomization applies, by kind and name.
type manifests struct {
	namespaces  map[string]*corev1.Namespace
	configMaps  map[string]*corev1.ConfigMap
	services    map[string]*corev1.Service
	deployments map[string]*appsv1.Deployment
	jobs        map[string]*batchv1.Job
	autoscalers map[string]*autoscalingv2.HorizontalPodAutoscaler
	budgets     map[string]*policyv1.PodDisruptionBudget
	policies    map[string]*networkingv1.NetworkPolicy
	scaled      map[string]*scaledObject
}

// scaledObject is as much of KEDA's resource as is used here. The module that has KEDA's
// own type requires the client libraries of every system that KEDA can ask.
type scaledObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`

		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int32 `json:"minReplicaCount"`
		MaxReplicaCount int32 `json:"maxReplicaCount"`
		PollingInterval int32 `json:"pollingInterval"`
		CooldownPeriod  int32 `json:"cooldownPeriod"`
		Fallback        struct {
			FailureThreshold int32 `json:"failureThreshold"`
			Replicas         int32 `json:"replicas"`
		} `json:"fallback"`
		Triggers []struct {
			Type       string `json:"type"`
			MetricType string `json:"metricType"`
			Metadata   struct {
				ServerAddress    string `json:"serverAddress"`
				Query            string `json:"query"`
				Threshold        string `json:"threshold"`
				IgnoreNullValues string `json:"ignoreNullValues"`
			} `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// edit changes a manifest before it is built.
type edit struct{ file, old, new string }

// build does what "kubectl kustomize" does with a directory of this one, after edits,
// and decodes the result, where an unknown field or a wrong type is an error.
func build(t *testing.T, directory string, edits ...edit) (manifests, error) {
	t.Helper()
	files := filesys.MakeFsInMemory()
	require.NoError(t, fs.WalkDir(os.DirFS("."), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(content)
		for _, e := range edits {
			if e.file == path {
				require.Contains(t, text, e.old, path)
				text = strings.Replace(text, e.old, e.new, 1)
			}
		}
		return files.WriteFile(path, []byte(text))
	}))
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, directory)
	if err != nil {
		return manifests{}, err
	}
	m := manifests{
		map[string]*corev1.Namespace{}, map[string]*corev1.ConfigMap{}, map[string]*corev1.Service{},
		map[string]*appsv1.Deployment{}, map[string]*batchv1.Job{},
		map[string]*autoscalingv2.HorizontalPodAutoscaler{}, map[string]*policyv1.PodDisruptionBudget{},
		map[string]*networkingv1.NetworkPolicy{}, map[string]*scaledObject{},
	}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return m, err
		}
		if err := m.add(resource.GetGvk().ApiVersion()+" "+resource.GetKind(), resource.GetName(), text); err != nil {
			return m, fmt.Errorf("%s %s: %w", resource.GetKind(), resource.GetName(), err)
		}
	}
	return m, nil
}

// add decodes one resource.
func (m manifests) add(kind, name string, text []byte) error {
	switch kind {
	case "v1 Namespace":
		return decode(m.namespaces, name, text)
	case "v1 ConfigMap":
		return decode(m.configMaps, name, text)
	case "v1 Service":
		return decode(m.services, name, text)
	case "apps/v1 Deployment":
		return decode(m.deployments, name, text)
	case "batch/v1 Job":
		return decode(m.jobs, name, text)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return decode(m.autoscalers, name, text)
	case "policy/v1 PodDisruptionBudget":
		return decode(m.budgets, name, text)
	case "networking.k8s.io/v1 NetworkPolicy":
		return decode(m.policies, name, text)
	case "keda.sh/v1alpha1 ScaledObject":
		return decode(m.scaled, name, text)
	}
	return fmt.Errorf("%s is no kind that is known here", kind)
}

func decode[T any](into map[string]*T, name string, text []byte) error {
	into[name] = new(T)
	return yaml.UnmarshalStrict(text, into[name])
}

// pods are the templates of pods, by the name of what makes them.
func (m manifests) pods() map[string]corev1.PodTemplateSpec {
	pods := make(map[string]corev1.PodTemplateSpec)
	for name, deployment := range m.deployments {
		pods[name] = deployment.Spec.Template
	}
	for name, job := range m.jobs {
		pods[name] = job.Spec.Template
	}
	return pods
}
