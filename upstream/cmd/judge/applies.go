package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"freehold.dev/upstream/internal/random"
)

// The field managers of a kind, and an object that several managers write in turn.
type applies struct {
	main, status *managedfields.FieldManager
	live         runtime.Object
	age          int
}

func managersOf(k *kind) *applies {
	typed, err := legacyscheme.Scheme.New(k.gvk)
	must(err)
	config := genericapiserver.DefaultOpenAPIV3Config(generated.GetOpenAPIDefinitions, openapinamer.NewDefinitionNamer(legacyscheme.Scheme))
	models, err := builder3.BuildOpenAPIDefinitionsForResources(config, openapiutil.GetCanonicalTypeName(typed))
	must(err)
	converter, err := managedfields.NewTypeConverter(models, false)
	must(err)
	hub := schema.GroupVersion{Group: k.gvk.Group, Version: runtime.APIVersionInternal}
	s := legacyscheme.Scheme
	main, err := managedfields.NewDefaultFieldManager(converter, s, s, s, k.gvk, hub, "", resets(k.strategy.Main))
	must(err)
	out := &applies{main: main}
	if k.strategy.Status != nil {
		out.status, err = managedfields.NewDefaultFieldManager(converter, s, s, s, k.gvk, hub, "status", resets(k.strategy.Status))
		must(err)
	}
	return out
}

// Fields that requests cannot change.
func resets(strategy any) map[fieldpath.APIVersion]fieldpath.Filter {
	if s, ok := strategy.(interface {
		GetResetFieldsFilter() map[fieldpath.APIVersion]fieldpath.Filter
	}); ok {
		return s.GetResetFieldsFilter()
	}
	if s, ok := strategy.(interface {
		GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set
	}); ok {
		return fieldpath.NewExcludeFilterSetMap(s.GetResetFields())
	}
	return nil
}

// The next writes to the object of a kind: parts of two objects.
func (j *judge) applied(k *kind, a, b map[string]any) {
	r := j.r
	if k.applies == nil {
		k.applies = managersOf(k)
	}
	s := k.applies
	if s.live == nil || s.age > 8 {
		live, err := legacyscheme.Scheme.New(k.gvk)
		must(err)
		live.GetObjectKind().SetGroupVersionKind(k.gvk)
		s.live, s.age = live, 0
	}
	for i := 0; i < 2; i++ {
		sort, manager := "apply", s.main
		switch n := r.Intn(8); {
		case n < 2:
			sort = "updated"
		case n == 2 && s.status != nil && s.age > 0:
			sort, manager = "applied-status", s.status
		}
		quietly(func() { j.write(k, sort, manager, a, b) })
	}
}

func (j *judge) write(k *kind, sort string, manager *managedfields.FieldManager, a, b map[string]any) {
	r, s := j.r, k.applies
	body := random.Part(a, b, r, 0)
	if sort == "applied-status" {
		for _, key := range random.Keys(body) {
			if key != "status" {
				delete(body, key)
			}
		}
		if len(k.statuses) > 0 {
			body["status"] = clone(k.statuses[r.Intn(len(k.statuses))])
		}
	}
	m := map[string]any{"name": "n"}
	if given, ok := body["metadata"].(map[string]any); ok {
		for _, key := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
			if v, ok := given[key]; ok {
				m[key] = v
			}
		}
	}
	if sort == "updated" {
		m["uid"] = "u"
	}
	body["metadata"], body["apiVersion"], body["kind"] = m, k.gvk.GroupVersion().String(), k.gvk.Kind
	by, force := []string{"m1", "m2", "m3"}[r.Intn(3)], r.Intn(2) == 0
	in := text(body)
	live, before := "-", s.live
	if s.age > 0 {
		live = internal{s.live, k.gvk}.text()
		// As it comes from storage, with its defaults: lists inside atomic lists that are empty but not nil would be compared
		// with nil ones, and nobody who looks at the text could tell why they differ.
		stored, _, err := decoder.Decode([]byte(live), nil, nil)
		must(err)
		before, live = stored, internal{stored, k.gvk}.text()
	}
	if len(in)+len(live) > 2*most {
		s.live = nil
		return
	}
	result, err := perform(manager, sort, before, in, by, force)
	said := ""
	if err != nil {
		said = "!" + strings.ReplaceAll(err.Error(), "\n", "\v")
	} else {
		s.live = result
		s.age++
		i := internal{result, k.gvk}
		i.meta().SetUID("u")
		said = i.text()
	}
	j.line(sort, k, live, by, fmt.Sprint(force), in, said)
}

func perform(manager *managedfields.FieldManager, sort string, live runtime.Object, in, by string, force bool) (runtime.Object, error) {
	if sort != "updated" {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(in)); err != nil {
			return nil, err
		}
		return manager.Apply(live.DeepCopyObject(), u, by, force)
	}
	updated, _, err := decoder.Decode([]byte(in), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return manager.Update(live.DeepCopyObject(), updated, by)
}
