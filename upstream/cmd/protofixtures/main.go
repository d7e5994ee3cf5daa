// protofixtures records what upstream's own types look like in JSON and in protobuf, two objects
// of every kind, one with all fields set and one with few: a line holds the JSON, a tab, and the protobuf in base64.
//
//	go run ./cmd/protofixtures > ../crates/model/tests/fixtures/proto.txt
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/randfill"
)

func main() {
	s := scheme.Scheme
	must(apiextensions.AddToScheme(s))
	must(apiregistration.AddToScheme(s))
	codec := protobuf.NewSerializer(s, s)
	var kinds []schema.GroupVersionKind
	for gvk, t := range s.AllKnownTypes() {
		if served(gvk) && !strings.HasSuffix(t.PkgPath(), "apis/meta/v1") && !strings.HasSuffix(gvk.Kind, "List") {
			kinds = append(kinds, gvk)
		}
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].String() < kinds[j].String() })
	kinds = append(kinds, metav1.Unversioned.WithKind("Status"), metav1.Unversioned.WithKind("DeleteOptions"),
		schema.GroupVersionKind{Version: "v1", Kind: "PodList"}, schema.GroupVersionKind{Version: "v1", Kind: "List"})
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, gvk := range kinds {
		for _, f := range []*randfill.Filler{
			filler().NilChance(0).NumElements(1, 1),
			filler().NilChance(0.7).NumElements(0, 2),
		} {
			obj, err := s.New(gvk)
			must(err)
			f.Fill(obj)
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			line(out, codec, obj)
		}
	}
}

func line(out *bufio.Writer, codec runtime.Serializer, obj runtime.Object) {
	var wire bytes.Buffer
	if err := codec.Encode(obj, &wire); err != nil {
		fmt.Fprintln(os.Stderr, "no protobuf:", obj.GetObjectKind().GroupVersionKind(), err)
		return
	}
	// Protobuf does not tell empty from absent: the JSON is that of what it kept.
	kept, _, err := codec.Decode(wire.Bytes(), nil, nil)
	must(err)
	text, err := json.Marshal(kept)
	must(err)
	fmt.Fprintf(out, "%s\t%s\n", text, base64.StdEncoding.EncodeToString(wire.Bytes()))
}

// What any version from 1.28 on serves without being asked for more.
func served(gvk schema.GroupVersionKind) bool {
	switch gvk.Version {
	case "v1":
		return gvk.Group != "imagepolicy.k8s.io"
	case "v2":
		return gvk.Group == "autoscaling"
	}
	return false
}

func filler() *randfill.Filler {
	depth := 0
	return randfill.NewWithSeed(7).MaxDepth(40).Funcs(
		// Protobuf has no place for the kind of an inner object.
		func(t *metav1.TypeMeta, c randfill.Continue) {},
		func(s *string, c randfill.Continue) {
			if *s = fmt.Sprintf("s%d", c.Int31n(1000)); c.Int31n(8) == 0 {
				*s = ""
			}
		},
		func(i *int32, c randfill.Continue) { *i = c.Int31n(100) - 20 },
		func(i *int64, c randfill.Continue) { *i = c.Int63n(1<<40) - 20 },
		func(f *float64, c randfill.Continue) { *f = float64(c.Int31n(1000)) / 8 },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"100m", "2", "128Mi", "1e3", "1500u", "7Gi"}[c.Intn(6)])
			_ = q.String()
		},
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(c.Int63n(2e9), 0).UTC() },
		func(t *metav1.MicroTime, c randfill.Continue) {
			t.Time = time.Unix(c.Int63n(2e9), 1000*c.Int63n(1e6)).UTC()
		},
		func(d *metav1.Duration, c randfill.Continue) { d.Duration = time.Duration(c.Int63n(1e13)) },
		func(i *intstr.IntOrString, c randfill.Continue) {
			if c.Bool() {
				*i = intstr.FromInt32(c.Int31n(100))
			} else {
				*i = intstr.FromString("25%")
			}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) { f.Raw = []byte(`{"f:a":{"f:b":{}}}`) },
		func(r *runtime.RawExtension, c randfill.Continue) {
			r.Raw = []byte(`{"apiVersion":"v1","kind":"X","n":1}`)
		},
		func(j *apiextensions.JSON, c randfill.Continue) { j.Raw = []byte(`{"a":[1,"x",null]}`) },
		func(p *apiextensions.JSONSchemaProps, c randfill.Continue) {
			// Recursive: fill two levels, then stop.
			if depth >= 2 {
				p.Type = "string"
				return
			}
			depth++
			c.FillNoCustom(p)
			depth--
		},
		func(p *apiextensions.JSONSchemaPropsOrBool, c randfill.Continue) {
			if p.Allows = true; c.Bool() {
				p.Schema = &apiextensions.JSONSchemaProps{Type: "integer"}
			}
		},
		func(p *apiextensions.JSONSchemaPropsOrArray, c randfill.Continue) {
			if c.Bool() {
				p.Schema = &apiextensions.JSONSchemaProps{Type: "integer"}
			} else {
				p.JSONSchemas = []apiextensions.JSONSchemaProps{{Type: "integer"}, {Type: "string"}}
			}
		},
		func(p *apiextensions.JSONSchemaPropsOrStringArray, c randfill.Continue) {
			p.Property = []string{"a", "b"}
		},
	).RandSource(rand.NewSource(7))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
