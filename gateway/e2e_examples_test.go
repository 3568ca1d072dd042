package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const examples = "../deploy/examples/"

// What of a file in deploy/ belongs to the machine: addresses, folders, secrets.
var (
	exampleListen = regexp.MustCompile(`(?i)\blisten "([^"]*)" \{`)
	exampleURLs   = regexp.MustCompile(`urls = \([^)]*\)`)
	exampleSecret = regexp.MustCompile(`\$\{[A-Z_]+\}`)
)

// streams are the ports of an xmpp_listener, whose number says what is spoken there.
var streams = map[string]string{"5222": "client", "5223": "client", "5269": "server", "5280": "websocket", "5281": "websocket"}

// onLoopback is a configuration of deploy/ as it can be started here: on free ports of
// loopback, each scope on an address of its own, with its data in the folder of the test.
func onLoopback(text string) string {
	n := 0
	text = exampleListen.ReplaceAllStringFunc(text, func(s string) string {
		n++
		address := exampleListen.FindStringSubmatch(s)[1]
		if strings.HasPrefix(address, "/") {
			return fmt.Sprintf(`listen "unix:socket%d" {`, n)
		}
		scope := fmt.Sprintf(`listen "127.0.0.%d:0" {`, n)
		if stream := streams[address[strings.LastIndexByte(address, ':')+1:]]; stream != "" {
			scope += fmt.Sprintf(" stream = %q ", stream)
		}
		return scope
	})
	text = strings.ReplaceAll(text, "/var/lib/mcmt2xmpp", "data")
	return exampleSecret.ReplaceAllStringFunc(text, secretOf) + "\nlog_format = \"json\"\n"
}

// secretOf is what the environment has under a name: a key of a webhook, or a secret that
// is no other's.
func secretOf(name string) string {
	if strings.Contains(name, "WEBHOOK_KEY") {
		return hookKey
	}
	return "a-secret-of-the-environment-" + strings.Trim(name, "${}")
}

// TestExamplesStart: each example starts, says that it is ready, and takes what it is
// for. What is sent to servers that are not there waits, and keeps nothing from starting.
func TestExamplesStart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "single-host", "beside-a-server", "sms-operator", "policy", "events-and-operators", "three-node-cluster"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startExample(t, readExample(t, name+".conf"))
		})
	}
}

// startExample starts a configuration of deploy/ and asks it how it is.
func startExample(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "log_format = \"json\"\n", "")
	if exampleURLs.MatchString(text) {
		nats := newNATS(t)
		text = exampleURLs.ReplaceAllString(text, fmt.Sprintf(`urls = ( "nats://127.0.0.1:%d" )`, nats.o.Port))
		text = strings.ReplaceAll(text, "replicas = 3", "replicas = 1") // there is one server
	}
	g := newGatewayOf(t, onLoopback(text))
	g.write("policy.lua", readExample(t, "policy.lua"))
	g.start()
	resp, err := http.Get(g.admin() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
	for _, listener := range []string{"esmtp_listener", "http_listener"} {
		if g.addr(listener) == "" {
			t.Errorf("nothing is taken by %s", listener)
		}
	}
	m := dialSMTP(t, g.smtp())
	m.say("EHLO client.example", "250")
	m.say("QUIT", "221")
	g.stop()
}

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
