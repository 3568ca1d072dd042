package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/mcmt"
)

// convertFlags are the flags of the dry run.
type convertFlags struct {
	config, from  string
	to            []string
	json, explain bool
}

func convertCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert [-c FILE] [FILE or -] [--from A] [--to B] [--json] [--explain]",
		Short: "Show the stanza that a message file would become, and why; sends nothing",
		Long: `Show what would become of a message: the stanza for each recipient or the reason
why there is none. Without FILE the message is read from stdin. Nothing is sent
and no gateway is asked; whether a recipient has an account does not matter.

  mcmt2xmpp convert --explain message.eml
  mcmt2xmpp convert -c FILE --to alice@chat.example - <message.eml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			results, err := f.run(cmd.Context(), in)
			if err != nil {
				return err
			}
			if f.json {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetEscapeHTML(false)
				for _, r := range results {
					if err := enc.Encode(r); err != nil {
						return err
					}
				}
				return failed(results)
			}
			for _, r := range results {
				r.print(cmd.OutOrStdout(), f.explain)
			}
			return failed(results)
		},
	}
	configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.from, "from", "", "envelope sender `A`; default the From of the message")
	cmd.Flags().StringSliceVar(&f.to, "to", nil, "envelope recipient `B`, repeatable; default To and Cc of the message")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object per recipient")
	cmd.Flags().BoolVar(&f.explain, "explain", false, "print each decision: mapping, part, scripts, filter verdicts, route, fallback")
	return cmd
}

// dryRun is what would become of the message for one recipient.
type dryRun struct {
	To       string            `json:"to"`
	Stanza   string            `json:"stanza,omitempty"`
	Part     string            `json:"part,omitempty"`
	Scripts  []string          `json:"scripts,omitempty"` // what policy scripts decide and would send
	Outcome  string            `json:"outcome"`
	Error    string            `json:"error,omitempty"`
	Steps    []convert.Step    `json:"steps,omitempty"`
	Filters  []filters.Applied `json:"filters,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`

	why string // it is dropped
}

// failed makes the exit status 1 when a recipient would get nothing for an error.
func failed(results []dryRun) error {
	for _, r := range results {
		if r.Error != "" {
			return reportedError{errors.New(r.Error)}
		}
	}
	return nil
}

func (f *convertFlags) run(ctx context.Context, in io.Reader) ([]dryRun, error) {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, reportDiagnostics(os.Stderr, err)
	}
	rules, err := app.NewRules(cfg)
	if err != nil {
		return nil, err
	}
	scripts, err := newDryScripts(cfg, rules)
	if err != nil {
		return nil, reportDiagnostics(os.Stderr, err)
	}
	limits := app.Limits
	raw, err := io.ReadAll(io.LimitReader(in, limits.Size+1))
	if err != nil {
		return nil, err
	}
	msg, err := mcmt.Parse(raw, limits)
	if err != nil {
		return nil, err
	}
	from, to := f.envelope(msg)
	if len(to) == 0 {
		return nil, errors.New("no recipient: the message has no To, give --to")
	}
	now := time.Now()
	id := string(mcmt.NewID(now))
	var results []dryRun
	for _, rcpt := range to {
		r := dryRun{To: rcpt, Warnings: msg.Warnings, Outcome: "not converted"}
		m := &policy.Message{ID: id, From: from, To: rcpt, Mail: msg, Received: now}
		if ended := scripts.before(ctx, m, &r); ended {
			results = append(results, r)
			continue
		}
		res, err := rules.Converter.Convert(convert.Input{ID: id, From: from, To: m.To, Message: msg, Received: now, Now: now, Place: app.DryPlace(cfg), Explain: true})
		r.Part, r.Steps = res.Part, res.Steps
		if err != nil {
			r.Error = err.Error()
			results = append(results, r)
			continue
		}
		st, ended := scripts.after(ctx, m, res.Stanza, &r)
		if ended {
			results = append(results, r)
			continue
		}
		it := &filters.Item{Stanza: st, Direction: filters.In, Sender: from, Recipient: m.To}
		outcome := rules.Filters.Apply(ctx, it)
		r.Filters, r.Outcome = outcome.Verdicts, outcome.Action.String()
		r.Stanza = string(it.Stanza.Append(nil, ""))
		if outcome.Action == filters.Drop {
			r.why = "dropped by a filter: " + lastReason(r.Filters)
		} else if first := m.To; !scripts.beforeSend(ctx, m, it.Stanza, &r) {
			to := it.Stanza.To
			if m.To != first {
				to, _ = rules.Converter.Recipient(m.To) // zero: it goes there as mail
			}
			r.Steps = append(r.Steps, app.Explain(cfg, rules, to, m.To)...)
		}
		results = append(results, r)
	}
	return results, nil
}

// envelope takes what the flags leave out from the header.
func (f *convertFlags) envelope(msg *mcmt.Message) (from string, to []string) {
	from, to = f.from, f.to
	header := msg.Header
	if from == "" {
		for _, a := range header.Addresses("From") {
			from = a.Addr
			break
		}
	}
	if len(to) == 0 {
		for _, field := range []string{"To", "Cc"} {
			for _, a := range header.Addresses(field) {
				to = append(to, a.Addr)
			}
		}
	}
	return from, to
}

// print writes the result for a person.
func (r dryRun) print(w io.Writer, explain bool) {
	if explain {
		fmt.Fprintf(w, "recipient %s\n", r.To)
		for _, s := range r.Steps {
			fmt.Fprintf(w, "  %-8s %s\n", s.Topic, s.Note)
		}
		for _, s := range r.Warnings {
			fmt.Fprintf(w, "  %-8s %s\n", "warning", s)
		}
		for _, s := range r.Scripts {
			fmt.Fprintf(w, "  %-8s %s\n", "script", s)
		}
		for _, v := range r.Filters {
			action := v.Action
			if action == filters.Continue {
				action = filters.Pass // for a person: this filter had nothing against it
			}
			fmt.Fprintf(w, "  %-8s %s: %s, %s\n", "filter", v.Filter, action, v.Reason)
		}
		outcome := r.Outcome
		if r.Error != "" {
			outcome += ": " + r.Error
		}
		fmt.Fprintf(w, "  %-8s %s\n", "outcome", outcome)
	} else if r.Error != "" {
		fmt.Fprintf(w, "# %s: %s\n", r.To, r.Error)
	} else if r.Outcome == "drop" {
		fmt.Fprintf(w, "# %s: %s\n", r.To, r.why)
	}
	if r.Stanza != "" {
		fmt.Fprintln(w, strings.TrimSpace(r.Stanza))
	}
}

func lastReason(all []filters.Applied) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Reason
}
