// Print answers with upstream's own printers what the table row of an object is.
//
//	print < LINES      one object a line; {"now", "columns", "cells", "object"} a line
//
// Kinds without a printer of their own are left out. With -every N only each Nth line is read
// (2: the second lines of "oracle record").
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"

	_ "freehold.dev/upstream/internal/install"
)

type row struct {
	Now     int64           `json:"now"`
	Columns []string        `json:"columns"`
	Cells   []any           `json:"cells"`
	Object  json.RawMessage `json:"object"`
}

func main() {
	every := flag.Int("every", 1, "read each Nth line only")
	flag.Parse()
	if err := run(*every); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(every int) error {
	generator := printers.NewTableGenerator().With(printersinternal.AddHandlers)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for i := 1; lines.Scan(); i++ {
		if i%every != 0 {
			continue
		}
		internal, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(lines.Bytes(), nil, nil)
		if err != nil {
			continue
		}
		now := time.Now()
		table, err := generator.GenerateTable(internal, printers.GenerateOptions{Wide: true})
		if err != nil || len(table.Rows) != 1 {
			continue
		}
		if err := out.Encode(row{now.Unix(), names(table.ColumnDefinitions), table.Rows[0].Cells, lines.Bytes()}); err != nil {
			return err
		}
	}
	return lines.Err()
}

func names(columns []metav1.TableColumnDefinition) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Name
	}
	return out
}
