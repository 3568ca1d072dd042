package mailtest

import (
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A message is there after it was taken, also over a restart; who is refused gets none.
func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t)
	send := func(rcpt string) error {
		return smtp.SendMail(s.Addr, nil, "a@corp.example", []string{rcpt}, []byte("Subject: hello\r\n\r\nworld\r\n"))
	}
	if err := send("b@p1.example"); err != nil {
		t.Fatal(err)
	}
	s.Wait("b@p1.example", 1)
	s.Refuse("c@p1.example", "451 4.7.1 later")
	if reply, ok := errors.AsType[*textproto.Error](send("c@p1.example")); !ok || reply.Code != 451 {
		t.Errorf("got %v", reply)
	}
	box := s.Mailbox("b@p1.example")
	if len(box) != 1 || box[0].Header.Get("Subject") != "hello" || box[0].Text != "world\n" || box[0].Header.Get("Return-Path") != "<a@corp.example>" {
		t.Errorf("mailbox: %+v", box)
	}
	s.Refuse("c@p1.example", "")
	if err := send("c@p1.example"); err != nil {
		t.Error(err)
	}
	s.Stop()
	if err := send("c@p1.example"); err == nil {
		t.Error("a server that was stopped takes mail")
	}
}

// Messages are there in the order in which they were taken, over restarts.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := Start(t)
	var want, got []string
	for i := range 12 {
		subject := fmt.Sprint(i)
		if err := smtp.SendMail(s.Addr, nil, "a@corp.example", []string{"b@p1.example"}, []byte("Subject: "+subject+"\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
		if want = append(want, subject); i == 5 {
			s.Wait("b@p1.example", 6)
			s.Stop()
			s.Start()
		}
	}
	s.Wait("b@p1.example", 6)
	for _, m := range s.Mailbox("b@p1.example") {
		got = append(got, m.Header.Get("Subject"))
		if m.taken(s.before+s.run.log.text()) < 0 {
			t.Errorf("the log does not say when this was taken: %s", m.Raw)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
