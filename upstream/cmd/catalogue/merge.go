package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
)

// The minor versions that have a line.
type minors map[int]bool

// A struct: its own line and those of its fields.
type section struct {
	present minors
	lines   map[string]minors
}

// Writes the lines of several minor versions as one text: what not all of them have gets a
// range, ` @28-34`. Lines of a struct are measured against the struct.
func merge(out io.Writer, args []string) error {
	sections := map[string]*section{}
	all := minors{}
	for _, arg := range args {
		name, file, found := strings.Cut(arg, "=")
		minor, err := strconv.Atoi(name)
		if !found || err != nil {
			return fmt.Errorf("usage: catalogue merge MINOR=FILE...")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all[minor] = true
		var here *section
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			header := ""
			if strings.HasPrefix(line, "% ") {
				header = line
			}
			if header != "" || here == nil {
				if sections[header] == nil {
					sections[header] = &section{present: minors{}, lines: map[string]minors{}}
				}
				here = sections[header]
				here.present[minor] = true
			}
			if header == "" {
				if here.lines[line] == nil {
					here.lines[line] = minors{}
				}
				here.lines[line][minor] = true
			}
		}
	}
	headers := make([]string, 0, len(sections))
	for h := range sections {
		headers = append(headers, h)
	}
	sort.Strings(headers)
	for _, h := range headers {
		s := sections[h]
		if h != "" {
			write(out, h, s.present, all)
		}
		lines := make([]string, 0, len(s.lines))
		for l := range s.lines {
			lines = append(lines, l)
		}
		sort.Strings(lines)
		for _, l := range lines {
			write(out, l, s.lines[l], s.present)
		}
	}
	return nil
}

// One line for each run of neighbouring versions.
func write(out io.Writer, line string, have, of minors) {
	if len(have) == len(of) {
		fmt.Fprintln(out, line)
		return
	}
	for _, run := range runs(have) {
		fmt.Fprintf(out, "%s @%d-%d\n", line, run[0], run[1])
	}
}

func runs(have minors) [][2]int {
	var list []int
	for m := range have {
		list = append(list, m)
	}
	sort.Ints(list)
	var out [][2]int
	for _, m := range list {
		if n := len(out); n > 0 && out[n-1][1] == m-1 {
			out[n-1][1] = m
			continue
		}
		out = append(out, [2]int{m, m})
	}
	return out
}
