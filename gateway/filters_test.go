package main

import (
	"encoding/json"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/admin"
)

// fakeFilters are those of a gateway that filters nothing by itself.
type fakeFilters filters.Report

// Report implements admin.Filters.
func (f fakeFilters) Report() filters.Report { return filters.Report(f) }

func scriptFiltered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: filtered FILE")
	}
	var f fakeFilters
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &f))
	url, stop, err := serveAdmin(admin.Options{Filters: f})
	ts.Check(err)
	ts.Defer(func() {
		if err := stop(); err != nil {
			ts.Value("t").(testing.TB).Error(err)
		}
	})
	ts.Setenv("ADMIN", url)
}
