package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
)

// completionPatience is how long a person who has pressed the key waits.
const completionPatience = 2 * time.Second

// named are the commands whose first argument is something that a running gateway
// knows the names of.
var named = map[string]func(context.Context, adminClient) ([]string, error){
	"mcmt2xmpp user passwd":   accountNames,
	"mcmt2xmpp user remove":   accountNames,
	"mcmt2xmpp roster get":    accountNames,
	"mcmt2xmpp roster import": accountNames,
	"mcmt2xmpp trace":         accountNames,
	"mcmt2xmpp s2s check":     serverNames,
	"mcmt2xmpp s2s retry":     serverNames,
	"mcmt2xmpp s2s block":     serverNames,
	"mcmt2xmpp s2s unblock":   serverNames,
	"mcmt2xmpp queue list":    routeNames,
	"mcmt2xmpp queue show":    routeNames,
	"mcmt2xmpp queue retry":   routeNames,
	"mcmt2xmpp queue hold":    routeNames,
	"mcmt2xmpp queue release": routeNames,
	"mcmt2xmpp queue drop":    routeNames,
}

// completeNames has the shell complete the names for cmd and the commands under it.
func completeNames(cmd *cobra.Command) {
	if names := named[cmd.CommandPath()]; names != nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				if cmd.Name() == "import" {
					return nil, cobra.ShellCompDirectiveDefault // a file
				}
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return runningNames(cmd, typed, names), cobra.ShellCompDirectiveNoFileComp
		}
	}
	for _, sub := range cmd.Commands() {
		completeNames(sub)
	}
}

// runningNames asks the gateway that the flags so far name. Where none answers in time
// there is nothing to offer.
func runningNames(cmd *cobra.Command, typed string, names func(context.Context, adminClient) ([]string, error)) []string {
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	var where target
	where.config, _ = cmd.Flags().GetString("config")
	where.admin, _ = cmd.Flags().GetString("admin")
	var all []string
	_ = where.running(ctx, func(ctx context.Context, c adminClient) (err error) {
		all, err = names(ctx, c)
		return err
	})
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, typed) })
}

func accountNames(ctx context.Context, c adminClient) (all []string, _ error) {
	users, err := c.List(ctx)
	for _, u := range users {
		all = append(all, u.String())
	}
	return all, err
}

func serverNames(ctx context.Context, c adminClient) (all []string, _ error) {
	var streams []admin.ServerStream
	err := c.call(ctx, http.MethodGet, "/v1/s2s", nil, &streams)
	for _, s := range streams {
		all = append(all, s.Domain)
	}
	slices.Sort(all)
	return slices.Compact(all), err
}

func routeNames(ctx context.Context, c adminClient) (all []string, _ error) {
	var routes admin.QueueRoutes
	err := c.call(ctx, http.MethodGet, "/v1/queue", nil, &routes)
	for _, r := range routes.Routes {
		if strings.Contains(r.Route, "@") { // domains have a flag
			all = append(all, r.Route)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), err
}

// completeScope offers the next word of the scopes of a configuration.
func completeScope(file string, args []string) (all []string) {
	cfg, err := loadConfig(file)
	if err != nil {
		return nil
	}
	for _, scope := range cfg.Scopes() {
		words := strings.Fields(scope)
		if len(words) > len(args) && slices.EqualFunc(words[:len(args)], args, strings.EqualFold) {
			all = append(all, words[len(args)])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
