package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// makeKeys writes what the API server and its clients need into a directory: a certificate authority (ca.crt), the
// server's certificate and key for the given addresses, valid for so many seconds (apiserver.crt, apiserver.key), and
// the key that signs service accounts' tokens (tokens.key). An authority that is there is kept, so that clients go on
// trusting a server whose certificate was renewed.
func makeKeys(args []string) error {
	if len(args) < 3 {
		return errors.New("keys DIRECTORY SECONDS ADDRESS...")
	}
	directory := args[0]
	seconds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	authority, authorityKey, err := authorityIn(directory)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Duration(seconds) * time.Second),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"},
	}
	for _, address := range args[2:] {
		ip := net.ParseIP(address)
		if ip == nil {
			return fmt.Errorf("%s is not an address", address)
		}
		server.IPAddresses = append(server.IPAddresses, ip)
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return err
	}
	if err := put(directory, "apiserver.crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return putKey(directory, "apiserver.key", serverKey)
}

func authorityIn(directory string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if certificate, err := get(directory, "ca.crt"); err == nil {
		key, err := get(directory, "ca.key")
		if err != nil {
			return nil, nil, err
		}
		authority, err := x509.ParseCertificate(certificate)
		if err != nil {
			return nil, nil, err
		}
		private, err := x509.ParseECPrivateKey(key)
		return authority, private, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "tests"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if err := putKey(directory, "tokens.key", tokens); err != nil {
		return nil, nil, err
	}
	if err := putKey(directory, "ca.key", key); err != nil {
		return nil, nil, err
	}
	return authority, key, put(directory, "ca.crt", "CERTIFICATE", der)
}

func putKey(directory, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return put(directory, name, "EC PRIVATE KEY", der)
}

func put(directory, name, kind string, der []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(directory, name), block, 0o600)
}

func get(directory, name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", name)
	}
	return block.Bytes, nil
}
