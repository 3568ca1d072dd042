package natstest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// secrets are what only the servers know.
type secrets struct {
	cert, key                       string // files; "": no TLS
	operator, account, accountJWT   string // tokens; "": no credentials
	systemAccount, systemAccountJWT string
}

// issue makes all that o asks for.
func issue(dir string, o Options) (a Access, s secrets, err error) {
	if o.TLS {
		if a.TLSCA, err = s.certify(dir); err != nil {
			return a, s, err
		}
	}
	switch o.Auth {
	case Password:
		a.User, a.Password = "gateway", rand.Text()
	case Token:
		a.Token = rand.Text()
	case Credentials:
		a.CredsFile = filepath.Join(dir, "gateway.creds")
		err = s.delegate(a.CredsFile, o.Account)
	case Nobody:
	}
	return a, s, err
}

// certify makes an authority and a certificate for 127.0.0.1, and returns the
// authority's file.
func (s *secrets) certify(dir string) (ca string, err error) {
	ca, s.cert, s.key = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	root, rootKey, err := authority(ca)
	if err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	leaf := certificate(2)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	if err := writePEM(s.cert, "CERTIFICATE", der); err != nil {
		return "", err
	}
	return ca, writePEM(s.key, "PRIVATE KEY", private)
}

// Authority writes the certificate of an authority that has signed nothing to a file.
func Authority(file string) error {
	_, _, err := authority(file)
	return err
}

func authority(file string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := certificate(1)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	return c, key, writePEM(file, "CERTIFICATE", der)
}

func certificate(serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("natstest ", serial)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// delegate makes an operator, an account that may use JetStream, and a user of
// it, whose credentials it writes to a file.
func (s *secrets) delegate(file string, bounds Account) error {
	operator, operatorKey, err := identity(nkeys.CreateOperator)
	if err != nil {
		return err
	}
	system, _, err := identity(nkeys.CreateAccount)
	if err != nil {
		return err
	}
	account, accountKey, err := identity(nkeys.CreateAccount)
	if err != nil {
		return err
	}
	user, userKey, err := identity(nkeys.CreateUser)
	if err != nil {
		return err
	}
	oc := jwt.NewOperatorClaims(operator)
	oc.SystemAccount = system
	ac := jwt.NewAccountClaims(account)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: cmp.Or(bounds.MemBytes, jwt.NoLimit), DiskStorage: cmp.Or(bounds.DiskBytes, jwt.NoLimit),
		Streams: cmp.Or(bounds.Streams, jwt.NoLimit), Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
	}
	uc := jwt.NewUserClaims(user)
	uc.Pub.Allow.Add(bounds.Subjects...)
	uc.Sub.Allow.Add(bounds.Subjects...)
	s.account, s.systemAccount = account, system
	for _, signed := range []struct {
		to     *string
		claims jwt.Claims
	}{{&s.operator, oc}, {&s.accountJWT, ac}, {&s.systemAccountJWT, jwt.NewAccountClaims(system)}} {
		if *signed.to, err = signed.claims.Encode(operatorKey); err != nil {
			return err
		}
	}
	token, err := uc.Encode(accountKey)
	if err != nil {
		return err
	}
	seed, err := userKey.Seed()
	if err != nil {
		return err
	}
	creds, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		return err
	}
	return os.WriteFile(file, creds, 0o600)
}

// identity makes a key and its public name.
func identity(create func() (nkeys.KeyPair, error)) (string, nkeys.KeyPair, error) {
	key, err := create()
	if err != nil {
		return "", nil, err
	}
	name, err := key.PublicKey()
	return name, key, err
}
