package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The release of each minor version whose types are read.
var releases = []string{
	"1.28.15", "1.29.15", "1.30.14", "1.31.14", "1.32.13", "1.33.13", "1.34.4", "1.35.4", "1.36.3", "1.37.0",
}

//go:embed *.go
var sources embed.FS

// Builds this program once per release, against its modules, and writes `types-NN.txt` to dir.
func versions(dir string, only []string) error {
	for _, release := range releases {
		minor := strings.Split(release, ".")[1]
		wanted := len(only) == 0
		for _, o := range only {
			wanted = wanted || o == minor
		}
		if !wanted {
			continue
		}
		fmt.Fprintln(os.Stderr, "catalogue: reading", release)
		if err := version(dir, release, minor); err != nil {
			return fmt.Errorf("%s: %w", release, err)
		}
	}
	return nil
}

func version(dir, release, minor string) error {
	module := filepath.Join(dir, "v1."+minor)
	if err := os.MkdirAll(module, 0o755); err != nil {
		return err
	}
	files, err := sources.ReadDir(".")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := sources.ReadFile(f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(module, f.Name()), text, 0o644); err != nil {
			return err
		}
	}
	mod, err := goMod(module, release)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	if _, err := goRun(module, "build", "-mod=mod", "-p=1", "-o", "catalogue", "."); err != nil {
		return err
	}
	out, err := exec.Command(filepath.Join(module, "catalogue"), "types").Output()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "types-"+minor+".txt"), out, 0o644)
}

// k8s.io/kubernetes requires its staging modules at v0.0.0: here each gets its real version.
func goMod(dir, release string) (string, error) {
	// A go.mod must be there for the go command to run in the directory.
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module freehold.dev/upstream/catalogue\n"), 0o644); err != nil {
		return "", err
	}
	out, err := goRun(dir, "mod", "download", "-json", "k8s.io/kubernetes@v"+release)
	if err != nil {
		return "", err
	}
	var found struct{ GoMod string }
	if err := json.Unmarshal(out, &found); err != nil {
		return "", err
	}
	text, err := os.ReadFile(found.GoMod)
	if err != nil {
		return "", err
	}
	staging := "v0" + strings.TrimPrefix(release, "1")
	var mod strings.Builder
	fmt.Fprintf(&mod, "module freehold.dev/upstream/catalogue\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n\n", release)
	// Not every mirror of the checksum database has every release; these types never change.
	elsewhere := map[string]string{"k8s.io/kube-aggregator v0.31.14": "v0.31.10"}
	for _, m := range regexp.MustCompile(`(?m)^[ \t]*(?:require )?(k8s\.io/[a-z0-9-]+) v0\.0\.0(?:[ \t].*)?$`).FindAllStringSubmatch(string(text), -1) {
		at := staging
		if other := elsewhere[m[1]+" "+staging]; other != "" {
			at = other
		}
		fmt.Fprintf(&mod, "replace %s => %s %s\n", m[1], m[1], at)
	}
	return mod.String(), nil
}

func goRun(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return cmd.Output()
}
