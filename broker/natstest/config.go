package natstest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// unreachable is what a server of a cluster says others can reach it at: an
// address that refuses. They would otherwise connect past the relays.
const unreachable = "127.0.0.1:1"

func (c *Cluster) url(i int) string {
	scheme := "nats"
	if c.o.TLS {
		scheme = "tls"
	}
	return scheme + "://" + c.nodes[i].front.addr
}

// config is the configuration of a server in the language of nats-server.
func (c *Cluster) config(i int) string {
	var b strings.Builder
	say := func(format string, v ...any) { fmt.Fprintf(&b, format+"\n", v...) }
	say(`server_name: %s`, c.nodes[i].name)
	say(`listen: "127.0.0.1:-1"`)
	say(`max_payload: 8MB`)
	say(`jetstream {`)
	say(`  store_dir: %q`, filepath.Join(c.nodes[i].dir, "store"))
	say(`  max_memory_store: 256MB`)
	say(`  max_file_store: 32GB`)
	if c.o.SyncAlways {
		say(`  sync_interval: always`)
	}
	say(`}`)
	c.sayAuth(say)
	if s := c.secrets; s.cert != "" {
		say(`tls { cert_file: %q, key_file: %q }`, s.cert, s.key)
	}
	if len(c.nodes) == 1 {
		return b.String()
	}
	say(`cluster {`)
	say(`  name: test`)
	say(`  listen: "127.0.0.1:-1"`)
	say(`  advertise: %q`, unreachable)
	say(`  no_advertise: true`) // of the clients' addresses, which change
	say(`  routes: [`)
	for j := range c.nodes {
		if r := c.links[[2]int{i, j}]; r != nil {
			say(`    "nats://%s"`, r.addr)
		}
	}
	say(`  ]`)
	say(`}`)
	return b.String()
}

func (c *Cluster) sayAuth(say func(string, ...any)) {
	switch a, s := c.access, c.secrets; c.o.Auth {
	case Password:
		say(`authorization { user: %q, password: %q }`, a.User, a.Password)
	case Token:
		say(`authorization { token: %q }`, a.Token)
	case Credentials:
		say(`operator: %q`, s.operator)
		say(`system_account: %s`, s.systemAccount)
		say(`resolver: MEMORY`)
		say(`resolver_preload: {`)
		say(`  %s: %q`, s.account, s.accountJWT)
		say(`  %s: %q`, s.systemAccount, s.systemAccountJWT)
		say(`}`)
	case Nobody:
	}
}
