package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
)

// sendFlags say what to build and where to hand it in.
type sendFlags struct {
	from, subject, text, xmpp, email string
	to                               []string
	smtp, http, token                string
	json                             bool
}

func sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send --to JID --text T [--xmpp FILE] [--email FILE] [--smtp ADDR or --http URL]",
		Short: "Build an MCMT message and inject it",
		Long: `Build an MCMT message from a text, an XMPP stanza and a mail, and hand it to a
gateway over SMTP (default 127.0.0.1:2525) or HTTP.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := f.build(time.Now())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if f.http != "" {
				return f.overHTTP(ctx, cmd.OutOrStdout(), raw)
			}
			reply, err := relay.Submit(ctx, f.smtp, f.from, f.to, raw)
			if err != nil {
				return err
			}
			if f.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"reply": reply})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), reply)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.to, "to", nil, "recipient, repeatable")
	fl.StringVar(&f.from, "from", "sender@mcmt.example", "reverse-path and From")
	fl.StringVar(&f.subject, "subject", "", "Subject of the mail part")
	fl.StringVar(&f.text, "text", "", "text of the SMS part, and of the mail part unless --email is given; - reads stdin")
	fl.StringVar(&f.xmpp, "xmpp", "", "file with the <message/> of the XMPP part")
	fl.StringVar(&f.email, "email", "", "file with the mail part, a whole message")
	fl.StringVar(&f.smtp, "smtp", "127.0.0.1:2525", "host:port of the SMTP listener")
	fl.StringVar(&f.http, "http", "", "base URL of the HTTP listener, such as http://127.0.0.1:8025")
	fl.StringVar(&f.token, "token", "", "bearer token for --http")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("smtp", "http")
	_ = cmd.MarkFlagRequired("to") // the flag exists: it is defined above
	return cmd
}

// build returns the message for the flags.
func (f *sendFlags) build(now time.Time) ([]byte, error) {
	if f.text == "-" {
		all, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, err
		}
		f.text = string(all)
	}
	if f.text == "" && f.xmpp == "" && f.email == "" {
		return nil, fmt.Errorf("nothing to send: give --text, --xmpp or --email")
	}
	draft := mcmt.Draft{From: f.from, To: f.to, Subject: f.subject, Date: now, Text: f.text, SMS: f.text,
		MessageID: string(mcmt.NewID(now)) + "@" + domainOf(f.from)}
	var err error
	if f.xmpp != "" {
		if draft.XMPP, err = os.ReadFile(f.xmpp); err != nil {
			return nil, err
		}
	}
	if f.email != "" {
		if draft.Email, err = os.ReadFile(f.email); err != nil {
			return nil, err
		}
	}
	return mcmt.Build(draft)
}

// overHTTP posts the message and prints the answer.
func (f *sendFlags) overHTTP(ctx context.Context, out io.Writer, raw []byte) error {
	base, err := url.Parse(f.http)
	if err != nil {
		return err
	}
	target := base.JoinPath("v1", "messages")
	target.RawQuery = url.Values{"from": {f.from}, "to": f.to}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "message/rfc822")
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	_, err = fmt.Fprintf(out, "%s\n", bytes.TrimSpace(answer))
	return err
}

func domainOf(addr string) string {
	if j, err := jid.Parse(addr); err == nil {
		return j.Domain()
	}
	return "localhost"
}
