// Judge writes random requests and what upstream's own code makes of them, one a line, parts between
// tabs. The first part is the sort, the second the kind; then
//
//	default     the object as sent; what decoding and defaulting make of it, or !error
//	proto       an object in JSON; the same in protobuf, base64
//	convert     an object; the same at another version
//	create      an object, prepared by its strategy; errors
//	update      as create, with the object before
//	status      as update, for the status subresource
//	warn        an object that is not refused, the one before or -, the subresource; warnings, a JSON list
//	json, merge, strategic   an object, a patch; the result, or !error
//	apply, applied-status, updated   the live object or -, manager, force, body; the result, or !error
//
// Errors are a JSON list of "reason|field: message". A seed gives the same lines again. The objects
// grow out of good ones (internal/kinds) by mistakes and by additions that the types allow; those that
// upstream accepts are grown further.
//
//	judge -seed N -lines N [-kind K] [-sort S,S]
//
// With -decode it reads protobuf in base64, an object a line, and writes each in JSON, or !error.
//
//	judge -decode < LINES
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"

	"freehold.dev/upstream/internal/kinds"
)

const most = 24 << 10

// A kind and the objects of it that upstream accepted.
type kind struct {
	gvk      schema.GroupVersionKind
	t        reflect.Type
	strategy kinds.Strategy
	// as sent
	good []map[string]any
	// as stored
	stored   []map[string]any
	statuses []any
	applies  *applies
}

type judge struct {
	r     *rand.Rand
	out   *bufio.Writer
	known harvest
	kinds []*kind
	sorts map[string]bool
	lines int
}

// How much more there is to some kinds than to the others.
var weights = map[string]int{
	"Pod": 8, "Service": 5, "Job": 4, "CronJob": 3, "PersistentVolume": 3, "PersistentVolumeClaim": 3, "Deployment": 2, "StatefulSet": 3,
	"DaemonSet": 2, "HorizontalPodAutoscaler": 2, "CustomResourceDefinition": 4, "Ingress": 2, "NetworkPolicy": 2, "Node": 2, "Secret": 2,
}

func main() {
	seed := flag.Int64("seed", 1, "of everything random")
	lines := flag.Int("lines", 1000, "stop after as many")
	only := flag.String("kind", "", "only these kinds, with commas between")
	sorts := flag.String("sort", "", "only these sorts, with commas between")
	read := flag.Bool("decode", false, "read protobuf from standard input and write JSON")
	flag.Parse()
	if *read {
		readProtobuf()
		return
	}
	// It complains on its own account of what it is asked to judge.
	klog.SetLogger(logr.Discard())
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	// Sources of projected volumes that 1.36 drops before it looks at them; 1.37 does not.
	must(utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{
		"ClusterTrustBundle": true, "ClusterTrustBundleProjection": true, "PodCertificateRequest": true,
	}))
	j := &judge{r: rand.New(rand.NewSource(*seed)), out: bufio.NewWriterSize(os.Stdout, 1<<20), known: harvest{}, sorts: map[string]bool{}}
	for _, s := range strings.Split(*sorts, ",") {
		if s != "" {
			j.sorts[s] = true
		}
	}
	for _, seed := range kinds.Seeds {
		j.plant(seed)
	}
	if *only != "" {
		var chosen []*kind
		for _, k := range j.kinds {
			if strings.Contains(","+*only+",", ","+k.gvk.Kind+",") {
				chosen = append(chosen, k)
			}
		}
		j.kinds = chosen
	}
	var deck []*kind
	for _, k := range j.kinds {
		for i := 0; i < max(weights[k.gvk.Kind], 1); i++ {
			deck = append(deck, k)
		}
	}
	for j.lines < *lines {
		j.round(deck[j.r.Intn(len(deck))])
	}
	if err := j.out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (j *judge) plant(seed string) {
	var object map[string]any
	must(json.Unmarshal([]byte(seed), &object))
	gv, err := schema.ParseGroupVersion(object["apiVersion"].(string))
	must(err)
	gvk := gv.WithKind(object["kind"].(string))
	var k *kind
	for _, known := range j.kinds {
		if known.gvk == gvk {
			k = known
		}
	}
	if k == nil {
		typed, err := legacyscheme.Scheme.New(gvk)
		must(err)
		k = &kind{gvk: gvk, t: reflect.TypeOf(typed), strategy: kinds.Of(gvk)}
		j.kinds = append(j.kinds, k)
	}
	j.known.learn(object, k.t, "", j.r)
	stored, errors := k.create(object)
	if len(errors) > 0 {
		panic(fmt.Sprint(gvk, errors))
	}
	k.good, k.stored = append(k.good, object), append(k.stored, stored.tree())
}

// One line; tabs and newlines do not occur in JSON.
func (j *judge) line(sort string, k *kind, parts ...string) {
	if len(j.sorts) > 0 && !j.sorts[sort] {
		return
	}
	// Kinds that this version has as beta only: validation is the same when they are stable.
	if strings.Contains(k.gvk.Version, "beta") && sort != "create" && sort != "update" && sort != "status" {
		return
	}
	j.lines++
	j.out.WriteString(sort)
	j.out.WriteByte('\t')
	j.out.WriteString(k.gvk.Group + "/" + k.gvk.Version + "/" + k.gvk.Kind)
	for _, p := range parts {
		j.out.WriteByte('\t')
		j.out.WriteString(p)
	}
	j.out.WriteByte('\n')
}

// Whether one of these sorts is asked for.
func (j *judge) wants(sorts ...string) bool {
	for _, s := range sorts {
		if j.sorts[s] {
			return true
		}
	}
	return len(j.sorts) == 0
}

// What upstream's code does when it trips: nothing is said of it.
func quietly(do func()) {
	defer func() { _ = recover() }()
	do()
}

func (j *judge) round(k *kind) {
	r := j.r
	i := r.Intn(len(k.good))
	object := clone(k.good[i]).(map[string]any)
	mutate(object, k.t, j.known, r, 1+r.Intn(3))
	if r.Intn(4) == 0 {
		provoke(object, k, r)
	}
	quietly(func() { j.created(k, object) })
	if j.wants("update", "warn") {
		quietly(func() { j.updated(k, i) })
	}
	if k.strategy.Status != nil && j.wants("status", "warn", "applied-status") {
		quietly(func() { j.statusUpdated(k, i) })
	}
	if !j.wants("json", "merge", "strategic", "apply", "applied-status", "updated") {
		return
	}
	other := k.stored[r.Intn(len(k.stored))]
	changed := clone(k.stored[i]).(map[string]any)
	mutate(changed, k.t, j.known, r, 1+r.Intn(4))
	if r.Intn(4) == 0 {
		changed = other
	}
	quietly(func() { j.patched(k, k.stored[i], changed) })
	quietly(func() { j.applied(k, k.stored[i], changed) })
}

func text(v any) string {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	must(e.Encode(v))
	return strings.TrimSpace(out.String())
}
