package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// checkInterval is how often a handshake looks whether the files have changed.
const checkInterval = time.Second

// CertificateOptions say where a certificate comes from.
type CertificateOptions struct {
	// Cert is tls_certificate, a PEM file with the certificate and then those of
	// its issuers. Empty: a self-signed one is kept in Dir, made on first start
	// and again when it does not cover Names any more or nears its end.
	Cert string

	// Key is tls_key, a PEM file. Empty: the key is in the Cert file too.
	Key string

	// Dir is the folder of the self-signed pair, made when missing. It and Names
	// are used only where Cert is empty.
	Dir string

	// Names are the domain names and IP addresses of the self-signed
	// certificate; names beyond ASCII are written as A-labels (RFC 5890).
	Names []string

	// Log gets a line for each reload and each file that cannot be used.
	Log zerolog.Logger
}

// Certificates holds the certificate of a listener and follows its files. Its
// methods may be called from any goroutine.
type Certificates struct {
	certFile, keyFile string
	log               zerolog.Logger

	current   atomic.Pointer[tls.Certificate]
	nextCheck atomic.Int64 // Unix nanoseconds

	mu   sync.Mutex // guards seen, and makes one goroutine load at a time
	seen [2]stamp   // of the files as they were last read, usable or not
}

// stamp is what tells a changed file from an unchanged one.
type stamp struct {
	mtime time.Time
	size  int64
}

// OpenCertificates loads the certificate that o names, and makes one first
// where o names none. An error here is final; later changes of the files that
// cannot be used are logged, and the certificate before them stays.
func OpenCertificates(o CertificateOptions) (*Certificates, error) {
	c := &Certificates{certFile: o.Cert, keyFile: o.Key, log: o.Log}
	if o.Cert == "" {
		if o.Key != "" {
			return nil, fmt.Errorf("tls_key %s: there is no tls_certificate that it belongs to", o.Key)
		}
		c.certFile = filepath.Join(o.Dir, "self-signed.crt")
		c.keyFile = filepath.Join(o.Dir, "self-signed.key")
		made, err := ensureSelfSigned(c.certFile, c.keyFile, o.Names, time.Now())
		if err != nil {
			return nil, fmt.Errorf("self-signed certificate: %w", err)
		}
		if made {
			o.Log.Info().Str("file", c.certFile).Strs("names", o.Names).Msg("made a self-signed certificate")
		}
	}
	if c.keyFile == "" {
		c.keyFile = c.certFile
	}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// GetCertificate returns the certificate now in force; it is meant for
// tls.Config. At most once a second it first looks whether the files changed.
// It never fails once OpenCertificates succeeded.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now().UnixNano()
	// One handshake in a second pays for the look; the others do not wait for it.
	if next := c.nextCheck.Load(); now >= next && c.nextCheck.CompareAndSwap(next, now+int64(checkInterval)) {
		c.follow()
	}
	return c.current.Load(), nil
}

// File is the path of the certificate.
func (c *Certificates) File() string { return c.certFile }

// Leaf is the certificate now in force.
func (c *Certificates) Leaf() *x509.Certificate { return c.current.Load().Leaf }

// Reload reads the files now, as SIGHUP asks for. On an error the certificate
// before stays in force.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load(c.stat())
}

// follow reloads when a file differs from what was last read, and logs how that
// went. A pair that is replaced one file at a time is loaded by the second
// change: the first does not match and is refused.
func (c *Certificates) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.stat()
	if now == c.seen {
		return
	}
	if err := c.load(now); err != nil {
		c.log.Error().Err(err).Msg("new certificate refused, the old one stays")
		return
	}
	c.log.Info().Str("file", c.certFile).Time("until", c.current.Load().Leaf.NotAfter).Msg("certificate reloaded")
}

// stat returns the stamps of the files; a file that cannot be looked at has the
// zero stamp. The caller holds mu.
func (c *Certificates) stat() (st [2]stamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			st[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return st
}

// load reads the files, whose stamps were st before: a change in between shows
// at the next look. The caller holds mu.
func (c *Certificates) load(st [2]stamp) error {
	c.seen = st
	cert, err := LoadKeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current.Store(cert)
	if left := time.Until(cert.Leaf.NotAfter); left <= 0 {
		c.log.Warn().Str("file", c.certFile).Time("until", cert.Leaf.NotAfter).Msg("certificate has expired")
	}
	return nil
}

// LoadKeyPair reads a certificate with its chain and its key from PEM files;
// both may be the same file, and an empty key names the certificate's.
func LoadKeyPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("tls_certificate: %w", err)
	}
	keyPEM := certPEM
	if keyFile == "" {
		keyFile = certFile
	} else if keyFile != certFile {
		if keyPEM, err = os.ReadFile(keyFile); err != nil {
			return nil, fmt.Errorf("tls_key: %w", err)
		}
	}
	if encrypted(keyPEM) {
		return nil, fmt.Errorf("tls_key: %s: the key is encrypted; nobody is there to type its passphrase", keyFile)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("tls_certificate %s, tls_key %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}

// encrypted reports whether the PEM holds a key that needs a passphrase, in
// PKCS #8 (RFC 5958) or the older form with a header.
func encrypted(data []byte) bool {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return false
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return true
		}
		data = rest
	}
}

// LoadCA reads tls_client_ca, a PEM file of the authorities that client
// certificates must come from.
func LoadCA(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tls_client_ca: %w", err)
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("tls_client_ca %s: certificate %d: %w", file, n+1, err)
		}
		pool.AddCert(ca)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("tls_client_ca %s: %w", file, errNoCertificate)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("tls_client_ca %s: what follows certificate %d is cut short or damaged", file, n)
	}
	return pool, nil
}

var errNoCertificate = errors.New("no certificate in PEM form in it")
