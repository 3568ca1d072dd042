package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"strings"
	"time"
)

// maxPEM bounds what is read of a file that should hold certificates.
const maxPEM = 4 << 20

// readSome reads a file up to maxPEM.
func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

// checkKeyPair reports a certificate or key that is missing, unreadable or does
// not belong to the other.
func (t *tree) checkKeyPair(v view) {
	certSetting := v.set("tls_certificate")
	keySetting := v.set("tls_key")
	if keySetting == nil {
		keySetting = certSetting
	}
	cert, ok := t.readFile(certSetting)
	if !ok {
		return
	}
	if !bytes.Contains(cert, []byte("-----BEGIN CERTIFICATE-----")) {
		t.report.errorf(certSetting.valuePos, "", "%s: %s holds no PEM certificate", certSetting.option.name, certSetting.value)
		return
	}
	key, ok := t.readFile(keySetting)
	if !ok {
		return
	}
	if !bytes.Contains(key, []byte("PRIVATE KEY-----")) {
		hint := ""
		if keySetting == certSetting {
			hint = "set tls_key"
		}
		t.report.errorf(keySetting.valuePos, hint, "%s: %s holds no PEM private key", keySetting.option.name, keySetting.value)
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.report.errorf(keySetting.valuePos, "", "%s: %s", keySetting.option.name, strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	if now := time.Now(); pair.Leaf != nil && now.After(pair.Leaf.NotAfter) {
		t.report.warnf(certSetting.valuePos, "", "the certificate expired on %s", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
}

// checkAuthorities reports a file of authorities that holds none.
func (t *tree) checkAuthorities(s *setting) {
	text, ok := t.readFile(s)
	if !ok {
		return
	}
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.report.errorf(s.valuePos, "", "%s: %s", s.option.name, strings.TrimPrefix(err.Error(), "x509: "))
			return
		}
		found++
	}
	if found == 0 {
		t.report.errorf(s.valuePos, "", "%s: %s holds no PEM certificate", s.option.name, s.value)
	}
}

// readFile reads the file that a setting names.
func (t *tree) readFile(s *setting) ([]byte, bool) {
	text, err := readSome(s.value.(string))
	if err != nil {
		t.report.errorf(s.valuePos, "", "%s: %s: %s", s.option.name, s.value, reason(err))
	}
	return text, err == nil
}

// checkStore reports a password file that cannot be read.
func (t *tree) checkStore(s *setting) {
	_, path, _ := strings.Cut(s.value.(string), "://")
	if s.value == builtInStore {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		t.report.errorf(s.valuePos, "", "%s: %s: %s", s.option.name, path, reason(err))
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		t.report.errorf(s.valuePos, "", "%s: %s is a folder", s.option.name, path)
	}
}

// checkNATSFiles reports files for an external cluster that cannot be used.
func (t *tree) checkNATSFiles(v view) {
	if s := v.set("credentials"); s != nil {
		t.readFile(s)
	}
	if s := v.set("tls_ca"); s != nil {
		t.checkAuthorities(s)
	}
	if v.set("tls_certificate") != nil {
		t.checkKeyPair(v)
	} else if s := v.set("tls_key"); s != nil {
		t.report.errorf(s.pos, "set tls_certificate too", "tls_key without tls_certificate")
	}
}
