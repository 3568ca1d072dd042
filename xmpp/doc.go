// Package xmpp holds no code: the packages below it are an XMPP server, each
// specification in one place.
//
// RFCs:
//
//	RFC 6120  Core
//	  §3.2     finding servers, with RFC 2782, 8305     dns
//	  §4       streams: headers, errors, closing        stream/header.go, error.go, close.go
//	  §4.6     silent peers                             c2s/prove.go; link, component (session.go)
//	  §5       STARTTLS                                 stream/starttls.go
//	  §6       SASL                                     stream/sasl.go, login.go; sasl
//	  §7       resource binding                         stream/bind.go
//	  §8       stanzas and their errors                 stanza; c2s/inbound.go
//	  §10      server rules for processing stanzas      router/route.go, order.go, service.go; c2s/inbound.go
//	  §11      restricted XML                           xmlwire
//	  §13.7    certificates, with RFC 6125              certificate
//	  §13.12   limits                                   stream/limits.go, rate.go, writer.go; c2s/guard.go
//	RFC 6121  Instant Messaging and Presence
//	  §2       rosters, versions and pushes             roster; c2s/roster.go; router/subscription.go
//	  §3, §A   subscriptions, pre-approval              roster/state.go; router/subscription.go; c2s/subscription.go
//	  §4       presence, probes                         c2s/presence.go; router/presence.go, route.go
//	  §8       server rules for local accounts          router/deliver.go, answer.go
//	RFC 7622  Addresses                                 jid
//	RFC 7590  Use of TLS                                stream/tls.go; c2s/server.go
//	RFC 7395  WebSocket, with RFC 6455                  stream/frames.go; c2s/websocket.go
//	RFC 3921  Session establishment, a no-op            stream/session.go
//	RFC 4616, 5802, 7677, 2831, 5929, 9266              sasl
//
// XEPs:
//
//	XEP-0030  Service Discovery, of server and account  router/answer.go
//	XEP-0033  Extended Addressing: who has written      link/rewrite.go
//	XEP-0049  Private XML Storage                       account/private.go
//	XEP-0054  vcard-temp, and XEP-0153 avatars in presenceaccount/vcard.go; router/avatar.go
//	XEP-0077  In-Band Registration, with gateways       gateway/register.go
//	XEP-0085  Chat States, filtered                     (package filters)
//	XEP-0092  Software Version                          router/answer.go
//	XEP-0100  Gateway Interaction                       gateway; router/host.go
//	XEP-0106  JID Escaping                              jid
//	XEP-0114  Components: joined, and let in            stream/component.go; link/component.go; component
//	XEP-0115  Entity Capabilities, the server's own     router/caps.go; c2s/caps.go; gateway/disco.go
//	XEP-0128  Service Discovery Extensions, of services router/service.go
//	XEP-0156  host-meta                                 c2s/websocket.go
//	XEP-0160  Offline Messages, by custody              router/route.go
//	XEP-0178  SASL EXTERNAL: of clients                 c2s/conn.go; sasl/external.go
//	          between servers                           stream/server.go; certificate
//	XEP-0185  Dialback keys                             dialback
//	XEP-0191  Blocking Command                          account/blocking.go; router/blocking.go
//	XEP-0198  Stream Management                         stream/sm.go, managed.go, ack.go
//	                                                    c2s/manage.go, life.go, hibernation.go
//	                                                    router/suspended.go
//	XEP-0199  Ping: answered, and asked                 router/answer.go; c2s/prove.go; ping
//	XEP-0202  Entity Time                               router/answer.go
//	XEP-0220  Server Dialback                           s2s/dialback.go, s2s/verify.go
//	XEP-0280  Message Carbons, by the rules of §6.1     router/carbon….go
//	XEP-0288  Bidirectional Streams between servers     s2s/open.go, s2s/accept.go
//	XEP-0313  Message Archive Management, XEP-0059       account/archive….go; router/archive.go
//	XEP-0334  Message Processing Hints                  router/archive.go, carbons.go
//	XEP-0352  Client State Indication                   c2s/inactive.go; (package filters)
//	XEP-0359  Stanza IDs: stamped, forged ones removed  router/archive.go
//	XEP-0363  HTTP File Upload                          account/upload.go, upload….go
//	XEP-0368  Direct TLS, and its SRV records           c2s/conn.go; s2s/open.go, accept.go; dns/targets.go, order.go
//	XEP-0386  Bind 2, with stream management            stream/sasl2.go; c2s/manage.go
//	XEP-0388  Extensible SASL Profile                   stream/sasl2.go
//	XEP-0440  Channel Binding Types                     stream/sasl.go
//
// A package imports only packages of lower layers: jid and xmlwire know nothing
// of XMPP beyond addresses and XML; stanza and sasl need no stream; stream
// and roster need no router; and what connects to the world (c2s, s2s, link, component) meets in router. Package
// account is what the server does for its accounts beyond RFC 6121, package gateway for
// the addresses of another network.
package xmpp
