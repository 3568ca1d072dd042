package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthPatience is how long a gateway may take to say how it is.
const healthPatience = 5 * time.Second

func healthCommand() *cobra.Command {
	where := new(target)
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running gateway how it is; the status says it",
		Long: `Ask a running gateway whether it answers (/healthz), with --ready whether it can do its work
(/readyz). Status 0: yes; 1: no, with the reasons. It needs no shell and no other program,
so that a container can be its own probe.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthPatience)
			defer cancel()
			return where.running(ctx, func(ctx context.Context, c adminClient) error {
				said, err := c.plain(ctx, path)
				if err == nil {
					_, err = fmt.Fprint(cmd.OutOrStdout(), said)
				}
				return err
			})
		},
	}
	where.flags(cmd)
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready to work")
	return cmd
}

// plain asks for a text. The error has the text of an answer that is none of success.
func (c adminClient) plain(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPlain))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode >= 300:
		return "", fmt.Errorf("%s: %s: %s", c.base, resp.Status, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// maxPlain bounds the text of a state.
const maxPlain = 64 << 10
