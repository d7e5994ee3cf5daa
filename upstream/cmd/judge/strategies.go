package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

var serializer = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory,
	legacyscheme.Scheme, legacyscheme.Scheme, jsonserializer.SerializerOptions{})

var decoder = legacyscheme.Codecs.UniversalDecoder()

type internal struct {
	object runtime.Object
	gvk    schema.GroupVersionKind
}

func decode(in string, gvk schema.GroupVersionKind) (internal, error) {
	object, _, err := decoder.Decode([]byte(in), &gvk, nil)
	return internal{object, gvk}, err
}

// An object as JSON shows it: without fractions of seconds and lists that are empty but not nil, which
// stored objects do not have.
func settled(in string, gvk schema.GroupVersionKind) (internal, error) {
	read, err := decode(in, gvk)
	if err != nil {
		return read, err
	}
	return decode(read.text(), gvk)
}

var encoders = map[schema.GroupVersion]runtime.Encoder{}

func (i internal) text() string {
	gv := i.gvk.GroupVersion()
	if encoders[gv] == nil {
		encoders[gv] = legacyscheme.Codecs.EncoderForVersion(serializer, gv)
	}
	var out bytes.Buffer
	must(encoders[gv].Encode(i.object, &out))
	return string(bytes.TrimSpace(out.Bytes()))
}

func (i internal) tree() map[string]any {
	var out map[string]any
	must(json.Unmarshal([]byte(i.text()), &out))
	return out
}

var protobufs = protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)

func (i internal) protobuf() string {
	var out bytes.Buffer
	must(legacyscheme.Codecs.EncoderForVersion(protobufs, i.gvk.GroupVersion()).Encode(i.object, &out))
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// What upstream reads out of protobuf that others wrote.
func readProtobuf() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	for lines.Scan() {
		raw, err := base64.StdEncoding.DecodeString(lines.Text())
		must(err)
		object, _, err := protobufs.Decode(raw, nil, nil)
		if err == nil {
			var shown bytes.Buffer
			if err = serializer.Encode(object, &shown); err == nil {
				out.Write(bytes.TrimSpace(shown.Bytes()))
			}
		}
		if err != nil {
			out.WriteString("!" + strings.ReplaceAll(err.Error(), "\n", " "))
		}
		out.WriteByte('\n')
	}
	must(lines.Err())
	must(out.Flush())
}

func (i internal) meta() metav1.Object {
	accessor, err := meta.Accessor(i.object)
	must(err)
	return accessor
}

func (i internal) context(verb, subresource string) context.Context {
	ctx := genericapirequest.WithNamespace(context.Background(), i.meta().GetNamespace())
	// Who signs these must be somebody; of other kinds nobody is asked for.
	if i.gvk.Kind == "PodCertificateRequest" {
		ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{Name: "signer"})
	}
	return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true, APIGroup: i.gvk.Group, APIVersion: i.gvk.Version, Verb: verb, Subresource: subresource})
}

func born(object metav1.Object) {
	object.SetCreationTimestamp(metav1.Unix(1700000000, 0))
	if object.GetUID() == "" {
		object.SetUID("u-1")
	}
}

// What upstream says is wrong; ok is false when it refuses for another reason.
func words(err error) (out []string, ok bool) {
	out = []string{}
	if err == nil {
		return out, true
	}
	status, is := err.(apierrors.APIStatus)
	if !is || status.Status().Reason != metav1.StatusReasonInvalid || status.Status().Details == nil {
		return nil, false
	}
	seen := map[string]bool{}
	for _, c := range status.Status().Details.Causes {
		text := string(c.Type) + "|" + c.Field + ": " + c.Message
		if !seen[text] {
			out = append(out, text)
		}
		seen[text] = true
	}
	return out, true
}

// The object as it would be stored.
func (k *kind) create(object map[string]any) (internal, []string) {
	decoded, err := decode(text(object), k.gvk)
	must(err)
	born(decoded.meta())
	errors, ok := words(rest.BeforeCreate(k.strategy.Main, decoded.context("create", ""), decoded.object))
	if !ok {
		panic("refused")
	}
	return decoded, errors
}

func (j *judge) created(k *kind, object map[string]any) {
	in := text(object)
	if len(in) > most {
		return
	}
	decoded, err := decode(in, k.gvk)
	if err != nil {
		j.line("default", k, in, "!"+err.Error())
		return
	}
	out := decoded.text()
	j.line("default", k, in, out)
	if j.r.Intn(3) == 0 {
		j.line("proto", k, out, decoded.protobuf())
	}
	if other, ok := twins[k.gvk]; ok {
		shown := j.converted(k.gvk, other, out)
		if shown != "" {
			j.converted(other, k.gvk, shown)
		}
	}
	decoded, err = decode(out, k.gvk)
	must(err)
	born(decoded.meta())
	errors, ok := words(rest.BeforeCreate(k.strategy.Main, decoded.context("create", ""), decoded.object))
	if !ok {
		return
	}
	stored := decoded.text()
	j.line("create", k, stored, text(errors))
	if len(errors) > 0 {
		return
	}
	quietly(func() {
		warnings := k.strategy.Main.WarningsOnCreate(decoded.context("create", ""), decoded.object)
		j.line("warn", k, stored, "-", "", text(list(warnings)))
	})
	j.known.learn(object, k.t, "", j.r)
	var tree map[string]any
	must(json.Unmarshal([]byte(stored), &tree))
	if len(k.good) < 60 {
		k.good, k.stored = append(k.good, object), append(k.stored, tree)
	} else if n := j.r.Intn(60); n > 2 && len(in) < most/2 {
		k.good[n], k.stored[n] = object, tree
	}
}

// What an object of one version is at another.
func (j *judge) converted(from, to schema.GroupVersionKind, object string) string {
	decoded, err := decode(object, from)
	if err != nil {
		return ""
	}
	shown := internal{decoded.object, to}.text()
	j.line("convert", &kind{gvk: from}, object, shown)
	return shown
}

// Kinds that are served at two versions.
var twins = map[schema.GroupVersionKind]schema.GroupVersionKind{
	{Group: "autoscaling", Version: "v1", Kind: "HorizontalPodAutoscaler"}: {Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}: {Group: "autoscaling", Version: "v1", Kind: "HorizontalPodAutoscaler"},
	{Group: "", Version: "v1", Kind: "Event"}:                              {Group: "events.k8s.io", Version: "v1", Kind: "Event"},
	{Group: "events.k8s.io", Version: "v1", Kind: "Event"}:                 {Group: "", Version: "v1", Kind: "Event"},
}

// An existing object, sometimes one that is being deleted, sometimes with a status.
func (j *judge) existing(k *kind, i int) map[string]any {
	old := clone(k.stored[i]).(map[string]any)
	m := old["metadata"].(map[string]any)
	m["resourceVersion"] = "1"
	if j.r.Intn(12) == 0 {
		m["deletionTimestamp"], m["deletionGracePeriodSeconds"] = "2023-11-14T22:13:21Z", 5.0
	}
	if len(k.statuses) > 0 && j.r.Intn(3) > 0 {
		old["status"] = clone(k.statuses[j.r.Intn(len(k.statuses))])
	}
	return old
}

func (j *judge) updated(k *kind, i int) {
	old := j.existing(k, i)
	if j.r.Intn(4) == 0 {
		provoke(old, k, j.r)
	}
	changed := clone(old).(map[string]any)
	if j.r.Intn(8) == 0 {
		provoke(changed, k, j.r)
	}
	mutate(changed, k.t, j.known, j.r, 1+j.r.Intn(2))
	j.update("update", k, k.strategy.Main, old, changed)
}

func (j *judge) statusUpdated(k *kind, i int) {
	old := j.existing(k, i)
	if j.r.Intn(4) == 0 {
		provoke(old, k, j.r)
	}
	changed := clone(old).(map[string]any)
	f := fieldOf(deref(k.t), "status")
	if f == nil {
		return
	}
	g := &generator{r: j.r, known: j.known, local: strs(old, nil)}
	status, ok := changed["status"].(map[string]any)
	if !ok || len(status) == 0 || j.r.Intn(6) == 0 {
		changed["status"] = g.structure(deref(f.t), 2)
	} else {
		mutate(status, f.t, j.known, j.r, 1+j.r.Intn(2))
	}
	if j.update("status", k, k.strategy.Status, old, changed) {
		j.known.learn(changed["status"], f.t, "", j.r)
		if len(k.statuses) < 40 {
			k.statuses = append(k.statuses, changed["status"])
		} else {
			k.statuses[j.r.Intn(40)] = changed["status"]
		}
	}
}

func (j *judge) update(sort string, k *kind, strategy rest.RESTUpdateStrategy, old, changed map[string]any) bool {
	was, is := old["metadata"].(map[string]any), map[string]any{}
	if m, ok := changed["metadata"].(map[string]any); ok {
		is = m
	}
	// The URL names the object.
	is["name"], is["resourceVersion"] = was["name"], "1"
	delete(is, "namespace")
	if was["namespace"] != nil {
		is["namespace"] = was["namespace"]
	}
	changed["metadata"] = is
	before, err := settled(text(old), k.gvk)
	must(err)
	in := text(changed)
	if len(in) > most {
		return false
	}
	after, err := settled(in, k.gvk)
	if err != nil {
		return false
	}
	subresource := ""
	if sort == "status" {
		subresource = "status"
	}
	shown := before.text()
	errors, ok := words(rest.BeforeUpdate(strategy, after.context("update", subresource), after.object, before.object))
	if !ok {
		return false
	}
	now := after.text()
	j.line(sort, k, now, shown, text(errors))
	if len(errors) > 0 {
		return false
	}
	quietly(func() {
		warnings := strategy.WarningsOnUpdate(after.context("update", subresource), after.object, before.object)
		j.line("warn", k, now, shown, subresource, text(list(warnings)))
	})
	return true
}

// A list in JSON, not null.
func list(all []string) []string {
	return append([]string{}, all...)
}
