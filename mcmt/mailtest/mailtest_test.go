package mailtest

import (
	"errors"
	"net/smtp"
	"net/textproto"
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
