package main

import "fmt"

// maxFindings bounds what is listed of one kind of finding.
const maxFindings = 20

// findings are things of one kind that should not be: all are counted, and the
// first are listed.
type findings struct {
	total int
	first []string
}

func (f *findings) add(finding string) {
	f.total++
	if len(f.first) < maxFindings {
		f.first = append(f.first, finding)
	}
}

// list returns the findings under a heading, or nothing when there are none.
func (f *findings) list(heading string) []string {
	if f.total == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("%s: %d", heading, f.total)}
	for _, finding := range f.first {
		lines = append(lines, "  "+finding)
	}
	if more := f.total - len(f.first); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}
