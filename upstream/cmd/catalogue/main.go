// Writes facts of the built-in Kubernetes API, read from upstream's Go types, generated OpenAPI
// and a running server, as lines of text. See ../../README.md for how it is run; package
// catalogue of crate freehold-model describes the format.
//
//	catalogue types                       types of the API module versions this was built with
//	catalogue resources URL TOKEN         resources and columns of the server at URL
//	catalogue versions DIR [MINOR...]     types of every supported minor version, one file each
//	catalogue merge MINOR=FILE...         one text of several minor versions
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say one of: types, resources, versions, merge")
	}
	switch args[0] {
	case "types":
		return dumpTypes(os.Stdout)
	case "resources":
		if len(args) != 3 {
			return fmt.Errorf("usage: catalogue resources URL TOKEN")
		}
		return dumpResources(os.Stdout, args[1], args[2])
	case "versions":
		if len(args) < 2 {
			return fmt.Errorf("usage: catalogue versions DIR [MINOR...]")
		}
		return versions(args[1], args[2:])
	case "merge":
		return merge(os.Stdout, args[1:])
	}
	return fmt.Errorf("unknown command %q", args[0])
}
