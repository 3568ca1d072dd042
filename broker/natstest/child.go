package natstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

// asServer holds the configuration file of the server that the test binary is to be.
const asServer = "NATSTEST_SERVER"

// Main makes the process a NATS server, and does not return, when it was started
// as one. Call it first thing in TestMain.
func Main() {
	if conf := os.Getenv(asServer); conf != "" {
		if err := serve(conf); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// report is what a server says of itself: the first when it listens, then one for
// each line that it is given.
type report struct {
	Client, Route string // addresses
	Healthy       bool
	Unhealthy     string // why
	MetaLeader    bool
	Streams       []streamReport
}

// streamReport is about one stream, as one server knows it.
type streamReport struct {
	Name   string
	Leader string   // name of the server, "": none
	Behind []string // names of the servers that have not got everything, as the leader knows
}

// serve runs the server until it is told to end by a signal or nobody is there
// any more who asks.
func serve(conf string) error {
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		return err
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(Patience) {
		return fmt.Errorf("server does not get ready")
	}
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); ; {
		if err := out.Encode(reportOf(s)); err != nil {
			return err
		}
		if !lines.Scan() {
			s.Shutdown()
			s.WaitForShutdown()
			return lines.Err()
		}
	}
}

func reportOf(s *server.Server) report {
	r := report{Client: s.Addr().String(), MetaLeader: s.JetStreamIsLeader()}
	if a := s.ClusterAddr(); a != nil {
		r.Route = a.String()
	}
	// Of the consumers nothing is asked: some may be on their way out.
	h := s.Healthz(&server.HealthzOptions{JSMetaOnly: true})
	if r.Healthy = h.Error == ""; !r.Healthy {
		r.Unhealthy = h.Error
	}
	js, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		r.Healthy, r.Unhealthy = false, err.Error()
		return r
	}
	for _, a := range js.AccountDetails {
		for _, st := range a.Streams {
			sr := streamReport{Name: st.Name, Leader: s.Name()}
			if st.Cluster != nil {
				sr.Leader = st.Cluster.Leader
				for _, p := range st.Cluster.Replicas {
					if !p.Current || p.Offline {
						sr.Behind = append(sr.Behind, p.Name)
					}
				}
			}
			r.Streams = append(r.Streams, sr)
		}
	}
	return r
}
