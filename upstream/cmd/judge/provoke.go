package main

import (
	"encoding/json"
	"math/rand"
	"strings"
)

// What upstream warns of: a path, words with spaces between, and values for it. `*` is any item that is
// there, `+` one more; `$` at the end of a name is the name of a container.
type provocation struct {
	path   string
	values []string
}

const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"

var (
	deprecatedLabels = []string{"beta.kubernetes.io/arch", "beta.kubernetes.io/os", "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
		"beta.kubernetes.io/instance-type", "app.kubernetes.io/created-by", "scheduler.alpha.kubernetes.io/preferAvoidPods", "node-role.kubernetes.io/master"}
	oddIPs     = []string{`"fd00:0::1"`, `"FD00::1"`, `"010.0.0.1"`, `"::ffff:10.0.0.1"`, `"10.0.0.1"`, `"fd00::1"`, `"::1.2.3.4"`, `"fd00:0:0:1::"`}
	oddCIDRs   = []string{`"fd00:0::/64"`, `"FD00::/112"`, `"010.0.0.0/8"`, `"::ffff:10.0.0.0/104"`, `"10.0.0.1/8"`, `"fd00::1/64"`, `"10.0.0.0/08"`, `"::ffff:10.1.0.0/90"`, `"10.0.0.0/8"`}
	fractional = []string{`"1500m"`, `"0.5"`, `"1n"`, `"1.5Ki"`, `"1.0001Gi"`, `"100m"`, `"2"`}
	items      = []string{`[{"key":"a","path":"p"},{"key":"b","path":"p/q"}]`, `[{"key":"a","path":"p/"},{"key":"b","path":"p"},{"key":"c","path":"p"}]`, `[{"key":"a","path":"p"},{"key":"b","path":"pq"}]`}
)

func terms(wrap func(string) string) []string {
	var out []string
	for _, label := range deprecatedLabels {
		out = append(out, wrap(`{"matchExpressions":[{"key":"`+label+`","operator":"In","values":["x","a b","`+strings.Repeat("y", 64)+`"]},{"key":"`+label+`","operator":"Exists"}]}`))
		out = append(out, wrap(`{"matchExpressions":[{"key":"`+label+`","operator":"Exists"}]}`))
	}
	return out
}

func plain(s string) string { return s }

func labels(path string) []provocation {
	var out []provocation
	for _, label := range deprecatedLabels {
		out = append(out, provocation{path + " " + label, []string{`"x"`, `""`}})
	}
	return out
}

var ofPods = append(labels("spec nodeSelector"), []provocation{
	{"spec affinity nodeAffinity " + required + " nodeSelectorTerms +", terms(plain)},
	{"spec affinity nodeAffinity " + preferred + " +", terms(func(t string) string { return `{"weight":1,"preference":` + t + `}` })},
	{"spec affinity podAffinity " + required + " +", []string{`{"topologyKey":"z"}`, `{"topologyKey":"z","labelSelector":{}}`}},
	{"spec affinity podAffinity " + preferred + " +", []string{`{"weight":1,"podAffinityTerm":{"topologyKey":"z"}}`}},
	{"spec affinity podAntiAffinity " + required + " +", []string{`{"topologyKey":"z"}`}},
	{"spec affinity podAntiAffinity " + preferred + " +", []string{`{"weight":2,"podAffinityTerm":{"topologyKey":"z"}}`}},
	{"spec topologySpreadConstraints +", []string{`{"maxSkew":1,"topologyKey":"beta.kubernetes.io/os","whenUnsatisfiable":"DoNotSchedule"}`, `{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"ScheduleAnyway"}`}},
	{"metadata annotations scheduler.alpha.kubernetes.io/critical-pod", []string{`""`}},
	{"metadata annotations security.alpha.kubernetes.io/sysctls", []string{`"a=b"`}},
	{"metadata annotations security.alpha.kubernetes.io/unsafe-sysctls", []string{`"a=b"`}},
	{"metadata annotations seccomp.security.alpha.kubernetes.io/pod", []string{`"runtime/default"`}},
	{"metadata annotations container.seccomp.security.alpha.kubernetes.io/$", []string{`"runtime/default"`, `"unconfined"`}},
	{"metadata annotations container.apparmor.security.beta.kubernetes.io/$", []string{`"runtime/default"`, `"unconfined"`, `"localhost/x"`, `"localhost/"`, `"odd"`}},
	{"spec securityContext appArmorProfile", []string{`{"type":"Unconfined"}`, `{"type":"RuntimeDefault"}`, `{"type":"Localhost","localhostProfile":"x"}`}},
	{"spec securityContext seccompProfile", []string{`{"type":"RuntimeDefault"}`}},
	{"spec volumes +", []string{`{"name":"v1","gitRepo":{"repository":"x"}}`, `{"name":"v2","rbd":{"monitors":["a"],"image":"i"}}`, `{"name":"v3","cephfs":{"monitors":["a"]}}`, `{"name":"v4","glusterfs":{"endpoints":"e","path":"p"}}`,
		`{"name":"v5","scaleIO":{"gateway":"g","system":"s","volumeName":"v","secretRef":{"name":"s"}}}`, `{"name":"v6","storageos":{"volumeName":"v"}}`, `{"name":"v7","flocker":{"datasetName":"d"}}`, `{"name":"v8","quobyte":{"registry":"h:1","volume":"v"}}`, `{"name":"v9","photonPersistentDisk":{"pdID":"p"}}`,
		`{"name":"v10","ephemeral":{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1500m"},"limits":{"storage":"2500m"}}}}}}`}},
	{"spec volumes +", configured()},
	{"spec volumes +", []string{`{"name":"w5","projected":{"sources":[{}]}}`, `{"name":"w6","projected":{"sources":[{"serviceAccountToken":{"path":"p"}},{"configMap":{"name":"c","items":[{"key":"a","path":"p/q"}]}},{"secret":{"name":"s","items":[{"key":"a","path":"p/"}]}},{"downwardAPI":{"items":[{"path":"p/q/r","fieldRef":{"fieldPath":"metadata.name"}}]}}]}}`,
		`{"name":"w7","projected":{"sources":[{"clusterTrustBundle":{"name":"b","path":"p"}},{"serviceAccountToken":{"path":"p"}}]}}`}},
	{"spec hostAliases +", append(hosts(), `{"ip":"1.2.3.4","hostnames":["h"]}`)},
	{"spec hostAliases", []string{`[{"ip":"1.2.3.4","hostnames":["h"]},{"ip":"1.2.3.4","hostnames":["h"]}]`}},
	{"spec imagePullSecrets +", []string{`{"name":"s"}`, `{}`}},
	{"spec imagePullSecrets", []string{`[{"name":"s"},{"name":"t"},{"name":"s"}]`, `[{},{}]`}},
	{"spec overhead memory", fractional},
	{"spec overhead ephemeral-storage", fractional},
	{"spec containers * resources limits memory", fractional},
	{"spec containers * resources requests memory", fractional},
	{"spec containers * resources limits ephemeral-storage", fractional},
	{"spec initContainers * resources requests ephemeral-storage", fractional},
	{"spec containers * env +", []string{`{"name":"A","value":"x"}`, `{"name":"A","value":"$(A)y"}`, `{"name":"A","value":"$(A)"}`, `{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}`, `{"name":"B"}`}},
	{"spec containers * env", []string{`[{"name":"A","value":"x"},{"name":"A","value":"$(A)y"},{"name":"A","value":"$(A)"},{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]`}},
	{"spec containers * ports +", ports},
	{"spec containers * ports +", ports},
	{"spec initContainers * ports +", ports},
	{"spec containers +", []string{`{"name":"more","image":"i","ports":[{"containerPort":80},{"containerPort":80,"name":"http"},{"containerPort":81,"name":"http"}]}`}},
	{"spec initContainers +", []string{`{"name":"first","image":"i","restartPolicy":"Always","ports":[{"containerPort":80,"name":"http"}]}`}},
	{"spec terminationGracePeriodSeconds", []string{"-1"}},
	{"spec dnsConfig nameservers +", oddIPs},
}...)

var ports = []string{`{"containerPort":80,"name":"http"}`, `{"containerPort":80}`, `{"containerPort":80,"hostIP":"10.0.0.1"}`, `{"containerPort":80,"hostPort":80,"hostIP":"10.0.0.1"}`, `{"containerPort":80,"hostPort":80}`, `{"containerPort":80,"hostPort":81}`, `{"containerPort":80,"protocol":"UDP"}`, `{"containerPort":81,"name":"http"}`}

func configured() []string {
	var out []string
	for _, list := range items {
		out = append(out, `{"name":"w1","configMap":{"name":"c","items":`+list+`}}`, `{"name":"w2","secret":{"secretName":"s","items":`+list+`}}`,
			`{"name":"w3","projected":{"sources":[{"configMap":{"name":"c","items":`+list+`}},{"secret":{"name":"s","items":`+list+`}}]}}`,
			`{"name":"w4","downwardAPI":{"items":[{"path":"a","fieldRef":{"fieldPath":"metadata.name"}},{"path":"a/b","fieldRef":{"fieldPath":"metadata.name"}}]}}`)
	}
	return out
}

func hosts() []string {
	var out []string
	for _, ip := range oddIPs {
		out = append(out, `{"ip":`+ip+`,"hostnames":["h"]}`)
	}
	return out
}

func each(before string, values []string, after string) []string {
	var out []string
	for _, v := range values {
		out = append(out, before+v+after)
	}
	return out
}

var template = map[string]string{"Pod": "", "PodTemplate": "template ", "ReplicationController": "spec template ", "Deployment": "spec template ", "StatefulSet": "spec template ",
	"DaemonSet": "spec template ", "ReplicaSet": "spec template ", "Job": "spec template ", "CronJob": "spec jobTemplate spec template "}

var jobs = []provocation{{"completionMode", []string{`"Indexed"`}}, {"completions", []string{"100001", "200000"}}, {"parallelism", []string{"10001", "10000"}}}

var provocations = map[string][]provocation{
	"Job":         prefixed("spec ", jobs),
	"CronJob":     append(prefixed("spec jobTemplate spec ", jobs), provocation{"spec schedule", []string{`"TZ=UTC * * * * *"`, `"CRON_TZ=UTC 0 * * * *"`}}),
	"StatefulSet": {{"spec volumeClaimTemplates * spec resources requests storage", fractional}, {"spec volumeClaimTemplates * spec resources limits storage", fractional}, {"spec revisionHistoryLimit", []string{"-1"}}},
	"Pod":         {{"status podIPs +", each(`{"ip":`, oddIPs, `}`)}, {"status hostIPs +", each(`{"ip":`, oddIPs, `}`)}},
	"Service": {{"metadata annotations service.kubernetes.io/topology-aware-hints", []string{`"auto"`}}, {"spec externalIPs +", oddIPs}, {"spec externalIPs +", oddIPs}, {"spec clusterIP", []string{`"None"`, `""`}}, {"spec clusterIPs +", oddIPs},
		{"spec loadBalancerIP", oddIPs}, {"spec loadBalancerSourceRanges +", oddCIDRs}, {"spec type", []string{`"ExternalName"`, `"ClusterIP"`, `"LoadBalancer"`}}, {"spec externalName", []string{`"example.com"`}}, {"spec sessionAffinity", []string{`"ClientIP"`}},
		{"spec trafficDistribution", []string{`"PreferClose"`, `"PreferSameZone"`}}, {"status loadBalancer ingress +", each(`{"ip":`, oddIPs, `}`)}},
	"Ingress":               {{"metadata annotations kubernetes.io/ingress.class", []string{`"x"`}}, {"status loadBalancer ingress +", each(`{"ip":`, oddIPs, `}`)}},
	"PersistentVolume":      {{"metadata annotations volume.beta.kubernetes.io/storage-class", []string{`"x"`}}, {"metadata annotations volume.beta.kubernetes.io/mount-options", []string{`"ro"`}}, {"spec persistentVolumeReclaimPolicy", []string{`"Recycle"`}}, {"spec nodeAffinity required nodeSelectorTerms +", terms(plain)}, {"spec", volumes()}},
	"PersistentVolumeClaim": {{"metadata annotations volume.beta.kubernetes.io/storage-class", []string{`"x"`}}, {"spec resources requests storage", fractional}, {"spec resources limits storage", fractional}},
	"Node":                  {{"spec configSource", []string{`{"configMap":{"namespace":"n","name":"c","uid":"u","kubeletConfigKey":"k"}}`}}, {"spec externalID", []string{`"x"`}}, {"spec podCIDRs +", oddCIDRs}, {"spec podCIDR", oddCIDRs}},
	"NetworkPolicy": {{"spec ingress +", each(`{"from":[{"ipBlock":{"cidr":`, oddCIDRs, `}}]}`)}, {"spec egress +", each(`{"to":[{"podSelector":{}},{"ipBlock":{"cidr":`, oddCIDRs, `}}]}`)},
		{"spec egress +", each(`{"to":[{"ipBlock":{"cidr":"::/0","except":[`, oddCIDRs, `]}}]}`)}, {"spec ingress +", each(`{"from":[{"ipBlock":{"cidr":"::/0","except":["fd00::/64",`, oddCIDRs, `]}}]}`)}},
	"Endpoints": {{"subsets +", each(`{"addresses":[{"ip":`, oddIPs, `}],"ports":[{"port":1}]}`)}, {"subsets +", each(`{"notReadyAddresses":[{"ip":`, oddIPs, `}],"ports":[{"port":1}]}`)}, {"metadata labels endpoints.kubernetes.io/managed-by", []string{`"endpoint-controller"`, `"x"`}}},
	"EndpointSlice": {{"endpoints +", each(`{"addresses":[`, oddIPs, `]}`)}, {"addressType", []string{`"FQDN"`, `"IPv6"`, `"IPv4"`}}, {"endpoints", []string{`[{"addresses":["a.example.com"]}]`, `[{"addresses":["fd00:0::1"]}]`}},
		{"metadata labels endpointslice.kubernetes.io/managed-by", []string{`"endpointslice-controller.k8s.io"`, `"endpointslicemirroring-controller.k8s.io"`, `"x"`}}},
	"ResourceQuota": {{"spec hard cpu", []string{`"3"`, `"500m"`}}, {"spec hard requests.cpu", []string{`"3"`, `"500m"`}}, {"spec hard limits.cpu", []string{`"1"`, `"400m"`}}, {"spec hard memory", []string{`"3Gi"`}}, {"spec hard limits.memory", []string{`"1Gi"`, `"5Gi"`}},
		{"spec hard requests.storage", []string{`"3Gi"`}}, {"spec hard limits.storage", []string{`"1Gi"`}}, {"spec hard requests.ephemeral-storage", []string{`"3Gi"`}}, {"spec hard limits.ephemeral-storage", []string{`"1Gi"`}}},
	"ServiceAccount":     {{"metadata annotations kubernetes.io/enforce-mountable-secrets", []string{`"true"`}}},
	"RuntimeClass":       labels("scheduling nodeSelector"),
	"StorageClass":       {{"allowedTopologies +", each(`{"matchLabelExpressions":[{"key":"`, deprecatedLabels, `","values":["a"]}]}`)}},
	"CSIStorageCapacity": append(labels("nodeTopology matchLabels"), provocation{"nodeTopology matchExpressions +", each(`{"key":"`, deprecatedLabels, `","operator":"Exists"}`)}),
	"CSIDriver":          {{"spec tokenRequests", []string{`[{"audience":"a"}]`, `[{"audience":"b","expirationSeconds":3600}]`}}, {"spec serviceAccountTokenInSecrets", []string{"true", "null"}}},
	"ResourceSlice":      {{"spec driver", []string{`"GPU.example.com"`}}},
	"Secret":             {{"type", []string{`"kubernetes.io/tls"`}}, {"data", pairs}},
}

// Certificates, keys and what is taken for them, of TLS secrets.
var pairs = []string{`{"tls.crt":"","tls.key":""}`, `{"tls.crt":"eA==","tls.key":"eA=="}`, pair("PRIVATE KEY", "CERTIFICATE"), pair("EC PRIVATE KEY", "CERTIFICATE"), pair("A B", "PRIVATE KEY"), pair("CERTIFICATE", "CERTIFICATE"), pair("CERTIFICATE", "A"),
	pair("CERTIFICATE", "APRIVATE KEY"), pair("CERTIFICATE", "PRIVATE KEY")}

func pair(certificate, key string) string {
	block := func(kind string) []byte {
		return []byte("-----BEGIN " + kind + "-----\neA==\n-----END " + kind + "-----\n")
	}
	out, err := json.Marshal(map[string][]byte{"tls.crt": block(certificate), "tls.key": block(key)})
	must(err)
	return string(out)
}

func volumes() []string {
	var out []string
	for _, source := range []string{`"cephfs":{"monitors":["a"]}`, `"photonPersistentDisk":{"pdID":"p"}`, `"scaleIO":{"gateway":"g","system":"s","volumeName":"v","secretRef":{"name":"s"}}`, `"storageos":{"volumeName":"v"}`, `"glusterfs":{"endpoints":"e","path":"p"}`, `"rbd":{"monitors":["a"],"image":"i"}`} {
		out = append(out, `{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],`+source+`}`)
	}
	return out
}

func prefixed(prefix string, list []provocation) []provocation {
	var out []provocation
	for _, p := range list {
		out = append(out, provocation{prefix + p.path, p.values})
	}
	return out
}

// Puts into an object what upstream warns of, in a few places.
func provoke(object map[string]any, k *kind, r *rand.Rand) {
	list := provocations[k.gvk.Kind]
	if prefix, ok := template[k.gvk.Kind]; ok {
		list = append(prefixed(prefix, ofPods), list...)
	}
	if strings.HasSuffix(k.gvk.Group, "admissionregistration.k8s.io") && r.Intn(4) == 0 {
		put(object, []string{"metadata", "name"}, "x.static.k8s.io", r)
	}
	if len(list) == 0 {
		return
	}
	for i := 0; i <= r.Intn(5); i++ {
		p := list[r.Intn(len(list))]
		var value any
		must(json.Unmarshal([]byte(p.values[r.Intn(len(p.values))]), &value))
		path := strings.Split(p.path, " ")
		if last := path[len(path)-1]; strings.HasSuffix(last, "$") {
			path[len(path)-1] = strings.TrimSuffix(last, "$") + containerOf(object, path[:len(path)-3], r)
		}
		put(object, path, value, r)
	}
}

// The name of a container of the pod, or of the template, at the path.
func containerOf(object any, path []string, r *rand.Rand) string {
	for _, key := range append(append([]string{}, path...), "spec", []string{"containers", "initContainers"}[r.Intn(2)]) {
		m, _ := object.(map[string]any)
		object = m[key]
	}
	if list, ok := object.([]any); ok && len(list) > 0 {
		if m, ok := list[r.Intn(len(list))].(map[string]any); ok {
			if name, ok := m["name"].(string); ok {
				return name
			}
		}
	}
	return "c"
}

func put(v any, path []string, value any, r *rand.Rand) any {
	if len(path) == 0 {
		return value
	}
	switch path[0] {
	case "+":
		list, _ := v.([]any)
		return append(append([]any{}, list...), value)
	case "*":
		list, _ := v.([]any)
		if len(list) > 0 {
			i := r.Intn(len(list))
			list[i] = put(list[i], path[1:], value, r)
		}
		if list == nil {
			return nil
		}
		return list
	}
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	if value := put(m[path[0]], path[1:], value, r); value != nil {
		m[path[0]] = value
	} else {
		delete(m, path[0])
	}
	return m
}
