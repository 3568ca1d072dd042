package listener

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/net/idna"
)

const (
	selfSignedLife  = 10 * 365 * 24 * time.Hour
	selfSignedRenew = 30 * 24 * time.Hour // made anew when less is left
)

// ensureSelfSigned leaves a usable self-signed pair in the two files and reports
// whether it had to make the certificate. An existing key is kept: whoever has
// pinned it goes on trusting it.
func ensureSelfSigned(certFile, keyFile string, names []string, now time.Time) (made bool, err error) {
	if len(names) == 0 {
		names = []string{"localhost"}
	}
	names, err = asciiNames(names)
	if err != nil {
		return false, err
	}
	pair, err := LoadKeyPair(certFile, keyFile)
	if err == nil && covers(pair.Leaf, names) && now.Add(selfSignedRenew).Before(pair.Leaf.NotAfter) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o700); err != nil {
		return false, err
	}
	key, err := selfSignedKey(keyFile)
	if err != nil {
		return false, err
	}
	der, err := selfSign(key, names, now)
	if err != nil {
		return false, err
	}
	return true, writeFile(certFile, 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// selfSignedKey reads the key in file, or makes an ECDSA key on P-256 and
// stores it there. A file that holds something else is an error, for what it
// holds may be somebody's.
func selfSignedKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("%s: not in PEM form", file)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if signer, ok := key.(*ecdsa.PrivateKey); ok {
			return signer, nil
		}
		return nil, fmt.Errorf("%s: not an ECDSA key", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(file, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// selfSign makes the certificate. It is no authority: whoever trusts it trusts
// these names and nothing else it might sign.
func selfSign(key crypto.Signer, names []string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 §4.1.2.2: at most 20 octets
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-time.Hour), // clients whose clock is slow
		NotAfter:              now.Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if len(names[0]) <= 64 { // ub-common-name, RFC 5280 appendix A.1
		tmpl.Subject = pkix.Name{CommonName: names[0]}
	} else {
		tmpl.Subject = pkix.Name{CommonName: "mcmt2xmpp"}
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	return x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
}

// asciiNames turns domain names into A-labels, as a dNSName must be (RFC 5280
// §7.2).
func asciiNames(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			out = append(out, ip.String())
			continue
		}
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", name, err)
		}
		if ascii == "" {
			return nil, errors.New("a name is empty")
		}
		out = append(out, ascii)
	}
	return out, nil
}

// covers reports whether cert is good for every name.
func covers(cert *x509.Certificate, names []string) bool {
	for _, name := range names {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

// writeFile puts the block into a file that appears whole or not at all and
// never with wider permissions than mode (os.CreateTemp starts with 0600).
func writeFile(name string, mode fs.FileMode, block *pem.Block) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename there is none
	err = pem.Encode(f, block)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}
