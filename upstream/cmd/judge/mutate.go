package main

import (
	"math/rand"
	"reflect"
	"strings"

	"freehold.dev/upstream/internal/random"
)

// A place in an object that can be changed.
type place struct {
	value  any
	t      reflect.Type
	name   string
	key    string
	enum   []string
	set    func(any)
	remove func()
	meta   bool
}

func places(v any, t reflect.Type, at place, out *[]place) {
	t = deref(t)
	at.value, at.t = v, t
	*out = append(*out, at)
	if leaves[t] != "" {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range random.Keys(x) {
			inner := place{name: k, set: func(v any) { x[k] = v }, remove: func() { delete(x, k) }}
			inner.meta = at.meta || at.name == "" && k == "metadata"
			switch t.Kind() {
			case reflect.Struct:
				if f := fieldOf(t, k); f != nil && k != "managedFields" {
					inner.key, inner.enum = f.owner+"."+k, f.enum
					places(x[k], f.t, inner, out)
				}
			case reflect.Map:
				inner.name, inner.key = at.name, at.key
				places(x[k], t.Elem(), inner, out)
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return
		}
		for i := range x {
			inner := place{name: strings.TrimSuffix(at.name, "s"), key: at.key, enum: at.enum, meta: at.meta, set: func(v any) { x[i] = v }, remove: func() {
				at.set(append(append([]any{}, x[:i]...), x[i+1:]...))
			}}
			places(x[i], t.Elem(), inner, out)
		}
	}
}

// Changes an object in `times` places, in place.
func mutate(object map[string]any, t reflect.Type, known harvest, r *rand.Rand, times int) {
	for ; times > 0; times-- {
		var all []place
		places(object, t, place{set: func(any) {}, remove: func() {}}, &all)
		g := &generator{r: r, known: known, local: strs(object, nil)}
		// The first place is the object itself: fields may be added to it, no more.
		at := all[r.Intn(len(all))]
		// Metadata is alike in every kind.
		for tries := 0; at.meta && tries < 4; tries++ {
			at = all[r.Intn(len(all))]
		}
		if at.name == "apiVersion" && at.key == "TypeMeta.apiVersion" || at.key == "TypeMeta.kind" {
			continue
		}
		g.change(at)
	}
}

func (g *generator) change(at place) {
	r := g.r
	if r.Intn(80) == 0 {
		at.set([]any{nil, "x", 1.0, true, []any{}, map[string]any{}, 1.5, "1"}[r.Intn(8)])
		return
	}
	if r.Intn(8) == 0 {
		at.remove()
		return
	}
	switch x := at.value.(type) {
	case map[string]any:
		if at.t.Kind() == reflect.Struct && leaves[at.t] == "" {
			list := fieldsOf(at.t)
			if len(list) > 0 && r.Intn(12) > 0 {
				f := list[r.Intn(len(list))]
				if f.owner != "TypeMeta" && f.json != "managedFields" {
					x[f.json] = g.value(f.t, f.json, f.owner+"."+f.json, f.enum, 3)
				}
				return
			}
			if k := random.Keys(x); len(k) > 0 && r.Intn(2) == 0 {
				name := k[r.Intn(len(k))]
				x[junk[r.Intn(len(junk))]] = x[name]
			}
			return
		}
		if at.t.Kind() == reflect.Map {
			k := random.Keys(x)
			key := g.mapKey(at.t, at.name, at.key)
			if len(k) > 0 && r.Intn(3) == 0 {
				old := k[r.Intn(len(k))]
				x[key] = x[old]
				delete(x, old)
				return
			}
			x[key] = g.value(at.t.Elem(), at.name, at.key, at.enum, 4)
			return
		}
	case []any:
		if at.t.Kind() != reflect.Slice {
			break
		}
		switch n := r.Intn(10); {
		case n < 4 && len(x) > 0:
			at.set(append(append([]any{}, x...), clone(x[r.Intn(len(x))])))
		case n < 5 && len(x) > 1:
			i, j := r.Intn(len(x)), r.Intn(len(x))
			x[i], x[j] = x[j], x[i]
		case n < 6:
			at.set([]any{})
		default:
			at.set(append(append([]any{}, x...), g.value(at.t.Elem(), strings.TrimSuffix(at.name, "s"), at.key, at.enum, 3)))
		}
		return
	}
	at.set(g.value(at.t, at.name, at.key, at.enum, 4))
}
