package main

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"freehold.dev/upstream/internal/random"
)

// Patches from one object to another: as clients make them, and with something random in them.
func (j *judge) patched(k *kind, from, to map[string]any) {
	r := j.r
	a, b := text(from), text(to)
	if len(a) > most || len(b) > most {
		return
	}
	typed, err := legacyscheme.Scheme.New(k.gvk)
	must(err)
	metadata, err := strategicpatch.NewPatchMetaFromStruct(typed)
	must(err)
	two, err := strategicpatch.CreateTwoWayMergePatchUsingLookupPatchMeta([]byte(a), []byte(b), metadata)
	if err == nil {
		patch := string(two)
		if r.Intn(3) > 0 {
			var v any
			must(json.Unmarshal(two, &v))
			random.Direct(v, r)
			patch = text(v)
		}
		quietly(func() { j.patchLine("strategic", k, a, patch, strategic(a, patch, metadata)) })
	}
	if merge, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(a), []byte(b), []byte(a)); err == nil {
		var v any
		must(json.Unmarshal(merge, &v))
		if r.Intn(2) == 0 {
			scatter(v, r)
		}
		patch := text(v)
		quietly(func() {
			j.patchLine("merge", k, a, patch, func() ([]byte, error) { return jsonpatch.MergePatch([]byte(a), []byte(patch)) })
		})
	}
	patch := jsonPatch(from, k.t, r)
	quietly(func() {
		j.patchLine("json", k, a, patch, func() ([]byte, error) {
			decoded, err := jsonpatch.DecodePatch([]byte(patch))
			if err != nil {
				return nil, err
			}
			return decoded.Apply([]byte(a))
		})
	})
}

func (j *judge) patchLine(sort string, k *kind, object, patch string, do func() ([]byte, error)) {
	result, err := do()
	if err != nil {
		j.line(sort, k, object, patch, "!"+strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	var v any
	must(json.Unmarshal(result, &v))
	j.line(sort, k, object, patch, text(v))
}

func strategic(object, patch string, metadata strategicpatch.LookupPatchMeta) func() ([]byte, error) {
	return func() ([]byte, error) {
		var o, p map[string]any
		must(json.Unmarshal([]byte(object), &o))
		must(json.Unmarshal([]byte(patch), &p))
		clip(o)
		out, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(o, p, metadata)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// Puts nulls and other types into a merge patch at random.
func scatter(v any, r *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range random.Keys(v) {
			scatter(v[k], r)
			if r.Intn(12) == 0 {
				v[k] = []any{nil, "x", 1.0, map[string]any{"a": nil, "b": map[string]any{"c": nil}}, []any{nil, 1.0}}[r.Intn(5)]
			}
		}
		if r.Intn(10) == 0 {
			v["none"] = nil
		}
	case []any:
		for _, x := range v {
			scatter(x, r)
		}
	}
}

func jsonPatch(v map[string]any, t reflect.Type, r *rand.Rand) string {
	ops := []map[string]any{}
	for i := 0; i <= r.Intn(4); i++ {
		op := map[string]any{"op": []string{"add", "remove", "replace", "move", "copy", "test"}[r.Intn(6)], "path": random.Path(v, r)}
		if r.Intn(10) > 0 {
			op["from"] = random.Path(v, r)
			op["value"] = []any{1, "x", nil, true, map[string]any{"a": 1.5}, []any{1, 2}, random.At(v, op["path"].(string))}[r.Intn(7)]
		}
		if op["op"] != "move" && op["op"] != "copy" {
			delete(op, "from")
		} else {
			delete(op, "value")
		}
		ops = append(ops, op)
	}
	return text(ops)
}

// Takes the room at the end of lists away, which the lists of a server do not have either: upstream
// appends to them, and looks at what was there before again.
func clip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if list, ok := item.([]any); ok {
				v[k] = slices.Clip(list)
			}
			clip(item)
		}
	case []any:
		for i, item := range v {
			if list, ok := item.([]any); ok {
				v[i] = slices.Clip(list)
			}
			clip(item)
		}
	}
}
