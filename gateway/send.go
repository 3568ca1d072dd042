package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
)

// sendFlags say what to build and where to hand it in.
type sendFlags struct {
	from, subject, text, xmpp, email string
	to                               []string
	smtp, http                       string
	json                             bool
}

func sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send --to JID --text T [--xmpp FILE] [--email FILE] [--smtp ADDR or --http URL]",
		Short: "Build an MCMT message and inject it",
		Long: `Build an MCMT message from a text, an XMPP stanza and a mail, and hand it to a
gateway over SMTP or HTTP. A bearer token for HTTP is taken from ` + tokenVariable + `.

  mcmt2xmpp send --to alice@localhost --text 'Track 7'
  echo '<message><body>Track 7</body></message>' >stanza.xml
  mcmt2xmpp send --to alice@localhost --text 'Track 7' --xmpp stanza.xml --http http://127.0.0.1:8025`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := f.build(time.Now(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if f.http != "" {
				return f.overHTTP(ctx, cmd.OutOrStdout(), raw)
			}
			return f.overSMTP(ctx, cmd.OutOrStdout(), raw)
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.to, "to", nil, "recipient `JID`, repeatable")
	fl.StringVar(&f.from, "from", "sender@mcmt.example", "`ADDRESS` for the reverse-path and From")
	fl.StringVar(&f.subject, "subject", "", "Subject `TEXT` of the mail part")
	fl.StringVar(&f.text, "text", "", "`TEXT` of the SMS part, and of the mail part unless --email is given; - reads stdin")
	fl.StringVar(&f.xmpp, "xmpp", "", "`FILE` with the <message/> of the XMPP part")
	fl.StringVar(&f.email, "email", "", "`FILE` with the mail part, a whole message")
	fl.StringVar(&f.smtp, "smtp", "127.0.0.1:2525", "`HOST:PORT` of the SMTP listener")
	fl.StringVar(&f.http, "http", "", "base `URL` of the HTTP listener, such as http://127.0.0.1:8025")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("smtp", "http")
	_ = cmd.MarkFlagFilename("xmpp")
	_ = cmd.MarkFlagFilename("email")
	return cmd
}

// build returns the message for the flags.
func (f *sendFlags) build(now time.Time, in io.Reader) ([]byte, error) {
	if len(f.to) == 0 {
		return nil, errors.New("no recipient: give --to")
	}
	if f.text == "-" {
		all, err := io.ReadAll(io.LimitReader(in, app.Limits.Size))
		if err != nil {
			return nil, err
		}
		f.text = strings.TrimRight(string(all), "\r\n")
	}
	if f.text == "" && f.xmpp == "" && f.email == "" {
		return nil, errors.New("nothing to send: give --text, --xmpp or --email")
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

// overSMTP submits the message and prints the reply.
func (f *sendFlags) overSMTP(ctx context.Context, out io.Writer, raw []byte) error {
	reply, err := relay.Submit(ctx, f.smtp, f.from, f.to, raw)
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(out).Encode(map[string]string{"reply": reply})
	}
	_, err = fmt.Fprintln(out, reply)
	return err
}

// overHTTP posts the message and prints the answer. It is an error when a
// recipient was refused, even where others were not.
func (f *sendFlags) overHTTP(ctx context.Context, out io.Writer, raw []byte) error {
	base, err := url.Parse(f.http)
	if err != nil {
		return err
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("--http %s is not of the form http://host:port", f.http)
	}
	target := base.JoinPath("v1", "messages")
	target.RawQuery = url.Values{"from": {f.from}, "to": f.to}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "message/rfc822")
	if token := os.Getenv(tokenVariable); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusAccepted:
		return fmt.Errorf("%s: %w", f.http, refusal(resp, body))
	case f.json:
		_, err = fmt.Fprintf(out, "%s\n", bytes.TrimSpace(body))
		return errors.Join(err, refusedRecipients(body))
	}
	var answer struct{ ID string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: the answer is not that of a gateway: %w", f.http, err)
	}
	_, err = fmt.Fprintf(out, "accepted as %s\n", answer.ID)
	return errors.Join(err, refusedRecipients(body))
}

// refusedRecipients is the error of an answer that refuses some.
func refusedRecipients(body []byte) error {
	var answer struct {
		Recipients []struct{ To, Status, Reason string }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	var errs []error
	for _, r := range answer.Recipients {
		if r.Status != "accepted" {
			errs = append(errs, fmt.Errorf("%s %s: %s", r.To, r.Status, r.Reason))
		}
	}
	return errors.Join(errs...)
}

func domainOf(addr string) string {
	if j, err := jid.Parse(addr); err == nil {
		return j.Domain()
	}
	return "localhost"
}
