package main

import (
	"fmt"
	"io"
)

func merge(out io.Writer, args []string) error {
	return fmt.Errorf("not written yet: %d", len(args))
}
