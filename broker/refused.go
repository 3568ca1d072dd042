package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connectError says why no connection to a server can be had, in the words of the
// options. It is ErrUnavailable only when waiting may help.
func connectError(o Options, err error) error {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("the server refuses %s: %w", shown(o), err)
	case errors.As(err, &unknown):
		trusted := "the system"
		if o.TLSCA != "" {
			trusted = o.TLSCA
		}
		return fmt.Errorf("the certificate of the server is of no authority in %s: %w", trusted, err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("the server does not speak TLS: %w", err)
	case errors.Is(err, nats.ErrNoServers):
		return refuse(ErrUnavailable, fmt.Errorf("nobody answers at %s: %w", hosts(o.URLs), err))
	}
	return refuse(ErrUnavailable, err)
}

// shown is what we prove with who we are.
func shown(o Options) string {
	switch {
	case o.CredsFile != "":
		return "the credentials in " + o.CredsFile
	case o.User != "":
		return fmt.Sprintf("user %q with this password", o.User)
	case o.Token != "":
		return "the token"
	}
	return "a connection without credentials"
}

// hosts lists addresses without what else may stand in a URL.
func hosts(urls []string) string {
	var list []string
	for _, s := range urls {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			s = u.Host
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

// peerOffline says whether a stream was not made because a server of the cluster is
// not heard from.
func peerOffline(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && server.ErrorIdentifier(api.ErrorCode) == server.JSClusterNoPeersErrF &&
		strings.Contains(api.Description, "peer offline")
}

// streamError says why a stream cannot be made as the options want it.
func streamError(o Options, cfg jetstream.StreamConfig, err error) error {
	var api *jetstream.APIError
	offline := errors.As(err, &api) && server.ErrorIdentifier(api.ErrorCode) == server.JSStreamOfflineErr
	switch {
	case offline, errors.Is(err, context.DeadlineExceeded):
		return refuse(ErrUnavailable, fmt.Errorf("the cluster does not answer, perhaps too few of its servers run: %w", err))
	case errors.Is(err, nats.ErrNoResponders):
		return refuse(ErrUnavailable, fmt.Errorf("the server does not serve JetStream: %w", err))
	case !errors.As(err, &api):
		return err
	}
	switch server.ErrorIdentifier(api.ErrorCode) {
	case server.JSNotEnabledErr, server.JSNotEnabledForAccountErr:
		return fmt.Errorf("JetStream is not enabled for %s: %w", shown(o), err)
	case server.JSStreamReplicasNotSupportedErr:
		return fmt.Errorf("%d replicas need a cluster, and this is a server by itself: %w", o.Replicas, err)
	case server.JSClusterNoPeersErrF, server.JSStorageResourcesExceededErr, server.JSInsufficientResourcesErr:
		if o.Replicas > 1 && !strings.Contains(api.Description, "insufficient storage") {
			return fmt.Errorf("%d replicas, and fewer servers that can keep one: %w", o.Replicas, err)
		}
		return fmt.Errorf("no room for %d MiB: %w", cfg.MaxBytes/mib, err)
	case server.JSClusterNotAvailErr:
		return refuse(ErrUnavailable, fmt.Errorf("%w: %w", errLeaderless, err))
	}
	return err
}
