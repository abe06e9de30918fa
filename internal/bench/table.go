package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
)

// A table collects figures, and which bounds they exceed.
type table struct {
	w    *tabwriter.Writer
	errs []error
}

func newTable() *table {
	t := &table{w: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	_, _ = fmt.Fprintln(t.w, "figure\tfleet-agent\tstatic net/http\tratio")
	return t
}

// row adds a figure and its control.
func (t *table) row(name string, agent, control float64) {
	ratio := "-"
	if control > 0.005 {
		ratio = fmt.Sprintf("%.2f", agent/control)
	}
	_, _ = fmt.Fprintf(t.w, "%s\t%.2f\t%.2f\t%s\n", name, agent, control, ratio)
}

// figure adds one without a control.
func (t *table) figure(name string, agent float64) {
	_, _ = fmt.Fprintf(t.w, "%s\t%.2f\t\t\n", name, agent)
}

// bound holds a figure to the most that docs/performance.md allows.
func (t *table) bound(name string, got, most float64) {
	if got > most {
		t.errs = append(t.errs, fmt.Errorf("%s is %.2f, the bound is %.2f", name, got, most))
	}
}

func (t *table) print() { _ = t.w.Flush() }

func (t *table) exceeded() error { return errors.Join(t.errs...) }
