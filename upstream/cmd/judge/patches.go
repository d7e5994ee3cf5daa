package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
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
			direct(v, r)
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
		out, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(o, p, metadata)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// Puts directives into a patch at random.
func direct(v any, r *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range keys(v) {
			direct(v[k], r)
			if list, ok := v[k].([]any); ok && r.Intn(6) == 0 && !strings.HasPrefix(k, "$") {
				switch r.Intn(3) {
				case 0:
					v["$deleteFromPrimitiveList/"+k] = list
					delete(v, k)
				case 1:
					v["$setElementOrder/"+k] = list
				case 2:
					delete(v, "$setElementOrder/"+k)
				}
			}
			if r.Intn(25) == 0 {
				v[k] = nil
			}
		}
		switch r.Intn(30) {
		case 0:
			v["$patch"] = "delete"
		case 1:
			v["$patch"] = "replace"
		case 2:
			v["$patch"] = "merge"
		case 3:
			names := []any{}
			for _, k := range keys(v) {
				if r.Intn(4) > 0 && !strings.HasPrefix(k, "$") {
					names = append(names, k)
				}
			}
			v["$retainKeys"] = names
		}
	case []any:
		for _, item := range v {
			direct(item, r)
		}
	}
}

// Puts nulls and other types into a merge patch at random.
func scatter(v any, r *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range keys(v) {
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
		op := map[string]any{"op": []string{"add", "remove", "replace", "move", "copy", "test"}[r.Intn(6)], "path": path(v, r)}
		if r.Intn(10) > 0 {
			op["from"] = path(v, r)
			op["value"] = []any{1, "x", nil, true, map[string]any{"a": 1.5}, []any{1, 2}, at(v, op["path"].(string))}[r.Intn(7)]
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

// A path that mostly exists.
func path(v any, r *rand.Rand) string {
	out := ""
	for depth := 0; depth < 1+r.Intn(5); depth++ {
		switch x := v.(type) {
		case map[string]any:
			k := append(keys(x), "none", "")
			name := k[r.Intn(len(k))]
			out += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			v = x[name]
		case []any:
			i := r.Intn(len(x)+2) - 1
			step := fmt.Sprint(i)
			if r.Intn(6) == 0 {
				step = []string{"-", "x", "01", "+1", "-2"}[r.Intn(5)]
			}
			out += "/" + step
			v = nil
			if i >= 0 && i < len(x) {
				v = x[i]
			}
		default:
			return out
		}
	}
	return out
}

func at(v any, path string) any {
	for _, step := range strings.Split(path, "/")[1:] {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return v
}
