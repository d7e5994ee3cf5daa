// Apply answers with upstream's own field manager what sequences of applies and updates do.
//
//	apply [-seed N] < LINES     one object a line; a sequence of steps a line
//
// Neighbouring objects of a kind give the material: parts of them are applied and written by
// several managers in turn. The managers know no reset fields: status is a field like any other.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	_ "freehold.dev/upstream/internal/install"
	"freehold.dev/upstream/internal/random"
)

type step struct {
	Op      string          `json:"op"`
	Manager string          `json:"manager"`
	Force   bool            `json:"force,omitempty"`
	Body    json.RawMessage `json:"body"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
}

var serializer = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory,
	legacyscheme.Scheme, legacyscheme.Scheme, jsonserializer.SerializerOptions{})

func main() {
	seed := flag.Int64("seed", 1, "of the random sequences")
	flag.Parse()
	if err := run(rand.New(rand.NewSource(*seed))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(r *rand.Rand) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	var before map[string]any
	converters := map[schema.GroupVersionKind]managedfields.TypeConverter{}
	for lines.Scan() {
		var now map[string]any
		if err := json.Unmarshal(lines.Bytes(), &now); err != nil {
			return err
		}
		if before != nil && before["kind"] == now["kind"] && before["apiVersion"] == now["apiVersion"] {
			gv, _ := schema.ParseGroupVersion(fmt.Sprint(now["apiVersion"]))
			gvk := gv.WithKind(fmt.Sprint(now["kind"]))
			if converters[gvk] == nil {
				converters[gvk] = converter(gvk)
			}
			if c := converters[gvk]; c != nil {
				if err := out.Encode(sequence(gvk, c, before, now, r)); err != nil {
					return err
				}
			}
		}
		before = now
	}
	return lines.Err()
}

func converter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	typed, err := legacyscheme.Scheme.New(gvk)
	if err != nil {
		return nil
	}
	config := genericapiserver.DefaultOpenAPIV3Config(generated.GetOpenAPIDefinitions, openapinamer.NewDefinitionNamer(legacyscheme.Scheme))
	models, err := builder3.BuildOpenAPIDefinitionsForResources(config, openapiutil.GetCanonicalTypeName(typed))
	if err != nil {
		return nil
	}
	c, err := managedfields.NewTypeConverter(models, false)
	if err != nil {
		return nil
	}
	return c
}

func sequence(gvk schema.GroupVersionKind, c managedfields.TypeConverter, a, b map[string]any, r *rand.Rand) []step {
	hub := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
	s := legacyscheme.Scheme
	manager, err := managedfields.NewDefaultFieldManager(c, s, s, s, gvk, hub, "", nil)
	if err != nil {
		return nil
	}
	live, err := s.New(gvk)
	if err != nil {
		return nil
	}
	live.GetObjectKind().SetGroupVersionKind(gvk)
	var steps []step
	for i := 0; i < 6; i++ {
		st := step{Op: "apply", Manager: []string{"m1", "m2", "m3"}[r.Intn(3)], Force: r.Intn(2) == 0}
		if r.Intn(4) == 0 {
			st.Op, st.Force = "update", false
		}
		body := random.Part(a, b, r, 0)
		m := map[string]any{"name": "n"}
		if given, ok := body["metadata"].(map[string]any); ok {
			for _, k := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
				if v, ok := given[k]; ok {
					m[k] = v
				}
			}
		}
		if st.Op == "update" {
			m["uid"] = "u"
		}
		body["metadata"], body["apiVersion"], body["kind"] = m, a["apiVersion"], a["kind"]
		st.Body, _ = json.Marshal(body)
		result, err := perform(manager, st, live, body, gvk)
		if err != nil {
			st.Error = err.Error()
		} else {
			accessor, _ := meta.Accessor(result)
			accessor.SetUID("u")
			live = result
			if st.Result, err = encode(result, gvk); err != nil {
				break
			}
		}
		steps = append(steps, st)
	}
	return steps
}

func perform(manager *managedfields.FieldManager, st step, live runtime.Object, body map[string]any, gvk schema.GroupVersionKind) (out runtime.Object, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if st.Op == "apply" {
		return manager.Apply(live.DeepCopyObject(), &unstructured.Unstructured{Object: runtime.DeepCopyJSON(normal(body))}, st.Manager, st.Force)
	}
	updated, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(st.Body, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return manager.Update(live.DeepCopyObject(), updated, st.Manager)
}

// Numbers as Kubernetes' own decoder reads them.
func normal(v map[string]any) map[string]any {
	in, _ := json.Marshal(v)
	u := &unstructured.Unstructured{}
	_ = u.UnmarshalJSON(in)
	return u.Object
}

func encode(object runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	var out bytes.Buffer
	err := legacyscheme.Codecs.EncoderForVersion(serializer, gvk.GroupVersion()).Encode(object, &out)
	return bytes.TrimSpace(out.Bytes()), err
}
