package peertest

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ejabberd is ejabberd 23.01 of Debian's package, in a plain node of Erlang's:
// without a name it needs no epmd.
type ejabberd struct {
	erl  string
	libs string // the folder that has ejabberd's, among others
	api  string // where its HTTP API listens
}

func findEjabberd(t testing.TB) software {
	t.Helper()
	app := installed(t, "/usr/lib/*/ejabberd-*/ebin/ejabberd.app", "ejabberd")
	libs := filepath.Dir(filepath.Dir(filepath.Dir(app)))
	return ejabberd{erl: installed(t, "/usr/bin/erl", "erlang-base"), libs: libs, api: Reserve(t)}
}

func (ejabberd) String() string { return "ejabberd" }

func (ejabberd) listening(host, port string) string { return "at " + host + ":" + port + " for" }

//go:embed ejabberd.yml
var ejabberdConfig string

// The resolver of Erlang knows no other server than the test's. The two empty
// names come first: they reset the list.
const inetrc = `{resolv_conf,""}.
{hosts_file,""}.
{lookup,[file,dns]}.
{host,{127,0,0,1},["localhost"]}.
{nameserver,{127,0,0,1},%s}.
`

func (e ejabberd) configure(s *Server) error {
	tls, dialback := "optional", "mod_s2s_dialback: {}"
	switch s.o.Mode {
	case Plain:
		tls = "false"
	case Certs:
		tls, dialback = "required", ""
	case Dialback:
	}
	withheld := `"X-OAUTH2"`
	if !s.o.ChannelBinding {
		withheld += `, "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"`
	}
	var hosts, certs []string
	for _, d := range s.hosts() {
		hosts = append(hosts, fmt.Sprintf("%q", d.Name))
	}
	for _, d := range s.domains {
		certs = append(certs, fmt.Sprintf("%q", s.certs[d.Name]))
	}
	var more strings.Builder
	if s.DirectS2S != "" {
		fmt.Fprintf(&more, "  - {port: %s, ip: \"127.0.0.1\", module: ejabberd_s2s_in, tls: true}\n", portOf(s.DirectS2S))
	}
	// One port for each: ejabberd sends a component what is for any domain of its port,
	// so that stanzas of one sender come by two streams, in no order.
	for _, d := range s.components() {
		fmt.Fprintf(&more, "  - {port: %s, ip: \"127.0.0.1\", module: ejabberd_service, hosts: {%q: {password: %q}}}\n", portOf(s.joins[d.Name]), d.Name, d.Secret)
	}
	text := strings.NewReplacer(
		"@HOSTS@", strings.Join(hosts, ", "),
		"@CERTS@", strings.Join(certs, ", "),
		"@CA@", s.ca,
		"@TLS@", tls,
		"@WITHHELD@", withheld,
		"@DIALBACK@", dialback,
		"@C2S@", portOf(s.C2S),
		"@S2S@", portOf(s.S2S),
		"@API@", portOf(e.api),
		"@MORE@", more.String(),
	).Replace(ejabberdConfig)
	if err := s.write(text, "ejabberd.yml"); err != nil {
		return err
	}
	return s.write(fmt.Sprintf(inetrc, portOf(s.resolver)), "inetrc")
}

func (e ejabberd) command(s *Server) *exec.Cmd {
	// One scheduler that does not spin: the machine has others to serve.
	cmd := exec.Command(e.erl, "-noinput", "+S", "1:1", "+sbwt", "none", "-mnesia", "dir", fmt.Sprintf("%q", s.path("mnesia")), "-s", "ejabberd")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(),
		"ERL_LIBS="+e.libs, "ERL_INETRC="+s.path("inetrc"), "ERL_CRASH_DUMP_BYTES=0",
		"EJABBERD_CONFIG_PATH="+s.path("ejabberd.yml"), "EJABBERD_LOG_PATH="+s.path("ejabberd.log"))
	return cmd
}

// settle makes the accounts, over the HTTP API (mod_http_api). Those of a former
// run are there unless it was killed.
func (e ejabberd) settle(s *Server) error {
	host, port, err := net.SplitHostPort(e.api)
	if err == nil {
		err = s.run.logged(e.listening(host, port))
	}
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: Patience}
	defer client.CloseIdleConnections()
	for _, d := range s.hosts() {
		for _, user := range Accounts {
			if err := e.register(client, user, d.Name); err != nil {
				return fmt.Errorf("register %s@%s: %w", user, d.Name, err)
			}
		}
	}
	return nil
}

func (e ejabberd) register(client *http.Client, user, host string) error {
	body := fmt.Sprintf(`{"user":%q,"host":%q,"password":%q}`, user, host, Password)
	resp, err := client.Post("http://"+e.api+"/api/register", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return nil
}
