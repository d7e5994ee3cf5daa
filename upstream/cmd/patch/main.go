// Patch answers with upstream's own code what patches do.
//
//	patch [-seed N] < LINES     one object a line; {"type", "object", "patch", "result"|"error"} a line
//
// For every two neighbouring objects of a kind it writes the strategic merge patch from one to the
// other, the same with random directives in it, and random JSON patches, each with its result.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"

	"freehold.dev/upstream/internal/random"
)

type line struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
	Patch  json.RawMessage `json:"patch"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func main() {
	seed := flag.Int64("seed", 1, "of the random patches")
	flag.Parse()
	r := rand.New(rand.NewSource(*seed))
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	var before []byte
	for lines.Scan() {
		now := append([]byte(nil), lines.Bytes()...)
		for _, l := range between(before, now, r) {
			if err := out.Encode(l); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		before = now
	}
}

func between(a, b []byte, r *rand.Rand) []line {
	var meta struct{ APIVersion, Kind string }
	kind := func(in []byte) string { _ = json.Unmarshal(in, &meta); return meta.APIVersion + " " + meta.Kind }
	if a == nil || kind(a) != kind(b) {
		return nil
	}
	gv, _ := schema.ParseGroupVersion(meta.APIVersion)
	typed, err := scheme.Scheme.New(gv.WithKind(meta.Kind))
	if err != nil {
		return nil
	}
	var out []line
	if p, err := strategicpatch.CreateTwoWayMergePatch(a, b, typed); err == nil {
		out = append(out, strategic(a, p, typed))
		for i := 0; i < 3; i++ {
			var v any
			_ = json.Unmarshal(p, &v)
			random.Direct(v, r)
			if q, err := json.Marshal(v); err == nil {
				out = append(out, strategic(a, q, typed))
			}
		}
	}
	if p, err := strategicpatch.CreateThreeWayMergePatch(b, a, b, patchMeta(typed), true); err == nil {
		out = append(out, strategic(b, p, typed))
	}
	for i := 0; i < 3; i++ {
		out = append(out, jsonPatch(a, r))
	}
	return out
}

func patchMeta(typed runtime.Object) strategicpatch.LookupPatchMeta {
	m, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		panic(err)
	}
	return m
}

func strategic(object, patch []byte, typed runtime.Object) line {
	result, err := merge(object, patch, typed)
	l := line{Type: "strategic", Object: object, Patch: patch, Result: result}
	if err != nil {
		l.Result, l.Error = nil, err.Error()
	}
	return l
}

// Upstream panics when it has to compare maps; the API server answers 500 then.
func merge(object, patch []byte, typed runtime.Object) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return strategicpatch.StrategicMergePatch(object, patch, typed)
}

func jsonPatch(object []byte, r *rand.Rand) line {
	var v any
	_ = json.Unmarshal(object, &v)
	var ops []map[string]any
	for i := 0; i <= r.Intn(4); i++ {
		op := map[string]any{"op": []string{"add", "remove", "replace", "move", "copy", "test"}[r.Intn(6)], "path": random.Path(v, r)}
		if r.Intn(10) > 0 {
			op["from"] = random.Path(v, r)
			op["value"] = []any{1, "x", nil, true, map[string]any{"a": 1.5}, []any{1, 2}, random.At(v, op["path"].(string))}[r.Intn(7)]
		}
		ops = append(ops, op)
	}
	patch, _ := json.Marshal(ops)
	l := line{Type: "json", Object: object, Patch: patch}
	decoded, err := jsonpatch.DecodePatch(patch)
	if err == nil {
		l.Result, err = apply(decoded, object)
	}
	if err != nil {
		l.Result, l.Error = nil, err.Error()
	}
	return l
}

// Some patches make the library panic; the API server answers 500 then.
func apply(p jsonpatch.Patch, object []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.Apply(object)
}
