// Cel says what Kubernetes' own CEL makes of expressions: compiled, typed, estimated, evaluated.
//
//	cel < LINES     the same lines, each with what upstream says
//
// A line is one of
//
//	{"let": NAME, "kind": KIND, "schema": {…}, "self": …, "old": …, …}   a context, for the lines after it
//	{"in": NAME, "v": "1.36", "stored": true, "e": EXPRESSION}           an expression in a context
//
// and what is added to the second is `errors` (the compiler's text), or `type`, `est` (least and
// most estimated cost) and `val` or `fail` with `cost`. Added members of a line that is read are
// written anew, so a file of recordings is its own input. Kinds of context:
//
//	rule       `self` and `oldSelf` of the given structural schema, as in a CRD (the default)
//	optional   the same with optionalOldSelf
//	vars       the variables of `vars`: name → [type, value]
//	policy     the variables of a ValidatingAdmissionPolicy with params and authorizer
//	mutation   the same with the types of a MutatingAdmissionPolicy
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// The members of a line in the order in which they are written.
type line struct {
	Let    string                     `json:"let,omitempty"`
	Kind   string                     `json:"kind,omitempty"`
	Schema json.RawMessage            `json:"schema,omitempty"`
	Self   json.RawMessage            `json:"self,omitempty"`
	Old    json.RawMessage            `json:"old,omitempty"`
	Vars   map[string]json.RawMessage `json:"vars,omitempty"`

	In      string  `json:"in,omitempty"`
	Version string  `json:"v,omitempty"`
	Stored  bool    `json:"stored,omitempty"`
	Expr    string  `json:"e,omitempty"`
	Errors  string  `json:"errors,omitempty"`
	Type    string  `json:"type,omitempty"`
	Est     *[2]any `json:"est,omitempty"`
	Val     string  `json:"val,omitempty"`
	Fail    string  `json:"fail,omitempty"`
	Cost    *uint64 `json:"cost,omitempty"`
	Unsure  string  `json:"unstable,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	contexts := map[string]*scope{}
	for number := 1; lines.Scan(); number++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var l line
		read := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		read.DisallowUnknownFields()
		if err := read.Decode(&l); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		switch {
		case l.Let != "":
			s, err := newScope(&l)
			if err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			contexts[l.Let] = s
		case contexts[l.In] == nil:
			return fmt.Errorf("line %d: no context %q", number, l.In)
		default:
			if err := contexts[l.In].answer(&l); err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			if l.Unsure != "" {
				fmt.Fprintf(os.Stderr, "line %d: unstable: %s: %s\n", number, l.Expr, l.Unsure)
			}
		}
		write := json.NewEncoder(out)
		write.SetEscapeHTML(false)
		if err := write.Encode(l); err != nil {
			return err
		}
	}
	return lines.Err()
}
