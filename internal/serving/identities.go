// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/modelfs/modelfs/workers/caller"
)

// identities are TCP's encryption, and the users that tokens and certificates stand for.
func identities(cfg Config) (caller.Options, *caller.Identities, error) {
	ids := &caller.Identities{}
	opts := caller.Options{Identities: ids}
	if cfg.Tokens != "" {
		if err := ids.AddTokenFile(cfg.Tokens); err != nil {
			return opts, nil, fmt.Errorf("--tokens: %w", err)
		}
	}
	for _, rule := range cfg.TLS.Users {
		if err := ids.AddClient(rule); err != nil {
			return opts, nil, fmt.Errorf("--client-user: %w", err)
		}
	}
	t := cfg.TLS
	switch {
	case t.Certificate == "" && t.Key == "" && t.ClientCA == "":
		return opts, ids, nil
	case t.Certificate == "" || t.Key == "":
		return opts, nil, errors.New("--tls-cert and --tls-key: encryption needs both")
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return opts, nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	opts.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return opts, ids, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return opts, nil, fmt.Errorf("--client-ca: %w", err)
	}
	opts.TLS.ClientCAs = x509.NewCertPool()
	if !opts.TLS.ClientCAs.AppendCertsFromPEM(pem) {
		return opts, nil, fmt.Errorf("--client-ca: %s has no certificate in PEM", t.ClientCA)
	}
	opts.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	return opts, ids, nil
}
