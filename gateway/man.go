package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Long: `Write a manual page of section 1 for each command into a folder, which is made where it is not there:

  mcmt2xmpp man /usr/local/share/man/man1`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, args []string) error { return writeManual(args[0]) },
	}
}

// writeManual writes a page per command.
func writeManual(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("man: %w", err)
	}
	cmd := root()
	cmd.DisableAutoGenTag = true // so that pages of one version are the same
	forManual(cmd)
	err := doc.GenManTree(cmd, &doc.GenManHeader{Section: "1", Source: "mcmt2xmpp " + version(), Manual: "mcmt2xmpp"}, dir)
	if err != nil {
		return fmt.Errorf("man: %w", err)
	}
	return nil
}

// forManual makes the indented lines of the texts blocks of Markdown, which the pages
// are made from and which would run them together.
func forManual(cmd *cobra.Command) {
	var b strings.Builder
	block := false
	for line := range strings.Lines(cmd.Long) {
		indented := strings.HasPrefix(line, "  ")
		if indented != block && line != "\n" {
			b.WriteByte('\n')
			block = indented
		}
		if indented {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	cmd.Long = b.String()
	for _, sub := range cmd.Commands() {
		forManual(sub)
	}
}
