package main

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What of the objects of Kubernetes the manifests use, each with the fields of its API.
type (
	kubeLabels = map[string]string

	kubeMeta struct {
		Name, Namespace string
		Labels          kubeLabels
	}
	kubeSelector struct {
		MatchLabels kubeLabels `yaml:"matchLabels"`
	}
	kubePort struct {
		Name       string
		Port       int
		TargetPort string `yaml:"targetPort"`
	}
	kubeProbe struct {
		HTTPGet struct {
			Path, Port string
		} `yaml:"httpGet"`
		PeriodSeconds    int `yaml:"periodSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}
	kubeContainer struct {
		Name, Image string
		Args        []string
		Env         []struct {
			Name      string
			ValueFrom struct {
				FieldRef struct {
					FieldPath string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
				SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
			} `yaml:"valueFrom"`
		}
		EnvFrom []struct {
			SecretRef struct{ Name string } `yaml:"secretRef"`
		} `yaml:"envFrom"`
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		StartupProbe    kubeProbe `yaml:"startupProbe"`
		ReadinessProbe  kubeProbe `yaml:"readinessProbe"`
		LivenessProbe   kubeProbe `yaml:"livenessProbe"`
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop []string }
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	kubePod struct {
		AutomountServiceAccountToken  *bool     `yaml:"automountServiceAccountToken"`
		TerminationGracePeriodSeconds int       `yaml:"terminationGracePeriodSeconds"`
		Affinity                      yaml.Node // not looked into
		TopologySpreadConstraints     []struct {
			MaxSkew           int          `yaml:"maxSkew"`
			TopologyKey       string       `yaml:"topologyKey"`
			WhenUnsatisfiable string       `yaml:"whenUnsatisfiable"`
			LabelSelector     kubeSelector `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		SecurityContext struct {
			RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
			RunAsUser      int                   `yaml:"runAsUser"`
			RunAsGroup     int                   `yaml:"runAsGroup"`
			FSGroup        int                   `yaml:"fsGroup"`
			SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []kubeContainer
		Volumes    []struct {
			Name      string
			ConfigMap struct{ Name string } `yaml:"configMap"`
			Secret    struct {
				SecretName string `yaml:"secretName"`
			}
			EmptyDir *struct{} `yaml:"emptyDir"`
		}
	}
	// kubeWorkload is a Deployment or a StatefulSet.
	kubeWorkload struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
		Spec       struct {
			ServiceName         string `yaml:"serviceName"`
			Replicas            *int
			PodManagementPolicy string `yaml:"podManagementPolicy"`
			Selector            kubeSelector
			Template            struct {
				Metadata kubeMeta
				Spec     kubePod
			}
			VolumeClaimTemplates []struct {
				Metadata kubeMeta
				Spec     struct {
					AccessModes []string `yaml:"accessModes"`
					Resources   struct{ Requests map[string]string }
				}
			} `yaml:"volumeClaimTemplates"`
		}
	}
	kubeService struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
		Spec       struct {
			Type                     string
			ClusterIP                string `yaml:"clusterIP"`
			PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
			ExternalTrafficPolicy    string `yaml:"externalTrafficPolicy"`
			Selector                 kubeLabels
			Ports                    []kubePort
		}
	}
	// kubeData is a ConfigMap, a Secret or a Namespace.
	kubeData struct {
		APIVersion string `yaml:"apiVersion"`
		Kind, Type string
		Metadata   kubeMeta
		Data       map[string]string
		StringData map[string]string `yaml:"stringData"`
	}
	kubeBudget struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
		Spec       struct {
			MaxUnavailable int `yaml:"maxUnavailable"`
			Selector       kubeSelector
		}
	}
	kubeScaler struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
		Spec       struct {
			ScaleTargetRef struct {
				APIVersion string `yaml:"apiVersion"`
				Kind, Name string
			} `yaml:"scaleTargetRef"`
			MinReplicas int `yaml:"minReplicas"`
			MaxReplicas int `yaml:"maxReplicas"`
			Metrics     []struct {
				Type     string
				External struct {
					Metric struct{ Name string }
					Target struct {
						Type         string
						AverageValue string `yaml:"averageValue"`
					}
				}
			}
			Behavior struct {
				ScaleDown struct {
					StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
				} `yaml:"scaleDown"`
			}
		}
	}
	kubePolicy struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
		Spec       struct {
			PodSelector kubeSelector `yaml:"podSelector"`
			PolicyTypes []string     `yaml:"policyTypes"`
			Ingress     []struct {
				From []struct {
					PodSelector       kubeSelector `yaml:"podSelector"`
					NamespaceSelector kubeSelector `yaml:"namespaceSelector"`
				}
				Ports []struct{ Port int }
			}
		}
	}
)

// manifests are all objects of deploy/kubernetes.
type manifests struct {
	workloads []*kubeWorkload
	services  []*kubeService
	data      []*kubeData
	budgets   []*kubeBudget
	scalers   []*kubeScaler
	policies  []*kubePolicy
}

// versions are the API versions that the types above are of.
var versions = map[string]string{
	"Namespace": "v1", "Secret": "v1", "ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "StatefulSet": "apps/v1",
	"PodDisruptionBudget": "policy/v1", "HorizontalPodAutoscaler": "autoscaling/v2", "NetworkPolicy": "networking.k8s.io/v1",
}

func kubernetes(t *testing.T) *manifests {
	t.Helper()
	files, err := filepath.Glob(deploy + "kubernetes/[0-9]*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	m := new(manifests)
	for _, file := range files {
		documents(t, "kubernetes/"+filepath.Base(file), m.object)
	}
	return m
}

// object is where a document of a kind goes.
func (m *manifests) object(kind string) any {
	switch kind {
	case "Deployment", "StatefulSet":
		return added(&m.workloads)
	case "Service":
		return added(&m.services)
	case "ConfigMap", "Secret", "Namespace":
		return added(&m.data)
	case "PodDisruptionBudget":
		return added(&m.budgets)
	case "HorizontalPodAutoscaler":
		return added(&m.scalers)
	case "NetworkPolicy":
		return added(&m.policies)
	}
	return nil
}

func added[T any](to *[]*T) *T {
	o := new(T)
	*to = append(*to, o)
	return o
}

// config is a file of a ConfigMap.
func (m *manifests) config(t *testing.T, name, file string) string {
	t.Helper()
	for _, d := range m.data {
		if d.Kind == "ConfigMap" && d.Metadata.Name == name && d.Data[file] != "" {
			return d.Data[file]
		}
	}
	t.Fatalf("there is no %s in a ConfigMap %s", file, name)
	return ""
}

// secret is the keys of a Secret.
func (m *manifests) secret(name string) map[string]string {
	for _, d := range m.data {
		if d.Kind == "Secret" && d.Metadata.Name == name {
			return d.StringData
		}
	}
	return nil
}

// selectsPods reports whether a selector means the pods of a workload.
func selectsPods(selector kubeLabels, w *kubeWorkload) bool {
	for name, value := range selector {
		if w.Spec.Template.Metadata.Labels[name] != value {
			return false
		}
	}
	return len(selector) > 0
}

// environmentOf are the names of the variables that a configuration asks for.
func environmentOf(text string) []string {
	var names []string
	for _, found := range regexp.MustCompile(`\$\{?([A-Z_]{3,})\}?`).FindAllStringSubmatch(text, -1) {
		names = append(names, found[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Every object is of the API that its fields are of, in the one namespace.
func TestDeployKubernetesObjects(t *testing.T) {
	t.Parallel()
	m := kubernetes(t)
	seen := make(map[string]bool)
	check := func(version, kind string, meta kubeMeta) {
		if versions[kind] != version {
			t.Errorf("%s %s is of %s, want %s", kind, meta.Name, version, versions[kind])
		}
		if (meta.Namespace != "mcmt2xmpp") != (kind == "Namespace") {
			t.Errorf("%s %s is in the namespace %q", kind, meta.Name, meta.Namespace)
		}
		if seen[kind+meta.Name] {
			t.Errorf("%s %s is there twice", kind, meta.Name)
		}
		seen[kind+meta.Name] = true
	}
	for _, o := range m.workloads {
		check(o.APIVersion, o.Kind, o.Metadata)
	}
	for _, o := range m.services {
		check(o.APIVersion, o.Kind, o.Metadata)
	}
	for _, o := range m.data {
		check(o.APIVersion, o.Kind, o.Metadata)
		for name, value := range o.StringData {
			if value != "" {
				t.Errorf("%s: a value for %s is published", o.Metadata.Name, name)
			}
		}
	}
	for _, o := range m.budgets {
		check(o.APIVersion, o.Kind, o.Metadata)
	}
	for _, o := range m.scalers {
		check(o.APIVersion, o.Kind, o.Metadata)
	}
	for _, o := range m.policies {
		check(o.APIVersion, o.Kind, o.Metadata)
	}
}

// Every pod runs without rights, with probes that are there, from an image with a version.
func TestDeployKubernetesPods(t *testing.T) {
	t.Parallel()
	m := kubernetes(t)
	conf := m.config(t, "mcmt2xmpp", "gateway.conf")
	cfg := loaded(t, "20-config.yaml", conf)
	roles := make(map[string]bool)
	for _, w := range m.workloads {
		name, spec, pod := w.Metadata.Name, w.Spec, w.Spec.Template.Spec
		if !selectsPods(spec.Selector.MatchLabels, w) {
			t.Errorf("%s does not select its own pods", name)
		}
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken || !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.RunAsUser == 0 ||
			pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" || pod.TerminationGracePeriodSeconds < 60 {
			t.Errorf("%s: %+v", name, pod.SecurityContext)
		}
		if budgets := slices.DeleteFunc(slices.Clone(m.budgets), func(b *kubeBudget) bool { return !selectsPods(b.Spec.Selector.MatchLabels, w) }); len(budgets) != 1 || budgets[0].Spec.MaxUnavailable != 1 {
			t.Errorf("%s has %d disruption budgets", name, len(budgets))
		}
		c := pod.Containers[0]
		if s := c.SecurityContext; s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("%s: %+v", name, s)
		}
		if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %s has no version", name, c.Image)
		}
		m.checkVolumes(t, w)
		if name == "nats" {
			continue
		}
		checkArgs(t, name, c.Args)
		roles[c.Args[4]] = true
		for what, p := range map[string]kubeProbe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
			if p.HTTPGet.Path != what || p.HTTPGet.Port != "admin" || c.StartupProbe.HTTPGet.Path != "/readyz" || c.StartupProbe.HTTPGet.Port != "admin" {
				t.Errorf("%s: probes %+v and %+v", name, p, c.StartupProbe)
			}
		}
		for _, p := range c.Ports {
			if !ports(cfg)[strconv.Itoa(p.ContainerPort)] {
				t.Errorf("%s: nothing listens on %d", name, p.ContainerPort)
			}
		}
		for _, variable := range environmentOf(conf) {
			if _, ok := m.secret(c.EnvFrom[0].SecretRef.Name)[variable]; !ok {
				t.Errorf("%s: no Secret has %s", name, variable)
			}
		}
	}
	if len(roles) != 4 {
		t.Errorf("roles: %v", slices.Sorted(maps.Keys(roles)))
	}
	for _, file := range []string{cfg.DataDir, "/etc/mcmt2xmpp", "/etc/mcmt2xmpp-tls"} {
		if file != cfg.DataDir && !strings.Contains(conf+"-c /etc/mcmt2xmpp/gateway.conf", file) {
			t.Errorf("%s is mounted for nothing", file)
		}
	}
}

// checkVolumes holds that what is mounted is there.
func (m *manifests) checkVolumes(t *testing.T, w *kubeWorkload) {
	t.Helper()
	pod := w.Spec.Template.Spec
	volumes := make(map[string]bool)
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap.Name != "" && !slices.ContainsFunc(m.data, func(d *kubeData) bool { return d.Kind == "ConfigMap" && d.Metadata.Name == v.ConfigMap.Name }) {
			t.Errorf("%s: there is no ConfigMap %s", w.Metadata.Name, v.ConfigMap.Name)
		}
		if v.Secret.SecretName != "" && m.secret(v.Secret.SecretName) == nil {
			t.Errorf("%s: there is no Secret %s", w.Metadata.Name, v.Secret.SecretName)
		}
	}
	for _, v := range w.Spec.VolumeClaimTemplates {
		volumes[v.Metadata.Name] = true
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		if !volumes[mount.Name] {
			t.Errorf("%s: there is no volume %s", w.Metadata.Name, mount.Name)
		}
	}
	for _, e := range pod.Containers[0].Env {
		ref := e.ValueFrom.SecretKeyRef
		if _, ok := m.secret(ref.Name)[ref.Key]; !ok && e.ValueFrom.FieldRef.FieldPath == "" {
			t.Errorf("%s: %s comes from nowhere", w.Metadata.Name, e.Name)
		}
	}
}

// Services, policies and the autoscaler are about pods, ports and metrics that are there.
func TestDeployKubernetesReferences(t *testing.T) {
	t.Parallel()
	m := kubernetes(t)
	for _, s := range m.services {
		i := slices.IndexFunc(m.workloads, func(w *kubeWorkload) bool { return selectsPods(s.Spec.Selector, w) })
		if i < 0 {
			t.Errorf("service %s has no pods", s.Metadata.Name)
			continue
		}
		for _, p := range s.Spec.Ports {
			if portOf(m.workloads[i], p.TargetPort) == 0 {
				t.Errorf("service %s: %s has no port %s", s.Metadata.Name, m.workloads[i].Metadata.Name, p.TargetPort)
			}
		}
	}
	reached := make(map[string]bool) // pod and port
	for _, p := range m.policies {
		for _, w := range m.workloads {
			for _, rule := range p.Spec.Ingress {
				for _, port := range rule.Ports {
					if selectsPods(p.Spec.PodSelector.MatchLabels, w) {
						reached[w.Metadata.Name+strconv.Itoa(port.Port)] = true
					}
				}
			}
		}
	}
	for _, w := range m.workloads {
		if w.Kind == "StatefulSet" && !slices.ContainsFunc(m.services, func(s *kubeService) bool { return s.Metadata.Name == w.Spec.ServiceName }) {
			t.Errorf("%s: there is no service %s", w.Metadata.Name, w.Spec.ServiceName)
		}
		for _, p := range w.Spec.Template.Spec.Containers[0].Ports {
			if !reached[w.Metadata.Name+strconv.Itoa(p.ContainerPort)] && p.Name != "monitor" {
				t.Errorf("no policy lets anybody reach %s of %s", p.Name, w.Metadata.Name)
			}
		}
	}
	checkNATS(t, m.config(t, "nats", "nats.conf"))
	scaler := m.scalers[0].Spec
	if slices := loaded(t, "20-config.yaml", m.config(t, "mcmt2xmpp", "gateway.conf")).NATS.Slices; scaler.MaxReplicas != slices {
		t.Errorf("%d converters at most, and there are %d slices", scaler.MaxReplicas, slices)
	}
	i := slices.IndexFunc(m.workloads, func(w *kubeWorkload) bool { return w.Metadata.Name == scaler.ScaleTargetRef.Name })
	if i < 0 || m.workloads[i].Kind != scaler.ScaleTargetRef.Kind || m.workloads[i].Spec.Replicas != nil {
		t.Errorf("the autoscaler scales %+v", scaler.ScaleTargetRef)
	}
	if adapter := deployed(t, "kubernetes/prometheus-adapter.yaml"); !strings.Contains(adapter, "as: "+scaler.Metrics[0].External.Metric.Name+"\n") {
		t.Error("the adapter does not make the metric that the autoscaler asks for")
	}
}

// portOf is the number of a named port of a workload, 0 for none.
func portOf(w *kubeWorkload, name string) int {
	for _, p := range w.Spec.Template.Spec.Containers[0].Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}
