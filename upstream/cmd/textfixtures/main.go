// textfixtures records what upstream makes of small texts: quantities, times, durations, selectors
// and names. A line holds what the text is, the text, and the result or `! ` and the error, all
// three as JSON strings with tabs between them.
//
//	go run ./cmd/textfixtures > ../crates/model/tests/fixtures/texts.txt
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

func main() {
	r := rand.New(rand.NewSource(36))
	record("quantity", texts(r, 500, []string{
		"0", "1", "2", "5", "9", "10", "100", "1024", "999", "128", "0.", ".", "5", "00", "1234567", "-", "+",
		"n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e", "e3", "E-3", "e12",
		"1.5", "0.1", "3.001", "00", "i", " ",
	}, 4), func(s string) (string, error) {
		q, err := resource.ParseQuantity(s)
		if err != nil {
			return "", err
		}
		sum := q.DeepCopy()
		sum.Add(resource.MustParse("1500m"))
		// Upstream's integers overflow silently: only what fits is worth recording.
		value, milli := "", ""
		if max := resource.MustParse("9223372036854775"); q.Cmp(max) < 0 && sum.CmpInt64(-9223372036854775) > 0 {
			value, milli = fmt.Sprint(q.Value()), fmt.Sprint(q.MilliValue())
		}
		return fmt.Sprint(q.String(), " ", sum.String(), " ", value, " ", milli, " ", q.Sign()), nil
	})
	record("time", texts(r, 300, []string{
		"2024-01-01", "T", "00:00:00", "Z", "2024-02-30", "23:59:59", "+01:00", "-25:00", ".5", ".123456789", " ", "x",
		"2024", "-", "13", ":", "60", "1969-12-31", "0001-01-01", "t", "z", ",5", "+0100",
	}, 5), func(s string) (string, error) {
		t, err := time.Parse(time.RFC3339, s)
		return t.UTC().Format(time.RFC3339), err
	})
	record("duration", texts(r, 300, []string{
		"1", "0", "30", "1.5", "h", "m", "s", "ms", "us", "µs", "ns", "-", "+", ".", "x", "99999999999", "0.000000001", " ",
	}, 5), func(s string) (string, error) {
		d, err := time.ParseDuration(s)
		return d.String(), err
	})
	record("labels", texts(r, 700, []string{
		"a", "b.c/d", "x", "=", "==", "!=", "!", ",", " ", "in", "notin", "(", ")", "(a,b)", " in ", ">", "<", "5", "-", "é",
		"a=b", "&", "a in (b)", "gt", "\t", "_", "A/", strings.Repeat("l", 64),
	}, 6), func(s string) (string, error) {
		l, err := labels.Parse(s)
		if err != nil {
			return "", err
		}
		var shown []string
		requirements, _ := l.Requirements()
		for _, r := range requirements {
			text := r.String()
			if values := r.Values(); values.Len() == 1 {
				// Three ways to write one thing.
				text = strings.Replace(text, "==", "=", 1)
				text = strings.Replace(text, fmt.Sprintf(" in (%s)", values.List()[0]), "="+values.List()[0], 1)
				text = strings.Replace(text, fmt.Sprintf(" notin (%s)", values.List()[0]), "!="+values.List()[0], 1)
			}
			shown = append(shown, text)
		}
		return strings.Join(shown, ","), nil
	})
	record("fields", texts(r, 300, []string{
		"a.b", "x", "=", "==", "!=", ",", "\\", "\\,", "\\=", "\\\\", " ", "é", "a=b", "metadata.name=x", "!",
	}, 6), func(s string) (string, error) {
		f, err := fields.ParseSelector(s)
		if err != nil {
			return "", err
		}
		return f.String(), nil
	})
	names := texts(r, 400, []string{
		"a", "A", "0", "-", "_", ".", "/", "example.com", "é", " ", "%", "*.", "..", "*", "80%", "=", strings.Repeat("n", 62),
		strings.Repeat("n", 250), "my-name", "5",
	}, 5)
	for _, check := range []struct {
		kind string
		rule func(string) []string
	}{
		{"dns1123_label", validation.IsDNS1123Label},
		{"dns1123_subdomain", validation.IsDNS1123Subdomain},
		{"dns1035_label", validation.IsDNS1035Label},
		{"qualified_name", validation.IsQualifiedName},
		{"label_value", validation.IsValidLabelValue},
		{"port_name", validation.IsValidPortName},
		{"config_map_key", validation.IsConfigMapKey},
		{"env_var_name", validation.IsRelaxedEnvVarName},
		{"percent", validation.IsValidPercent},
		{"http_header_name", validation.IsHTTPHeaderName},
		{"c_identifier", validation.IsCIdentifier},
		{"wildcard_dns1123_subdomain", validation.IsWildcardDNS1123Subdomain},
		{"dns1123_subdomain_with_underscore", validation.IsDNS1123SubdomainWithUnderscore},
	} {
		record(check.kind, names[r.Intn(100):][:100], func(s string) (string, error) {
			return strings.Join(check.rule(s), "; "), nil
		})
	}
}

func texts(r *rand.Rand, n int, parts []string, most int) []string {
	seen := map[string]bool{}
	var out []string
	for tries := 0; len(out) < n && tries < 50*n; tries++ {
		var s strings.Builder
		for i := r.Intn(most + 1); i > 0; i-- {
			s.WriteString(parts[r.Intn(len(parts))])
		}
		if t := s.String(); !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

func record(kind string, texts []string, of func(string) (string, error)) {
	for _, text := range texts {
		result, err := of(text)
		if err != nil {
			result = "! " + err.Error()
		}
		a, _ := json.Marshal(text)
		b, _ := json.Marshal(result)
		fmt.Printf("%s\t%s\t%s\n", kind, a, b)
	}
}
