package broker

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"mcmt2xmpp/broker/natstest"
)

// What is wrong with a connection is said in the words of the options.
func TestOpenRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	t.Parallel()
	password := natstest.New(t, 1, natstest.Options{Auth: natstest.Password, TLS: true})
	token := natstest.New(t, 1, natstest.Options{Auth: natstest.Token})
	creds := natstest.New(t, 1, natstest.Options{Auth: natstest.Credentials})
	other := natstest.New(t, 1, natstest.Options{Auth: natstest.Credentials}).Access()
	plain := natstest.New(t, 1, natstest.Options{})
	three := natstest.New(t, 3, natstest.Options{})
	foreign := filepath.Join(t.TempDir(), "foreign.pem")
	if err := natstest.Authority(foreign); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		c       *natstest.Cluster
		wrong   func(o *Options)
		want    string
		waiting bool // may help
	}{
		{"password", password, func(o *Options) { o.Password = "wrong" }, `connect: the server refuses user "gateway" with this password: `, false},
		{"no credentials", password, func(o *Options) { o.User, o.Password = "", "" }, "connect: the server refuses a connection without credentials: ", false},
		{"token", token, func(o *Options) { o.Token = "wrong" }, "connect: the server refuses the token: ", false},
		{"credentials of another operator", creds, func(o *Options) { o.CredsFile = other.CredsFile }, "connect: the server refuses the credentials in " + other.CredsFile, false},
		{"credentials that are none", creds, func(o *Options) { o.CredsFile = foreign }, "no nkey seed found", true},
		{"authority of another", password, func(o *Options) { o.TLSCA = foreign }, "connect: the certificate of the server is of no authority in " + foreign, false},
		{"authority left out", password, func(o *Options) { o.TLSCA = "" }, "connect: the certificate of the server is of no authority in the system: ", false},
		{"authority not there", password, func(o *Options) { o.TLSCA = "/nowhere/ca.pem" }, "/nowhere/ca.pem: no such file", true},
		{"TLS with a server without", plain, func(o *Options) { o.URLs[0] = "tls" + strings.TrimPrefix(o.URLs[0], "nats") }, "connect: the server does not speak TLS: ", false},
		{"nobody there", plain, func(o *Options) { o.URLs = []string{"nats://me:secret@127.0.0.1:1", "127.0.0.1:1"} }, "connect: store is not available: nobody answers at 127.0.0.1:1, 127.0.0.1:1: ", true},
		{"replicas on one server", plain, func(o *Options) { o.Replicas = 3 }, "stream INGEST: 3 replicas need a cluster, and this is a server by itself: ", false},
		{"more replicas than servers", three, func(o *Options) { o.Replicas = 5 }, "stream INGEST: 5 replicas, and fewer servers that can keep one: ", false},
		{"larger than the servers allow", three, func(o *Options) { o.Replicas, o.MaxStore = 3, 1000*gib }, "stream INGEST: no room for 204800 MiB: ", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.c.Access()
			o := Options{URLs: a.URLs, CredsFile: a.CredsFile, User: a.User, Password: a.Password, Token: a.Token, TLSCA: a.TLSCA, MaxStore: gib}
			b, err := Open(testContext(t), o)
			if err != nil {
				t.Fatalf("before: %v", err)
			}
			closeTest(t, b)
			tc.wrong(&o)
			b, err = Open(testContext(t), o)
			if err == nil {
				closeTest(t, b)
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q, want %q", err, tc.want)
			}
			if errors.Is(err, ErrUnavailable) != tc.waiting {
				t.Errorf("%v: ErrUnavailable is %v", err, !tc.waiting)
			}
		})
	}
	for i := range 2 {
		three.Stop(i)
	}
	_, err := Open(testContext(t), Options{URLs: three.URLs(), MaxStore: gib})
	if want := "perhaps too few of its servers run"; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
		t.Errorf("without a majority: %v, want ErrUnavailable with %q", err, want)
	}
}
