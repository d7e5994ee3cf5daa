// Bench times with upstream's own code what `cargo xtask bench model` times with ours.
//
//	bench DIR     reads the inputs of DIR (../benches/inputs); a line per measurement: name, tab, ns
//
// Each figure is the best of many rounds: other work on the machine only ever adds to it. A round is
// long enough to hold its share of garbage collection.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	aeinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	generated "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	"k8s.io/kubernetes/pkg/registry/core/pod"

	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
)

var serializer = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory,
	legacyscheme.Scheme, legacyscheme.Scheme, jsonserializer.SerializerOptions{})

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bench DIR")
		os.Exit(2)
	}
	aeinstall.Install(legacyscheme.Scheme)
	for _, run := range []func(string){pods, apply, row, selector, definition} {
		run(os.Args[1])
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func read(dir, name string) []byte {
	text, err := os.ReadFile(filepath.Join(dir, name))
	check(err)
	var compact bytes.Buffer
	check(json.Compact(&compact, text))
	return compact.Bytes()
}

func each(name string, run func()) {
	round := func(runs int) time.Duration {
		start := time.Now()
		for j := 0; j < runs; j++ {
			run()
		}
		return time.Since(start) / time.Duration(runs)
	}
	once := max(min(round(1), round(3)), 50)
	runs := max(int(20*time.Millisecond/once), 1)
	best := once
	for i := 0; i < 60; i++ {
		best = min(best, round(runs))
	}
	fmt.Printf("%s\t%d\n", name, best.Nanoseconds())
}

// What a create does around the store, and decoding the same object from protobuf.
func pods(dir string) {
	text := read(dir, "pod.json")
	decoder := legacyscheme.Codecs.UniversalDecoder()
	encoder := legacyscheme.Codecs.EncoderForVersion(serializer, corev1.SchemeGroupVersion)
	ctx := genericapirequest.WithNamespace(context.Background(), "shop")
	var out bytes.Buffer
	each("pod", func() {
		object, _, err := decoder.Decode(text, nil, nil)
		check(err)
		if errs := pod.Strategy.Validate(ctx, object); len(errs) > 0 {
			check(errs.ToAggregate())
		}
		out.Reset()
		check(encoder.Encode(object, &out))
	})
	var typed corev1.Pod
	check(json.Unmarshal(out.Bytes(), &typed))
	proto := protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)
	var bytes bytes.Buffer
	check(proto.Encode(&typed, &bytes))
	each("proto", func() {
		_, _, err := proto.Decode(bytes.Bytes(), nil, nil)
		check(err)
	})
}

func apply(dir string) {
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	s := legacyscheme.Scheme
	typed, err := s.New(gvk)
	check(err)
	config := genericapiserver.DefaultOpenAPIV3Config(generated.GetOpenAPIDefinitions, openapinamer.NewDefinitionNamer(s))
	models, err := builder3.BuildOpenAPIDefinitionsForResources(config, openapiutil.GetCanonicalTypeName(typed))
	check(err)
	converter, err := managedfields.NewTypeConverter(models, false)
	check(err)
	hub := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
	manager, err := managedfields.NewDefaultFieldManager(converter, s, s, s, gvk, hub, "", nil)
	check(err)
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	given := &unstructured.Unstructured{}
	check(given.UnmarshalJSON(read(dir, "deployment.json")))
	live, err := manager.Apply(typed, given.DeepCopy(), "kubectl", false)
	check(err)
	changed := given.DeepCopy()
	check(unstructured.SetNestedField(changed.Object, int64(5), "spec", "replicas"))
	each("apply", func() {
		_, err := manager.Apply(live.DeepCopyObject(), changed, "kubectl", false)
		check(err)
	})
}

// Rows are made for lists: the cost of the columns is shared by a hundred of them.
func row(dir string) {
	object, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(read(dir, "row.json"), nil, nil)
	check(err)
	list := &core.PodList{}
	for i := 0; i < 100; i++ {
		list.Items = append(list.Items, *object.(*core.Pod))
	}
	generator := printers.NewTableGenerator().With(printersinternal.AddHandlers)
	each("rows", func() {
		_, err := generator.GenerateTable(list, printers.GenerateOptions{Wide: true})
		check(err)
	})
}

func selector(string) {
	sets := make([]labels.Set, 10000)
	for i := range sets {
		sets[i] = labels.Set{
			"app.kubernetes.io/name": fmt.Sprintf("app-%d", i%20), "app.kubernetes.io/part-of": "shop",
			"pod-template-hash": fmt.Sprintf("%x", i), "tier": []string{"front", "back", "data"}[i%3],
		}
	}
	query, err := labels.Parse("app.kubernetes.io/name=app-7,tier in (front, back),!canary")
	check(err)
	each("select", func() {
		found := 0
		for _, set := range sets {
			if query.Matches(set) {
				found++
			}
		}
		if found != 334 {
			check(fmt.Errorf("%d selected", found))
		}
	})
}

// What a new CRD costs before its first object: validated, read as a structural schema, compiled.
func definition(dir string) {
	object, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(read(dir, "definition.json"), nil, nil)
	check(err)
	crd := object.(*apiextensions.CustomResourceDefinition)
	each("definition", func() {
		if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), crd); len(errs) > 0 {
			check(errs.ToAggregate())
		}
		given := crd.Spec.Versions[0].Schema
		if given == nil {
			given = crd.Spec.Validation
		}
		_, err := structuralschema.NewStructural(given.OpenAPIV3Schema)
		check(err)
		_, _, err = schemavalidation.NewSchemaValidator(given.OpenAPIV3Schema)
		check(err)
	})
}
