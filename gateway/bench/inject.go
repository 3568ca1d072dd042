package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// message is one to inject.
type message struct {
	to   int // index of the recipient
	text string
}

// injector is somebody who sends. Only one goroutine uses it.
type injector interface {
	// run is how many messages it sends at once, at best.
	run() int
	// send sends messages and returns when they are accepted, or when it is clear that
	// flush will say so.
	send(ctx context.Context, msgs []message) error
	// sendTo sends one text to several, who are given by their addresses.
	sendTo(ctx context.Context, to []string, text string) error
	// flush returns when everything is accepted.
	flush(ctx context.Context) error
	close()
}

// open opens the i-th injector of the scenario.
func (b *bench) open(ctx context.Context, i int) (injector, error) {
	t := b.o.Target
	switch b.o.Scenario {
	case "http", "s2s", "deferred", "soak":
		return &httpInjector{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}, nil
	case SendMessage:
		return &sendMessage{httpInjector{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}}, nil
	case "batch":
		return &batchInjector{httpInjector{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}}, nil
	case "smtp":
		return openSMTP(ctx, t)
	case "c2s":
		return openClient(ctx, t, i)
	}
	return nil, fmt.Errorf("there is no scenario %q", b.o.Scenario)
}

// injection is a message as POST /v1/messages takes it.
type injection struct {
	From string   `json:"from"`
	To   []string `json:"to"`
	Text string   `json:"text"`
}

// httpInjector sends each message by a request of its own, over one connection.
type httpInjector struct {
	t      Target
	client *http.Client
}

func (h *httpInjector) run() int { return 1 }

func (h *httpInjector) send(ctx context.Context, msgs []message) error {
	for _, m := range msgs {
		if err := h.sendTo(ctx, []string{h.t.Users[m.to].JID}, m.text); err != nil {
			return err
		}
	}
	return nil
}

func (h *httpInjector) sendTo(ctx context.Context, to []string, text string) error {
	body, err := json.Marshal(injection{h.t.From, to, text})
	if err != nil {
		return err
	}
	return h.post(ctx, "/v1/messages", "application/json", body, http.StatusAccepted)
}

// post sends body; the answer has to have one of the status codes.
func (h *httpInjector) post(ctx context.Context, path, kind string, body []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.t.HTTP+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if resp.StatusCode != want {
		return fmt.Errorf("answered %s: %.300s", resp.Status, answer)
	}
	if path != "/v1/messages:batch" {
		return nil
	}
	// A line for each message.
	for line := range bytes.Lines(answer) {
		var a struct{ Status int }
		if err := json.Unmarshal(line, &a); err != nil || a.Status != http.StatusAccepted {
			return fmt.Errorf("a line of the batch is answered %.300s", line)
		}
	}
	return nil
}

func (h *httpInjector) flush(context.Context) error { return nil }
func (h *httpInjector) close()                      { h.client.CloseIdleConnections() }

// sendMessage is the API of ejabberd.
type sendMessage struct{ httpInjector }

func (h *sendMessage) send(ctx context.Context, msgs []message) error {
	for _, m := range msgs {
		body, err := json.Marshal(map[string]string{"type": "chat", "from": h.t.From, "to": h.t.Users[m.to].JID, "subject": "", "body": m.text})
		if err != nil {
			return err
		}
		if err := h.post(ctx, "/api/send_message", "application/json", body, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// batchInjector sends many messages by one request.
type batchInjector struct{ httpInjector }

// batchLines is how many.
const batchLines = 500

func (h *batchInjector) run() int { return batchLines }

func (h *batchInjector) send(ctx context.Context, msgs []message) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, m := range msgs {
		if err := enc.Encode(injection{h.t.From, []string{h.t.Users[m.to].JID}, m.text}); err != nil {
			return err
		}
	}
	return h.post(ctx, "/v1/messages:batch", "application/x-ndjson", body.Bytes(), http.StatusOK)
}

// smtpInjector sends over one connection and pipelines (RFC 2920): the commands of a
// message in one write, and those of the next behind the text of the one before.
type smtpInjector struct {
	t    Target
	conn net.Conn
	wake func() bool // ends the closing of conn by the end of its context
	text *textproto.Conn
	open bool // the reply to the text of the last message is to come
}

func openSMTP(ctx context.Context, t Target) (*smtpInjector, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.SMTP)
	if err != nil {
		return nil, err
	}
	s := &smtpInjector{t: t, conn: conn, text: textproto.NewConn(conn), wake: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	if _, _, err = s.text.ReadResponse(220); err == nil {
		if err = s.text.PrintfLine("EHLO bench.invalid"); err == nil {
			_, _, err = s.text.ReadResponse(250)
		}
	}
	if err != nil {
		s.wake()
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *smtpInjector) run() int { return 1 }

func (s *smtpInjector) send(ctx context.Context, msgs []message) error {
	for _, m := range msgs {
		if err := s.sendTo(ctx, []string{s.t.Users[m.to].JID}, m.text); err != nil {
			return err
		}
	}
	return nil
}

func (s *smtpInjector) sendTo(ctx context.Context, to []string, text string) error {
	w := s.text.W
	fmt.Fprintf(w, "MAIL FROM:<%s>\r\n", s.t.From)
	for _, rcpt := range to {
		fmt.Fprintf(w, "RCPT TO:<%s>\r\n", rcpt)
	}
	fmt.Fprint(w, "DATA\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil { // of the one before, whose text went out with these
		return err
	}
	for range 1 + len(to) {
		if _, _, err := s.text.ReadResponse(250); err != nil {
			return err
		}
	}
	if _, _, err := s.text.ReadResponse(354); err != nil {
		return err
	}
	fmt.Fprintf(w, "From: <%s>\r\nTo: <%s>\r\nSubject: bench\r\nDate: %s\r\n\r\n", s.t.From, to[0], time.Now().Format(time.RFC1123Z))
	writeFolded(w, text)
	fmt.Fprint(w, ".\r\n")
	s.open = true
	return w.Flush()
}

// maxLine is how long a line of text is at most (RFC 5322 §2.1.1).
const maxLine = 900

// writeFolded writes text in lines, of which none begins with a full stop.
func writeFolded(w *bufio.Writer, text string) {
	for len(text) > 0 {
		n := min(len(text), maxLine)
		_, _ = w.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
}

func (s *smtpInjector) flush(context.Context) error {
	if !s.open {
		return nil
	}
	s.open = false
	_, _, err := s.text.ReadResponse(250)
	return err
}

func (s *smtpInjector) close() {
	s.wake()
	_ = s.text.PrintfLine("QUIT")
	_ = s.conn.Close()
}

// clientInjector is a Jabber client: the one of a recipient writes to the others.
type clientInjector struct {
	t      Target
	client *stream.Client
	end    context.CancelFunc
	done   chan struct{}
}

func openClient(ctx context.Context, t Target, i int) (*clientInjector, error) {
	c, err := login(ctx, t, t.Users[i%len(t.Users)], sending)
	if err != nil {
		return nil, err
	}
	reading, end := context.WithCancel(context.WithoutCancel(ctx))
	in := &clientInjector{t: t, client: c, end: end, done: make(chan struct{})}
	go func() {
		defer close(in.done)
		for {
			if _, err := c.Receive(reading); err != nil {
				return
			}
		}
	}()
	return in, nil
}

func (c *clientInjector) run() int { return 1 }

func (c *clientInjector) send(ctx context.Context, msgs []message) error {
	for _, m := range msgs {
		if err := c.sendTo(ctx, []string{c.t.Users[m.to].JID + "/" + receiving}, m.text); err != nil {
			return err
		}
	}
	return nil
}

func (c *clientInjector) sendTo(ctx context.Context, to []string, text string) error {
	for _, rcpt := range to {
		j, err := jid.Parse(rcpt)
		if err != nil {
			return err
		}
		if err := c.client.Send(ctx, stanza.NewMessage(j, jid.JID{}, stanza.TypeChat, text)); err != nil {
			return err
		}
	}
	return nil
}

func (c *clientInjector) flush(context.Context) error { return nil }

func (c *clientInjector) close() {
	c.end()
	<-c.done
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = c.client.Close(ctx)
}

// processor names the machine's processor, "" where that is not known.
func processor() string {
	const prefix = "model name"
	for line := range strings.Lines(readFile("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == prefix {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
