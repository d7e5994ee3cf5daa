// Package random makes parts, patches and paths of objects at random; one seed makes the same again.
package random

import (
	"fmt"
	"math/rand"
	"sort"
	"strings"
)

// Direct puts directives into a patch at random.
func Direct(v any, r *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range Keys(v) {
			Direct(v[k], r)
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
			for _, k := range Keys(v) {
				if r.Intn(4) > 0 && !strings.HasPrefix(k, "$") {
					names = append(names, k)
				}
			}
			v["$retainKeys"] = names
		}
	case []any:
		for _, item := range v {
			Direct(item, r)
		}
	}
}

// Path is one that mostly exists.
func Path(v any, r *rand.Rand) string {
	out := ""
	for depth := 0; depth < 1+r.Intn(5); depth++ {
		switch x := v.(type) {
		case map[string]any:
			k := append(Keys(x), "none", "")
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

// At is what stands at a path through maps.
func At(v any, path string) any {
	for _, step := range strings.Split(path, "/")[1:] {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return v
}

// Part is a part of one object with values of the other mixed in.
func Part(a, b map[string]any, r *rand.Rand, depth int) map[string]any {
	out := map[string]any{}
	for _, k := range Keys(a) {
		if r.Intn(10) < 3 && depth > 0 {
			continue
		}
		v := a[k]
		other, both := b[k]
		if both && r.Intn(10) < 2 {
			v = other
		}
		out[k] = piece(v, other, r, depth+1)
	}
	return out
}

func piece(v, other any, r *rand.Rand, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		o, _ := other.(map[string]any)
		return Part(v, o, r, depth)
	case []any:
		o, _ := other.([]any)
		list := []any{}
		for i, item := range append(append([]any{}, v...), o...) {
			if r.Intn(3) == 0 {
				continue
			}
			// keep items whole mostly: they need their keys
			if m, ok := item.(map[string]any); ok && r.Intn(4) == 0 {
				list = append(list, Part(m, nil, r, depth))
			} else {
				list = append(list, item)
			}
			if i > 20 {
				break
			}
		}
		return list
	}
	return v
}

// Keys of a map in order.
func Keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
