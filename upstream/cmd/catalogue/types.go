package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	generated "k8s.io/kubernetes/pkg/generated/openapi"
)

// What any version from 1.28 on serves without being asked for more (alpha and most beta
// versions are off by default).
func served(gv schema.GroupVersion) bool {
	switch gv.Version {
	case "v1":
		return gv.Group != "imagepolicy.k8s.io"
	case "v2":
		return gv.Group == "autoscaling"
	case "v1beta2", "v1beta3":
		return gv.Group == "flowcontrol.apiserver.k8s.io"
	}
	return false
}

type walker struct {
	defs  map[string]common.OpenAPIDefinition
	seen  map[reflect.Type]bool
	order []reflect.Type
	lines map[string][]string
	err   error
}

func dumpTypes(out io.Writer) error {
	w := &walker{defs: map[string]common.OpenAPIDefinition{}, seen: map[reflect.Type]bool{}, lines: map[string][]string{}}
	ref := func(path string) spec.Ref { return spec.MustCreateRef("#/definitions/" + canonical(path)) }
	for name, def := range generated.GetOpenAPIDefinitions(ref) {
		w.defs[canonical(name)] = def
	}
	s := scheme.Scheme
	if err := apiextensions.AddToScheme(s); err != nil {
		return err
	}
	if err := apiregistration.AddToScheme(s); err != nil {
		return err
	}
	var kinds []string
	for gvk, t := range s.AllKnownTypes() {
		if !served(gvk.GroupVersion()) || strings.HasSuffix(t.PkgPath(), "apis/meta/v1") {
			continue
		}
		kinds = append(kinds, fmt.Sprintf("k %s %s %s %s", dash(gvk.Group), gvk.Version, gvk.Kind, w.name(t)))
		w.walk(t)
	}
	for _, v := range []any{
		metav1.APIGroup{}, metav1.APIGroupList{}, metav1.APIResourceList{}, metav1.APIVersions{},
		metav1.CreateOptions{}, metav1.DeleteOptions{}, metav1.GetOptions{}, metav1.List{},
		metav1.ListOptions{}, metav1.PartialObjectMetadata{}, metav1.PartialObjectMetadataList{},
		metav1.PatchOptions{}, metav1.Status{}, metav1.Table{}, metav1.TableOptions{},
		metav1.UpdateOptions{}, metav1.WatchEvent{},
	} {
		t := reflect.TypeOf(v)
		kinds = append(kinds, fmt.Sprintf("k meta.k8s.io v1 %s %s", t.Name(), w.name(t)))
		w.walk(t)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		fmt.Fprintln(out, k)
	}
	names := make([]string, 0, len(w.lines))
	for n := range w.lines {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Fprintln(out, "% "+n)
		sort.Strings(w.lines[n])
		for _, l := range w.lines[n] {
			fmt.Fprintln(out, l)
		}
	}
	return w.err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// io.k8s.api.core.v1.Pod for k8s.io/api/core/v1.Pod.
func canonical(path string) string {
	if !strings.Contains(path, "/") {
		return path
	}
	host, rest, _ := strings.Cut(path, "/")
	parts := strings.Split(host, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".")
}

func (w *walker) name(t reflect.Type) string { return canonical(t.PkgPath() + "." + t.Name()) }

// Types with a form of their own in JSON or protobuf.
var special = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity":                                         "q",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString":                                       "x",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":                                             "t",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":                                        "u",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Duration":                                         "d",
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":                                         "v",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":                                          "r",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON":                         "j",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool":        "B",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray":       "A",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "S",
}

func (w *walker) walk(t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	name := w.name(t)
	def, ok := w.defs[name]
	w.lines[name] = nil
	if ok && def.Schema.Extensions["x-kubernetes-map-type"] == "atomic" {
		w.lines[name] = append(w.lines[name], "! atomic")
	}
	w.fields(t, def, name, nil)
}

func (w *walker) fields(t reflect.Type, def common.OpenAPIDefinition, owner string, outer []string) {
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, opts, _ := strings.Cut(tag, ",")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if name == "" && (f.Anonymous || strings.Contains(opts, "inline")) {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			// Without a tag (TypeMeta) protobuf leaves the whole of it out.
			next := []string{absent}
			if p := protobufTag(f); p != "" {
				next = append(append([]string{}, outer...), p)
			}
			w.fields(inner, def, owner, next)
			continue
		}
		if name == "" {
			name = f.Name
		}
		w.lines[owner] = append(w.lines[owner], w.field(f, name, opts, def, outer))
	}
}

const absent = "-"

func protobufTag(f reflect.StructField) string {
	parts := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

func (w *walker) field(f reflect.StructField, name, opts string, def common.OpenAPIDefinition, outer []string) string {
	prop := def.Schema.Properties[name]
	tag := protobufTag(f)
	if tag == "" {
		tag = "0"
	}
	tags := strings.Join(append(append([]string{}, outer...), tag), ".")
	if len(outer) > 0 && outer[0] == absent {
		tags = "0"
	}
	line := []string{name, w.shape(f.Type, prop.Extensions), tags}
	for _, r := range def.Schema.Required {
		if r == name {
			line = append(line, "!")
		}
	}
	options := strings.Split(opts, ",")
	has := func(o string) bool {
		for _, x := range options {
			if x == o {
				return true
			}
		}
		return false
	}
	structural := f.Type.Kind() == reflect.Struct
	if has("omitzero") || has("omitempty") && !structural {
		line = append(line, "o")
	}
	if f.Type.Kind() == reflect.Pointer {
		line = append(line, "*")
	}
	patch := strings.Split(f.Tag.Get("patchStrategy"), ",")
	for _, p := range patch {
		switch p {
		case "merge":
			line = append(line, "pm")
		case "retainKeys":
			line = append(line, "pr")
		case "", "replace":
		default:
			w.err = fmt.Errorf("%s: unknown patch strategy %q", name, p)
		}
	}
	if k := f.Tag.Get("patchMergeKey"); k != "" {
		line = append(line, "pk="+k)
	}
	switch prop.Extensions["x-kubernetes-map-type"] {
	case "atomic":
		line = append(line, "ma")
	case "granular":
		line = append(line, "mg")
	}
	if prop.Extensions["x-kubernetes-list-type"] == "atomic" {
		line = append(line, "la")
	}
	enum := prop.Enum
	if prop.Items != nil && prop.Items.Schema != nil && len(enum) == 0 {
		enum = prop.Items.Schema.Enum
	}
	if prop.AdditionalProperties != nil && prop.AdditionalProperties.Schema != nil && len(enum) == 0 {
		enum = prop.AdditionalProperties.Schema.Enum
	}
	if len(enum) > 0 {
		var values []string
		for _, e := range enum {
			value := fmt.Sprint(e)
			if strings.ContainsAny(value, "~,") {
				w.err = fmt.Errorf("%s: enum value %q needs another notation", name, value)
			}
			values = append(values, strings.ReplaceAll(value, " ", "~"))
		}
		sort.Strings(values)
		line = append(line, "e="+strings.Join(values, ","))
	}
	if prop.Default != nil {
		b, err := json.Marshal(prop.Default)
		if err != nil {
			w.err = err
		}
		if string(b) != "{}" {
			line = append(line, "d="+string(b))
		}
	}
	return strings.Join(line, " ")
}

func (w *walker) shape(t reflect.Type, ext spec.Extensions) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() != "" && t.PkgPath() != "" {
		if s, ok := special[w.name(t)]; ok {
			if strings.Contains("BAS", s) {
				w.walk(reflect.TypeOf(apiextensions.JSONSchemaProps{}))
			}
			return s
		}
	}
	switch t.Kind() {
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int32, reflect.Uint32, reflect.Uint16, reflect.Int16:
		return "i"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "l"
	case reflect.Float64, reflect.Float32:
		return "f"
	case reflect.Interface:
		return "j"
	case reflect.Map:
		return "{}" + w.shape(t.Elem(), nil)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "y"
		}
		head := "[]"
		switch ext["x-kubernetes-list-type"] {
		case "set":
			head = "[set]"
		case "map":
			head = "[" + strings.Join(keys(ext["x-kubernetes-list-map-keys"]), ",") + "]"
		}
		if t.Name() != "" && wrapped(t) {
			head = "w" + head
		}
		return head + w.shape(t.Elem(), nil)
	case reflect.Struct:
		w.walk(t)
		return w.name(t)
	}
	w.err = fmt.Errorf("no form for %s", t)
	return "?"
}

// A named slice that protobuf writes as a message of its own.
func wrapped(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(interface{ Unmarshal([]byte) error })
	return ok
}

func keys(v any) []string {
	var out []string
	switch list := v.(type) {
	case []string:
		out = list
	case []any:
		for _, k := range list {
			out = append(out, fmt.Sprint(k))
		}
	}
	return out
}
