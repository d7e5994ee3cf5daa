package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/mutation"
)

type schemaResource = runtimeschema.GroupVersionResource

// show writes a value so that two values are written alike only when they are alike: whole numbers
// plainly or with `u`, floats with an exponent, maps in the order of their written keys.
func show(v ref.Val) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case *types.Err:
		return "error(" + v.Error() + ")"
	case types.Bool:
		return strconv.FormatBool(bool(v))
	case types.Int:
		return strconv.FormatInt(int64(v), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10) + "u"
	case types.Double:
		return float(float64(v))
	case types.String:
		return quoted(string(v))
	case types.Bytes:
		return `b"` + base64.StdEncoding.EncodeToString(v) + `"`
	case types.Null:
		return "null"
	case types.Duration:
		return fmt.Sprintf("duration(%d)", v.Duration.Nanoseconds())
	case types.Timestamp:
		return "timestamp(" + v.Time.UTC().Format(time.RFC3339Nano) + ")"
	case *types.Optional:
		if !v.HasValue() {
			return "optional.none()"
		}
		return "optional(" + show(v.GetValue()) + ")"
	case *types.Type:
		return "type(" + v.String() + ")"
	case apiservercel.Quantity:
		return "quantity(" + v.Quantity.String() + ")"
	case *apiservercel.Quantity:
		return "quantity(" + v.Quantity.String() + ")"
	case apiservercel.URL:
		return "url(" + v.URL.String() + ")"
	case apiservercel.IP:
		return "ip(" + v.Addr.String() + ")"
	case apiservercel.CIDR:
		return "cidr(" + v.Prefix.String() + ")"
	case apiservercel.Semver:
		return "semver(" + v.Version.String() + ")"
	case apiservercel.Format:
		return "format(" + v.Name + ")"
	case *mutation.JSONPatchVal:
		text := fmt.Sprintf("JSONPatch{op: %s, path: %s, from: %s", quoted(v.Op), quoted(v.Path), quoted(v.From))
		if v.Val != nil {
			text += ", value: " + show(v.Val)
		}
		return text + "}"
	case traits.Mapper:
		var entries []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			value := v.Get(key)
			if name, ok := key.(types.String); ok && (value == nil || types.IsError(value)) {
				// A property is iterated over by its name and asked for by that name as CEL escapes it.
				escaped, _ := apiservercel.Escape(string(name))
				value = v.Get(types.String(escaped))
			}
			entries = append(entries, show(key)+": "+show(value))
		}
		sort.Strings(entries)
		return "{" + strings.Join(entries, ", ") + "}"
	case traits.Lister:
		var items []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			items = append(items, show(it.Next()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if fields, ok := v.Value().(map[string]any); ok {
		text, err := json.Marshal(fields)
		if err == nil {
			return v.Type().TypeName() + string(text)
		}
	}
	return v.Type().TypeName()
}

func quoted(s string) string {
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	write.SetEscapeHTML(false)
	_ = write.Encode(s)
	return strings.TrimSuffix(out.String(), "\n")
}

func float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	power, _ := strconv.Atoi(exponent)
	return mantissa + "e" + strconv.Itoa(power)
}
