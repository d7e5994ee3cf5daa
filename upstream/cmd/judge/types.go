package main

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// A field of a struct as JSON shows it.
type field struct {
	json  string
	t     reflect.Type
	owner string
	enum  []string
	// written even when it is zero
	always bool
}

// Types whose JSON is not that of their Go fields.
var leaves = map[reflect.Type]string{
	reflect.TypeOf(resource.Quantity{}):                          "quantity",
	reflect.TypeOf(intstr.IntOrString{}):                         "intorstring",
	reflect.TypeOf(metav1.Time{}):                                "time",
	reflect.TypeOf(metav1.MicroTime{}):                           "microtime",
	reflect.TypeOf(metav1.Duration{}):                            "duration",
	reflect.TypeOf(metav1.FieldsV1{}):                            "any",
	reflect.TypeOf(runtime.RawExtension{}):                       "any",
	reflect.TypeOf(apiextensions.JSON{}):                         "any",
	reflect.TypeOf(apiextensions.JSONSchemaPropsOrBool{}):        "schema",
	reflect.TypeOf(apiextensions.JSONSchemaPropsOrArray{}):       "schema",
	reflect.TypeOf(apiextensions.JSONSchemaPropsOrStringArray{}): "any",
	reflect.TypeOf([]byte{}):                                     "bytes",
}

var definitions = func() map[string]common.OpenAPIDefinition {
	out := map[string]common.OpenAPIDefinition{}
	ref := func(path string) spec.Ref { return spec.MustCreateRef("#/definitions/x") }
	for name, def := range generated.GetOpenAPIDefinitions(ref) {
		out[canonical(name)] = def
	}
	return out
}()

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

var fieldCache = map[reflect.Type][]field{}

// The fields of a struct in the order of their declaration.
func fieldsOf(t reflect.Type) []field {
	if out, ok := fieldCache[t]; ok {
		return out
	}
	var out []field
	def := definitions[canonical(t.PkgPath()+"."+t.Name())]
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		ft := deref(f.Type)
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" && (f.Anonymous || strings.Contains(options, "inline")) {
			if ft.Kind() == reflect.Struct && leaves[ft] == "" {
				out = append(out, fieldsOf(ft)...)
			}
			continue
		}
		if name == "" {
			continue
		}
		one := field{json: name, t: f.Type, owner: t.Name(), always: !strings.Contains(options, "omitempty")}
		prop := def.Schema.SchemaProps.Properties[name]
		values := prop.Enum
		if prop.Items != nil && prop.Items.Schema != nil && len(values) == 0 {
			values = prop.Items.Schema.Enum
		}
		for _, v := range values {
			if s, ok := v.(string); ok {
				one.enum = append(one.enum, s)
			}
		}
		out = append(out, one)
	}
	fieldCache[t] = out
	return out
}

func fieldOf(t reflect.Type, json string) *field {
	list := fieldsOf(t)
	for i := range list {
		if list[i].json == json {
			return &list[i]
		}
	}
	return nil
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
