package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	crdcel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// A scope is what an expression sees: declarations and values.
type scope struct {
	options   []environment.VersionedOptions
	estimator *library.CostEstimator
	values    map[string]any
	// by version, as making one is slow
	envs map[string]*environment.EnvSet
}

func newScope(l *line) (*scope, error) {
	s := &scope{
		estimator: &library.CostEstimator{},
		values:    map[string]any{},
		envs:      map[string]*environment.EnvSet{},
	}
	switch l.Kind {
	case "", "rule":
		return s, s.rule(l, false)
	case "optional":
		return s, s.rule(l, true)
	case "vars":
		return s, s.vars(l)
	case "policy":
		return s, s.policy(l, false)
	case "mutation":
		return s, s.policy(l, true)
	}
	return nil, fmt.Errorf("unknown kind %q", l.Kind)
}

func always(opts []cel.EnvOption, decls ...*apiservercel.DeclType) environment.VersionedOptions {
	return environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: opts, DeclTypes: decls,
	}
}

func unstructured(raw json.RawMessage) (any, error) {
	if raw == nil {
		return nil, nil
	}
	var v any
	return v, utiljson.Unmarshal(raw, &v)
}

func (s *scope) rule(l *line, optional bool) error {
	var v1 apiextensionsv1.JSONSchemaProps
	var props apiextensions.JSONSchemaProps
	if err := json.Unmarshal(l.Schema, &v1); err != nil {
		return err
	}
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1, &props, nil)
	if err != nil {
		return err
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		return err
	}
	decl := model.SchemaDeclType(structural, v1.XEmbeddedResource)
	if decl == nil {
		return fmt.Errorf("the schema has no type in CEL")
	}
	decl = decl.MaybeAssignTypeName("selfType")
	s.estimator.SizeEstimator = &sizes{root: decl}
	old := decl.CelType()
	if optional {
		old = types.NewOptionalType(old)
	}
	s.options = []environment.VersionedOptions{always([]cel.EnvOption{
		cel.Variable("self", decl.CelType()), cel.Variable("oldSelf", old),
	}, decl)}
	for name, raw := range map[string]json.RawMessage{"self": l.Self, "oldSelf": l.Old} {
		v, err := unstructured(raw)
		if err != nil {
			return err
		}
		if raw == nil && !(optional && name == "oldSelf") {
			continue
		}
		var val ref.Val = types.OptionalNone
		if raw != nil {
			val = crdcel.UnstructuredToVal(v, structural)
		}
		if optional && name == "oldSelf" && raw != nil {
			val = types.OptionalOf(val)
		}
		s.values[name] = val
	}
	return nil
}

var named = map[string]*cel.Type{
	"bool": cel.BoolType, "int": cel.IntType, "uint": cel.UintType, "double": cel.DoubleType,
	"string": cel.StringType, "bytes": cel.BytesType, "dyn": cel.DynType,
	"list(string)": cel.ListType(cel.StringType), "list(int)": cel.ListType(cel.IntType),
	"list(dyn)": cel.ListType(cel.DynType), "map(string,string)": cel.MapType(cel.StringType, cel.StringType),
	"map(string,dyn)": cel.MapType(cel.StringType, cel.DynType),
	"timestamp":       cel.TimestampType, "duration": cel.DurationType, "null": cel.NullType,
	"optional(string)": cel.OptionalType(cel.StringType),
}

func (s *scope) vars(l *line) error {
	var opts []cel.EnvOption
	for name, raw := range l.Vars {
		var pair [2]json.RawMessage
		var kind string
		if err := json.Unmarshal(raw, &pair); err != nil {
			return err
		}
		if err := json.Unmarshal(pair[0], &kind); err != nil {
			return err
		}
		t := named[kind]
		if t == nil {
			return fmt.Errorf("unknown type %q", kind)
		}
		opts = append(opts, cel.Variable(name, t))
		v, err := unstructured(pair[1])
		if err != nil {
			return err
		}
		switch kind {
		case "uint":
			v = uint64(v.(int64))
		case "double":
			if i, ok := v.(int64); ok {
				v = float64(i)
			}
		case "bytes":
			v = []byte(v.(string))
		case "timestamp":
			v, err = time.Parse(time.RFC3339, v.(string))
		case "duration":
			v, err = time.ParseDuration(v.(string))
		case "optional(string)":
			v = types.OptionalOf(types.String(v.(string)))
		}
		if err != nil {
			return err
		}
		s.values[name] = v
	}
	s.options = []environment.VersionedOptions{always(opts)}
	return nil
}

// As admission/plugin/cel/compile.go declares and condition.go binds them. The values of `object`,
// `oldObject`, `params`, `request` and `namespaceObject` are those of `vars`.
func (s *scope) policy(l *line, patches bool) error {
	request, namespace := admission.BuildRequestType(), admission.BuildNamespaceType()
	s.options = []environment.VersionedOptions{always([]cel.EnvOption{
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("namespaceObject", namespace.CelType()), cel.Variable("request", request.CelType()),
		cel.Variable("params", cel.DynType), cel.Variable("authorizer", library.AuthorizerType),
		cel.Variable("authorizer.requestResource", library.ResourceCheckType),
	}, namespace, request)}
	if patches {
		s.options = append(s.options, always([]cel.EnvOption{
			common.ResolverEnvOption(&mutation.DynamicTypeResolver{}),
			environment.UnversionedLib(library.JSONPatch),
		}))
	}
	for _, name := range []string{"object", "oldObject", "namespaceObject", "request", "params"} {
		v, err := unstructured(l.Vars[name])
		if err != nil {
			return err
		}
		s.values[name] = v
	}
	who := &user.DefaultInfo{Name: "alice", UID: "42", Groups: []string{"dev", "system:authenticated"}}
	s.values["authorizer"] = library.NewAuthorizerVal(who, echo{})
	s.values["authorizer.requestResource"] = library.NewResourceAuthorizerVal(who, echo{}, resource{})
	return nil
}

// resource is what a request of the recordings is about.
type resource struct{}

func (resource) GetName() string        { return "web" }
func (resource) GetNamespace() string   { return "shop" }
func (resource) GetSubresource() string { return "scale" }
func (resource) GetResource() (r schemaResource) {
	r.Group, r.Version, r.Resource = "apps", "v1", "deployments"
	return r
}

// echo allows what is read, fails on the verb `fail`, and gives what it was asked as its reason.
type echo struct{}

func (echo) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "fail" {
		return authorizer.DecisionNoOpinion, "", fmt.Errorf("no answer")
	}
	var asked []string
	add := func(name, value string) {
		if value != "" {
			asked = append(asked, name+"="+value)
		}
	}
	add("user", a.GetUser().GetName())
	add("uid", a.GetUser().GetUID())
	add("groups", strings.Join(a.GetUser().GetGroups(), ","))
	add("verb", a.GetVerb())
	add("path", a.GetPath())
	if a.IsResourceRequest() {
		add("group", a.GetAPIGroup())
		add("version", a.GetAPIVersion())
		add("resource", a.GetResource())
		add("subresource", a.GetSubresource())
		add("namespace", a.GetNamespace())
		add("name", a.GetName())
	}
	if fields, err := a.GetFieldSelector(); err != nil {
		add("fields", "unparsable")
	} else {
		for _, f := range fields {
			add("field", f.Field+" "+string(f.Operator)+" "+f.Value)
		}
	}
	if labels, err := a.GetLabelSelector(); err != nil {
		add("labels", "unparsable")
	} else {
		for _, r := range labels {
			add("label", r.Key()+" "+string(r.Operator())+" "+strings.Join(r.ValuesUnsorted(), "|"))
		}
	}
	decision := authorizer.DecisionNoOpinion
	if a.GetVerb() == "get" || a.GetVerb() == "list" {
		decision = authorizer.DecisionAllow
	}
	return decision, strings.Join(asked, " "), nil
}

// As the estimator of apiextensions' schema/cel/compilation.go, which is private there.
type sizes struct{ root *apiservercel.DeclType }

func (c *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	if len(element.Path()) == 0 {
		return nil
	}
	at := c.root
	for _, name := range element.Path()[1:] {
		switch name {
		case "@items", "@values":
			at = at.ElemType
		case "@keys":
			at = at.KeyType
		default:
			field, ok := at.Fields[name]
			if !ok {
				return nil
			}
			at = field.Type
		}
		if at == nil {
			return nil
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(at.MaxElements)}
}

func (*sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

func (s *scope) env(l *line) (*cel.Env, error) {
	v := l.Version
	if v == "" {
		v = "1.36"
	}
	set := s.envs[v]
	if set == nil {
		parsed, err := version.ParseMajorMinor(v)
		if err != nil {
			return nil, err
		}
		set = environment.MustBaseEnvSet(parsed)
		// One after the other: declared types and resolvers of types replace each other otherwise.
		for _, option := range s.options {
			if set, err = set.Extend(option); err != nil {
				return nil, err
			}
		}
		s.envs[v] = set
	}
	if l.Stored {
		return set.StoredExpressionsEnv(), nil
	}
	return set.NewExpressionsEnv(), nil
}

func (s *scope) answer(l *line) error {
	l.Errors, l.Type, l.Est, l.Val, l.Fail, l.Cost, l.Unsure = "", "", nil, "", "", nil, ""
	env, err := s.env(l)
	if err != nil {
		return err
	}
	ast, issues := env.Compile(l.Expr)
	if issues != nil {
		l.Errors = issues.String()
		return nil
	}
	l.Type = ast.OutputType().String()
	est, err := env.EstimateCost(ast, s.estimator)
	if err != nil {
		return err
	}
	l.Est = &[2]any{est.Min, est.Max}
	if est.Max == math.MaxUint64 {
		l.Est[1] = "max"
	}
	if est.Min == math.MaxUint64 {
		l.Est[0] = "max"
	}
	program, err := env.Program(ast, cel.CostLimit(celconfig.PerCallLimit),
		cel.CostTracking(s.estimator), cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		l.Fail = "program instantiation failed: " + err.Error()
		return nil
	}
	for try := 0; try < 4; try++ {
		val, details, err := program.ContextEval(context.Background(), s.values)
		value, fail := "", ""
		if err != nil {
			fail = err.Error()
		} else {
			value = show(val)
		}
		var cost *uint64
		if details != nil {
			cost = details.ActualCost()
		}
		if try > 0 && (value != l.Val || fail != l.Fail || number(cost) != number(l.Cost)) {
			l.Unsure = fmt.Sprintf("%s%s %s", value, fail, number(cost))
		}
		l.Val, l.Fail, l.Cost = value, fail, cost
	}
	return nil
}

func number(n *uint64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(*n, 10)
}
