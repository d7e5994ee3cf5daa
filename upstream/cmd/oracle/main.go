// Answers with upstream's own code what an object of a built-in kind becomes: decoded, defaulted,
// converted to the internal type and back, encoded. See ../../README.md.
//
//	oracle record [-seed N] [-per-kind N] [-group G] [-kind K]   random objects and what they become
//	oracle convert GROUP VERSION VERSION KIND          random objects of the first version as the second
//	oracle default < LINES                            one JSON object a line, one answer a line
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"

	aefuzzer "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kapitesting "k8s.io/kubernetes/pkg/api/testing"

	_ "freehold.dev/upstream/internal/install"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say one of: record, default")
	}
	switch args[0] {
	case "record":
		return record(args[1:])
	case "convert":
		if len(args) != 5 {
			return fmt.Errorf("usage: oracle convert GROUP VERSION VERSION KIND")
		}
		return convert(args[1], args[2], args[3], args[4])
	case "default":
		return answer()
	}
	return fmt.Errorf("unknown command %q", args[0])
}

var serializer = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory,
	legacyscheme.Scheme, legacyscheme.Scheme, jsonserializer.SerializerOptions{})

// What the server would store for a request with this body, before its strategies.
func become(in []byte) ([]byte, error) {
	internal, gvk, err := legacyscheme.Codecs.UniversalDecoder().Decode(in, nil, nil)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = legacyscheme.Codecs.EncoderForVersion(serializer, gvk.GroupVersion()).Encode(internal, &out)
	return bytes.TrimSpace(out.Bytes()), err
}

// Random objects of one version and what the server shows of them at another.
func convert(group, from, to, kind string) error {
	source := rand.NewSource(1)
	fuzz := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, kapitesting.FuzzerFuncs), source, legacyscheme.Codecs)
	gvk := schema.GroupVersionKind{Group: group, Version: from, Kind: kind}
	for i := 0; i < 40; i++ {
		object, err := legacyscheme.Scheme.New(gvk)
		if err != nil {
			return err
		}
		fuzz.MaxDepth(5 + i%6).Fill(object)
		object.GetObjectKind().SetGroupVersionKind(gvk)
		in, err := json.Marshal(object)
		if err != nil {
			return err
		}
		if in, err = become(in); err != nil {
			continue
		}
		internal, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(in, nil, nil)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		target := schema.GroupVersion{Group: group, Version: to}
		if err := legacyscheme.Codecs.EncoderForVersion(serializer, target).Encode(internal, &out); err != nil {
			return err
		}
		fmt.Printf("%s\n%s\n", in, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

func answer() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		out, err := become(lines.Bytes())
		if err != nil {
			out, _ = json.Marshal(map[string]string{"error": err.Error()})
		}
		fmt.Println(string(out))
	}
	return lines.Err()
}

func record(args []string) error {
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	seed := flags.Int64("seed", 1, "of the random objects")
	per := flags.Int("per-kind", 3, "objects of each kind")
	group := flags.String("group", "*", "only this group")
	kind := flags.String("kind", "", "only this kind")
	most := flags.Int("max-bytes", 1<<20, "leave out longer objects")
	if err := flags.Parse(args); err != nil {
		return err
	}
	source := rand.NewSource(*seed)
	fuzz := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, kapitesting.FuzzerFuncs, aefuzzer.Funcs), source, legacyscheme.Codecs)
	var kinds []schema.GroupVersionKind
	for gvk := range legacyscheme.Scheme.AllKnownTypes() {
		served := gvk.Version == "v1" || gvk.Version == "v2" && gvk.Group == "autoscaling"
		if !served || *group != "*" && gvk.Group != *group || *kind != "" && gvk.Kind != *kind || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		kinds = append(kinds, gvk)
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].String() < kinds[j].String() })
	for _, gvk := range kinds {
		for i := 0; i < *per; i++ {
			object, err := legacyscheme.Scheme.New(gvk)
			if err != nil {
				return err
			}
			if _, ok := object.(metav1.Object); !ok {
				continue
			}
			// Random values of the versioned type itself: what a client might send.
			fuzz.MaxDepth(4 + i%5).Fill(object)
			object.GetObjectKind().SetGroupVersionKind(gvk)
			in, err := json.Marshal(object)
			if err != nil {
				continue
			}
			if i%2 == 1 {
				in = sparse(in, rand.New(source))
			}
			out, err := become(in)
			if err != nil || len(in) > *most {
				continue
			}
			fmt.Printf("%s\n%s\n", in, out)
		}
	}
	return nil
}

// Removes fields at random, so that there is something to default.
func sparse(in []byte, r *rand.Rand) []byte {
	var v any
	if json.Unmarshal(in, &v) != nil {
		return in
	}
	drop(v, r, 0)
	out, err := json.Marshal(v)
	if err != nil {
		return in
	}
	return out
}

func drop(v any, r *rand.Rand, depth int) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if depth > 0 && r.Intn(3) == 0 {
				delete(v, k)
				continue
			}
			drop(v[k], r, depth+1)
		}
	case []any:
		for _, item := range v {
			drop(item, r, depth+1)
		}
	}
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
