package main

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"

	"freehold.dev/upstream/internal/kinds"
	"freehold.dev/upstream/internal/random"
)

// Values that upstream accepted in a field, by `Struct.field`: most of them fit there again.
type harvest map[string][]any

func (h harvest) add(key string, v any, r *rand.Rand) {
	list := h[key]
	if len(list) < 30 {
		h[key] = append(list, v)
	} else {
		list[r.Intn(len(list))] = v
	}
}

// Remembers the scalars of a good object.
func (h harvest) learn(v any, t reflect.Type, key string, r *rand.Rand) {
	t = deref(t)
	if leaves[t] != "" {
		h.add(key, v, r)
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range random.Keys(x) {
			switch t.Kind() {
			case reflect.Struct:
				if f := fieldOf(t, k); f != nil {
					h.learn(x[k], f.t, f.owner+"."+k, r)
				}
			case reflect.Map:
				h.add(key+"[]", k, r)
				h.learn(x[k], t.Elem(), key, r)
			}
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for _, item := range x {
				h.learn(item, t.Elem(), key, r)
			}
		}
	case nil:
	default:
		h.add(key, v, r)
	}
}

var junk = []string{
	"", "A_b", strings.Repeat("x", 64), strings.Repeat("x", 254), "a.b", "-x", "10.0.0.300", "10.0.0.1", "fe80::1", "é",
	"a/b/c", "a/b", "*", "../x", "/x", "0", "100m", "-1", "200%", "50%", "10.0.0.0/33", "10.0.0.1/8", "None", "Never", "Always",
	"a=b", "x y", " ", "a..b", "example.com/", "/b", "kubernetes.io/x", "Ab.c/d", "$(A)", "metadata.name", "[::1]", "a,b", "\n",
	"010.0.0.1", "::ffff:10.0.0.1", "192.168.0.0/16", "2001:db8::/32", "http://x", "https://example.com/a?b", "a:b", "x-", "9a", "_a", "..a", "..", ".",
}

// By a word in the name of the field.
var hints = []struct {
	part   string
	values []string
}{
	{"expression", []string{"true", "object.metadata.name == 'a'", "1", "object.x +", "device.driver == 'x'", "'a' + object.metadata.name", "self.a > 1"}},
	{"cidr", []string{"10.0.0.0/8", "10.1.0.0/16", "fd00::/112", "10.0.0.1/8", "10.0.0.0/33", "0.0.0.0/0", "::/0", "010.0.0.0/8"}},
	{"ip", []string{"10.0.0.10", "10.0.0.11", "fd00::1", "None", "127.0.0.1", "169.254.0.1", "224.0.0.1", "::", "0.0.0.0", "FD00::1", "fd00:0::1"}},
	{"path", []string{"/x", "/a/b", "a/b", "../x", "/a/../b", "a/..", "/", ".spec.a", "$.spec", "/a//b", "a:b"}},
	{"port", []string{"http", "m", "a-b", "a--b", "x-", strings.Repeat("a", 16), "80"}},
	{"key", []string{"app", "a", "example.com/tier", "kubernetes.io/hostname", "a b", "metadata.name", "node.kubernetes.io/not-ready"}},
	{"topology", []string{"zone", "kubernetes.io/hostname", "a b"}},
	{"mode", []string{"ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod", "Block", "Filesystem", "Immediate", "Indexed", "NonIndexed", "Background", "IPTables"}},
	{"policy", []string{"Cluster", "Local", "SingleStack", "RequireDualStack", "PreferDualStack", "Always", "Never", "OnFailure", "OrderedReady", "Parallel", "Retain", "Delete", "Recycle", "Fail", "Ignore", "Default", "ClusterFirst", "None", "Recreate", "Serial", "File"}},
	{"operator", []string{"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Equal"}},
	{"effect", []string{"NoSchedule", "NoExecute", "PreferNoSchedule", ""}},
	{"type", []string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "RollingUpdate", "OnDelete", "Recreate", "Directory", "File", "Container", "Pod", "PersistentVolumeClaim", "Opaque", "kubernetes.io/dockerconfigjson", "kubernetes.io/ssh-auth", "kubernetes.io/service-account-token", "Pods", "Percent", "Utilization", "Value", "AverageValue", "Resource", "External", "Object", "string", "integer", "object", "array", "boolean", "number", "Localhost", "Unconfined", "RuntimeDefault", "IPv4", "IPv6", "FQDN", "Complete", "Failed", "Queue", "Reject", "Limited", "Exempt"}},
	{"kind", []string{"Pod", "Deployment", "ConfigMap", "User", "Group", "ServiceAccount", "Role", "ClusterRole", "PersistentVolumeClaim", "VolumeSnapshot", "Event"}},
	{"group", []string{"", "apps", "rbac.authorization.k8s.io", "example.com", "snapshot.storage.k8s.io", "*", "A"}},
	{"version", []string{"v1", "v1beta1", "apps/v1", "*", "a/b/c"}},
	{"namespace", []string{"ns", "default", "other", "A"}},
	{"schedule", []string{"* * * * *", "@hourly", "*/5 * * * *", "0 0 31 2 *", "a b c", "TZ=UTC * * * * *", "@every 1h", "60 * * * *", "CRON_TZ=UTC * * * * *", "1-5/2 * * * MON-FRI"}},
	{"zone", []string{"Etc/UTC", "UTC", "Local", "Europe/Berlin", "Nowhere", "etc/utc"}},
	{"host", []string{"a.example.com", "*.example.com", "A", "10.0.0.1", "*", "a..b", "h"}},
	{"image", []string{"nginx:1", "nginx", " nginx", "a/b@sha256:x", ""}},
	{"url", []string{"https://example.com/x", "http://example.com", "https://u:p@example.com", "https://example.com?a=b", "https://example.com#a", "x", "/healthz", "/x/*", "*", "x*"}},
	{"reason", []string{"Invalid", "Forbidden", "Unauthorized", "RequestEntityTooLarge", "Other", "FieldValueInvalid", "a b"}},
	{"signer", []string{"example.com/signer", "kubernetes.io/kube-apiserver-client", "kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown", "x", "example.com/*"}},
	{"scope", []string{"Namespaced", "Cluster", "*", "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass", "Namespace"}},
	{"resource", []string{"pods", "pods/*", "*", "*/*", "cpu", "memory", "storage", "limits.cpu", "requests.memory", "hugepages-2Mi", "ephemeral-storage", "example.com/gpu", "pods/status"}},
	{"verb", []string{"get", "*", "list", ""}},
	{"finalizer", []string{"kubernetes", "example.com/f", "orphan", "foregroundDeletion", "x", "a b"}},
	{"user", []string{"system:x", "0", "ContainerUser"}},
	{"driver", []string{"d.example.com", "gpu.example.com", "A", "x/y"}},
	{"status", []string{"True", "False", "Unknown", "Bound", "Available", "Running", "x"}},
	{"phase", []string{"Bound", "Pending", "Active", "Terminating", "Running", "Succeeded", "Failed", "x"}},
	{"name", []string{"app", "a", "x-1", "data", "conf", "side", "init", "http", "p", "svc", "sa", "Web", "my.name", "a_b", "system:x", "cpu", "memory"}},
}

// What fits into some fields, most of it, by field.
var expressions = map[string][]string{
	"ApplyConfiguration.expression": {
		"Object{}", "Object{metadata: Object.metadata{labels: {'a': 'b'}}}", "Object.spec{}", "Object{spec: {'a': 1}}", "object", "{'a': 1}",
		"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'c'}]}}}}",
		"has(object.spec) ? Object{} : Object{metadata: Object.metadata{}}", "has(object.spec) ? Object{} : object", "[Object{}]", "JSONPatch{}",
		"Object{spec: Object.spec{replicas: variables.v}}", "Object{spec: Object.spec{?replicas: object.?spec.replicas}}", "Other{}", "Object.{}", "Objects{}",
		"Object{metadata: Object.metadata{name: params.name}}", "Object{a: authorizer.group('').resource('pods').check('get').allowed()}", "Object{a: 1, a: 2}",
		"Object{metadata: 1}.metadata == 1 ? Object{} : Object{}", "dyn(Object{})", "Object{a: Object.b{c: 1 + 'x'}}", " Object{} ", "Object", "type(Object{}) == Object",
		"[Object{}, Object{}][0]", "[1, 2].map(x, Object{a: x})[0]", "Object{a: JSONPatch{op: 'add'}}", "Object{}.a.b.c", "Object{a: ip('1.2.3.4')}", "Object {\n  spec: Object.spec {\n x\n }\n}",
	},
	"JSONPatch.expression": {
		"[]", "[JSONPatch{op: 'add', path: '/a', value: 1}]", "[JSONPatch{}]", "[JSONPatch{op: 1}]", "[JSONPatch{other: 'x'}]", "JSONPatch{}", "[1]", "[JSONPatch{}, 1]",
		"[JSONPatch{op: 'move', from: '/a', path: '/b'}]", "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('a/b'), value: Object.a{b: 1}}]",
		"object.spec.a.map(x, JSONPatch{op: 'remove', path: '/a'})", "variables.v == 1 ? [JSONPatch{op: 'remove', path: '/a'}] : []", "[JSONPatch{op: 'test', value: null}]",
		"[JSONPatch{value: [1, 'a', {}]}] + [JSONPatch{}]", "[Object{}]", "[JSONPatch{op: object.x}]", "dyn([JSONPatch{}])", "[JSONPatch{op: 'add', path: '/x', value: {'a': 1}}].filter(x, true)",
		"[JSONPatch{op: 'add'}.op]", "[JSONPatch{op: 'add'}].map(p, p.path)", "[JSONPatch{op: 'add'}].map(p, p.nope)", "jsonpatch.escapeKey(1)", "[?optional.of(JSONPatch{})]", "[JSONPatch.x{}]", "[JSONPatch{?op: optional.none()}]", "JSONPatch",
	},
	"PodOS.name":     {"linux", "windows", "x"},
	"Condition.type": {"Issued", "Denied", "Failed", "Ready"},
	"PodCertificateRequestStatus.certificateChain": {kinds.Anchors, kinds.Anchors + kinds.Anchors, "x", kinds.Anchors + "-----BEGIN X-----\n-----END X-----\n"},
	"CELDeviceSelector.expression": {
		"device.driver == 'x'", "device.attributes['example.com'].model == 'a'", "device.attributes['example.com'].index > 1", "device.capacity['example.com'].memory.compareTo(quantity('1Gi')) >= 0",
		"device.capacity['example.com'].memory.isGreaterThan(quantity('1Gi'))", "device.attributes['a'].v.isGreaterThan(semver('1.0.0'))", "device.x == 1", "device", "device.allowMultipleAllocations",
		"device.driver", "1", "true", "device.driver == 1", "device.attributes['a'] == {}", "'model' in device.attributes['a']", "has(device.attributes['a'].b)", "device.attributes.exists(d, d == 'a')",
		"device.driver.matches('[')", "device.driver.matches('^a+$')", "cel.bind(d, device.attributes['example.com'], d.a == 1 && d.b == 's')", "object.a == 1", "device.attributes['a'].b.c == 1",
		"device.attributes['a'].map(x, x == 'b').all(y, y)", "device.capacity['a']['b'] == quantity('1')", "device.capacity['a'].b > 1", "device.capacity[1].b == quantity('1')", "semver('1.2.3').isLessThan(device.attributes['a'].b)",
		"device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a == b && c == d))))", "device.driver.startsWith('g') && device.driver.size() < 5", "device.attributes['a'].b.orValue(1)", "device.attributes[?'a'].hasValue()", "device.?driver.orValue('x') == 'y'",
	},
}

var quantities = []any{"1", "0", "100m", "1Gi", "2Gi", "-1", "1.5", "512Mi", "1e3", "0.5m", "1n", "10", "7Ei", 1.0, 2.5, "500m", "2", "3", "x", "", "+1", "1e-3", "9223372036854775"}

var resources = []string{"cpu", "memory", "ephemeral-storage", "storage", "hugepages-2Mi", "hugepages-1Gi", "example.com/gpu", "requests.cpu", "limits.memory", "pods", "count/deployments.apps", "requests.storage", "kubernetes.io/x", "x", "services.nodeports", "fast.storageclass.storage.k8s.io/requests.storage", "requests.hugepages-2Mi", "attachable-volumes-x", "a b", "requests.example.com/gpu"}

var numbers = []float64{-1, 0, 1, 2, 3, 5, 10, 30, 80, 100, 101, 255, 256, 420, 511, 512, 600, 3600, 30000, 32767, 65535, 65536, 100000, 2147483647, -2147483648, 2147483648, 1e9, 1e10, 9007199254740993}

var times = []any{"2024-01-01T00:00:00Z", "2023-11-14T22:13:20Z", "2024-01-01T00:00:00+01:00", nil, "2031-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z", "2023-11-14T23:13:20Z", "2023-11-14T22:33:20Z", "x", ""}

// The strings of an object: what refers to something finds it.
type generator struct {
	r     *rand.Rand
	known harvest
	local []string
}

func (g *generator) text(name, key string, enum []string) string {
	r := g.r
	if list := expressions[key]; len(list) > 0 && r.Intn(10) < 7 {
		return list[r.Intn(len(list))]
	}
	if len(enum) > 0 && r.Intn(10) < 7 {
		return enum[r.Intn(len(enum))]
	}
	switch n := r.Intn(20); {
	case n < 8:
		if list := g.known[key]; len(list) > 0 {
			if s, ok := list[r.Intn(len(list))].(string); ok {
				return s
			}
		}
		fallthrough
	case n < 13:
		lower := strings.ToLower(name)
		for _, h := range hints {
			if strings.Contains(lower, h.part) {
				return h.values[r.Intn(len(h.values))]
			}
		}
		fallthrough
	case n < 17:
		if len(g.local) > 0 {
			return g.local[r.Intn(len(g.local))]
		}
		fallthrough
	case n < 18:
		return []string{"a", "b", "x", "abc", "example.com/x", "1"}[r.Intn(6)]
	default:
		return junk[r.Intn(len(junk))]
	}
}

// A value of a type: mostly one that is fine there.
func (g *generator) value(t reflect.Type, name, key string, enum []string, depth int) any {
	t = deref(t)
	r := g.r
	if leaf := leaves[t]; leaf != "" {
		if list := g.known[key]; len(list) > 0 && r.Intn(3) > 0 {
			return clone(list[r.Intn(len(list))])
		}
		return g.leaf(leaf, name, key, depth)
	}
	switch t.Kind() {
	case reflect.String:
		return g.text(name, key, enum)
	case reflect.Bool:
		return r.Intn(2) == 0
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		if list := g.known[key]; len(list) > 0 && r.Intn(3) == 0 {
			return list[r.Intn(len(list))]
		}
		if r.Intn(3) == 0 {
			return float64(r.Intn(12))
		}
		return numbers[r.Intn(len(numbers)-4*r.Intn(2))]
	case reflect.Float64, reflect.Float32:
		return []float64{0, 1, 1.5, -2}[r.Intn(4)]
	case reflect.Slice:
		list := []any{}
		for i := r.Intn(3); i >= 0 && depth < 8; i-- {
			list = append(list, g.value(t.Elem(), strings.TrimSuffix(name, "s"), key, enum, depth+1))
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for i := r.Intn(3); i >= 0 && depth < 8; i-- {
			m[g.mapKey(t, name, key)] = g.value(t.Elem(), name, key, enum, depth+1)
		}
		return m
	case reflect.Struct:
		return g.structure(t, depth)
	}
	return nil
}

func (g *generator) mapKey(t reflect.Type, name, key string) string {
	if leaves[deref(t.Elem())] == "quantity" && g.r.Intn(4) > 0 {
		return resources[g.r.Intn(len(resources))]
	}
	if list := g.known[key+"[]"]; len(list) > 0 && g.r.Intn(2) == 0 {
		return list[g.r.Intn(len(list))].(string)
	}
	return g.text("key", "", nil)
}

func (g *generator) structure(t reflect.Type, depth int) any {
	list := fieldsOf(t)
	out := map[string]any{}
	// Many optional structs beside each other: one of them is meant.
	var choices []field
	for _, f := range list {
		if f.t.Kind() == reflect.Pointer && deref(f.t).Kind() == reflect.Struct && leaves[deref(f.t)] == "" && !f.always {
			choices = append(choices, f)
		}
	}
	union := len(choices) > 4 || len(choices) > 1 && len(choices)*2 >= len(list)
	if union {
		for i := 0; i < 1+g.r.Intn(12)/11; i++ {
			f := choices[g.r.Intn(len(choices))]
			out[f.json] = g.value(f.t, f.json, f.owner+"."+f.json, f.enum, depth+1)
		}
	}
	for _, f := range list {
		isChoice := union && f.t.Kind() == reflect.Pointer && deref(f.t).Kind() == reflect.Struct && leaves[deref(f.t)] == ""
		if isChoice || f.json == "status" && depth == 0 || f.json == "managedFields" {
			continue
		}
		likely := g.r.Intn(10) < 4-depth/2
		if f.always && g.r.Intn(20) > 0 || likely && depth < 9 {
			out[f.json] = g.value(f.t, f.json, f.owner+"."+f.json, f.enum, depth+1)
		}
	}
	return out
}

func (g *generator) leaf(kind, name, key string, depth int) any {
	r := g.r
	switch kind {
	case "quantity":
		return quantities[r.Intn(len(quantities))]
	case "intorstring":
		if r.Intn(2) == 0 {
			return float64(r.Intn(200) - 20)
		}
		return []any{"25%", "0%", "100%", "101%", "http", "x", "", "1", "-5%", "m", "80"}[r.Intn(11)]
	case "time", "microtime":
		return times[r.Intn(len(times))]
	case "duration":
		return []any{"1s", "5m", "-1s", "x"}[r.Intn(4)]
	case "bytes":
		return []any{"AA==", "", "eA==", "!", "e30="}[r.Intn(5)]
	case "schema":
		return []any{true, false, map[string]any{"type": "string"}, []any{map[string]any{"type": "string"}}}[r.Intn(4)]
	}
	return []any{map[string]any{"a": 1.0}, "x", nil, []any{1.0}, true, map[string]any{}, 1.5}[r.Intn(7)]
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

func strs(v any, out []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range random.Keys(v) {
			out = strs(v[k], out)
		}
	case []any:
		for _, x := range v {
			out = strs(x, out)
		}
	case string:
		if len(v) > 0 && len(v) < 70 {
			out = append(out, v)
		}
	case float64:
		out = append(out, fmt.Sprint(v))
	}
	return out
}
