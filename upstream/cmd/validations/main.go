// validations records what upstream's strategies say of objects that are wrong in one or two places:
// a line holds `create` or `update`, the object, the object before (or null) and the errors, as JSON
// with tabs between them. Objects are written as they are when they are validated: defaulted, and
// prepared by their strategy.
//
//	go run ./cmd/validations -per-kind 9 -seed 7 > ../crates/model/tests/fixtures/validations.txt
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"

	"freehold.dev/upstream/internal/kinds"
)

var serializer = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory,
	legacyscheme.Scheme, legacyscheme.Scheme, jsonserializer.SerializerOptions{})

func main() {
	per := flag.Int("per-kind", 20, "wrong objects of each kind, and as many wrong updates")
	seed := flag.Int64("seed", 1, "of the mistakes")
	kind := flag.String("kind", "", "only this kind")
	flag.Parse()
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	r := rand.New(rand.NewSource(*seed))
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, base := range kinds.Seeds {
		var object map[string]any
		must(json.Unmarshal([]byte(base), &object))
		if *kind != "" && object["kind"] != *kind {
			continue
		}
		line(out, base, "", true)
		written, seen := 0, map[string]bool{}
		for tries := 0; written < *per && tries < 30**per; tries++ {
			wrong := mistake(base, r)
			if tries%3 == 0 {
				wrong = mistake(wrong, r)
			}
			if !seen[wrong] && line(out, wrong, "", false) {
				written++
			}
			seen[wrong] = true
		}
		written, seen = 0, map[string]bool{}
		for tries := 0; written < *per && tries < 30**per; tries++ {
			wrong := mistake(base, r)
			if !seen[wrong] && line(out, wrong, base, false) {
				written++
			}
			seen[wrong] = true
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Writes one line and says so; objects that do not decode, and good ones unless asked for, are left out.
func line(out *bufio.Writer, text, before string, good bool) (written bool) {
	// Some of upstream's validations trip over what its decoding lets in.
	defer func() {
		if recover() != nil && !good {
			written = false
		}
	}()
	object, gvk, err := legacyscheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		if good {
			must(err)
		}
		return false
	}
	s := kinds.Of(*gvk).Main
	accessor, err := meta.Accessor(object)
	must(err)
	ctx := genericapirequest.WithNamespace(context.Background(), accessor.GetNamespace())
	ctx = genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true, APIGroup: gvk.Group, APIVersion: gvk.Version, Verb: "create"})
	var said error
	mode, old := "create", []byte("null")
	born(accessor)
	if before == "" {
		said = rest.BeforeCreate(s, ctx, object)
	} else {
		mode = "update"
		previous, _, err := legacyscheme.Codecs.UniversalDecoder().Decode([]byte(before), nil, nil)
		must(err)
		was, err := meta.Accessor(previous)
		must(err)
		if was.GetName() != accessor.GetName() || was.GetNamespace() != accessor.GetNamespace() {
			// The URL names the object.
			return false
		}
		born(was)
		must(rest.BeforeCreate(s, ctx, previous))
		was.SetResourceVersion("1")
		accessor.SetResourceVersion("1")
		old = encode(previous, gvk)
		said = rest.BeforeUpdate(s, ctx, object, previous)
	}
	words := []string{}
	seen := map[string]bool{}
	if status, ok := said.(apierrors.APIStatus); ok && status.Status().Reason == metav1.StatusReasonInvalid {
		for _, c := range status.Status().Details.Causes {
			text := c.Field + ": " + c.Message
			if !seen[text] {
				words = append(words, text)
			}
			seen[text] = true
		}
	} else if said != nil {
		return false
	}
	if len(words) == 0 && !good {
		return false
	}
	shown, err := json.Marshal(words)
	must(err)
	fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", mode, encode(object, gvk), old, shown)
	return true
}

func born(object metav1.Object) {
	object.SetCreationTimestamp(metav1.Unix(1700000000, 0))
	if object.GetUID() == "" {
		object.SetUID("u-1")
	}
}

func encode(object runtime.Object, gvk *schema.GroupVersionKind) []byte {
	var out bytes.Buffer
	must(legacyscheme.Codecs.EncoderForVersion(serializer, gvk.GroupVersion()).Encode(object, &out))
	return bytes.TrimSpace(out.Bytes())
}

// One place of the object changed, removed or doubled.
func mistake(text string, r *rand.Rand) string {
	var object any
	must(json.Unmarshal([]byte(text), &object))
	var places []func()
	collect(object, nil, &places, r, 0)
	if len(places) > 0 {
		places[r.Intn(len(places))]()
	}
	out, err := json.Marshal(object)
	must(err)
	return string(out)
}

var junk = []any{
	"", "A_b", strings.Repeat("x", 64), strings.Repeat("x", 254), "a.b", "-x", "10.0.0.300", "10.0.0.1", "fe80::1", "é",
	"a/b/c", "a/b", "*", "../x", "/x", "0", "100m", "-1", "200%", "50%", "10.0.0.0/33", "10.0.0.1/8", "None", "Never", "Always",
	-1.0, 0.0, 1.0, 65536.0, 101.0, 2147483647.0, true, false, nil,
}

func collect(v any, set func(any), places *[]func(), r *rand.Rand, depth int) {
	if set != nil && depth > 1 {
		*places = append(*places, func() { set(junk[r.Intn(len(junk))]) })
		*places = append(*places, func() {
			switch v.(type) {
			case string:
				set(junk[r.Intn(25)])
			case float64:
				set(junk[25+r.Intn(6)])
			case bool:
				set(v != true)
			case []any:
				set([]any{})
			case map[string]any:
				set(map[string]any{})
			}
		})
	}
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			if depth == 0 && (k == "apiVersion" || k == "kind") {
				continue
			}
			collect(v[k], func(x any) { v[k] = x }, places, r, depth+1)
			if depth > 0 {
				*places = append(*places, func() { delete(v, k) })
				*places = append(*places, func() { v[fmt.Sprint(junk[r.Intn(25)])] = v[k] })
			}
		}
	case []any:
		for i := range v {
			collect(v[i], func(x any) { v[i] = x }, places, r, depth+1)
		}
		if len(v) > 0 && set != nil {
			*places = append(*places, func() { set(append(append([]any{}, v...), v[0])) })
		}
	}
}
