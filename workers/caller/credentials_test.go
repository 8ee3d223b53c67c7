// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func me(t *testing.T) User {
	t.Helper()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	u := User{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	for _, g := range groups {
		u.Groups = append(u.Groups, uint32(g))
	}
	return u.normal()
}

// TestSockets: one server, one call over each of its sockets. On TCP nobody is known,
// and nobody is not root.
func TestSockets(t *testing.T) {
	s, at := serve(t, Options{}, socket(t), "127.0.0.1:0")
	if err := check(at[0]); err != nil {
		t.Fatal(err)
	}
	if c, want := <-s.calls, me(t); c.User == nil || !c.User.Equal(want) || c.Key != userKey(want) {
		t.Errorf("over the Unix socket: %+v, want %+v", c, want)
	}
	if err := check(at[1]); err != nil {
		t.Fatal(err)
	}
	if c := <-s.calls; c.User != nil || c.Key != "address 127.0.0.1" {
		t.Errorf("over TCP: %+v", c)
	}
}

// TestUsers: the kernel says who connects, with all his groups.
func TestUsers(t *testing.T) {
	needRoot(t)
	s, at := serve(t, Options{}, socket(t))
	var many []uint32
	for g := range uint32(1000) {
		many = append(many, 70000+g)
	}
	for _, c := range []*syscall.Credential{
		{Uid: 61001, Gid: 61001},
		{Uid: 61002, Gid: 61001, Groups: []uint32{1234, 4, 100}},
		{Uid: 61003, Gid: 61003, Groups: many},
		{Uid: 0, Gid: 61004, Groups: []uint32{5}},
	} {
		if err := checkAs(at[0], c); err != nil {
			t.Fatal(err)
		}
		want := User{c.Uid, c.Gid, c.Groups}.normal()
		if got := <-s.calls; got.User == nil || !got.User.Equal(want) {
			t.Errorf("got %+v, want %+v", got.User, want)
		}
	}
}

// accepted is the server's end of a connection over a Unix socket.
func accepted(t *testing.T) net.Conn {
	t.Helper()
	l, err := Listen(socket(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestOverflow: who has no uid here is not known, though the kernel shows one.
func TestOverflow(t *testing.T) {
	conn := accepted(t)
	for _, overflows := range []bool{false, true} {
		_, info, err := (&transport{overflow: me(t).Uid, overflows: overflows}).ServerHandshake(conn)
		if err != nil || (info.(*Info).User == nil) != overflows {
			t.Errorf("overflow %v: %+v %v", overflows, info, err)
		}
	}
}

// TestNoDescriptor: a Unix connection that the kernel cannot be asked of is refused.
func TestNoDescriptor(t *testing.T) {
	conn := accepted(t)
	if _, info, err := Credentials(Options{}).ServerHandshake(conn); err != nil || info.(*Info).User == nil {
		t.Errorf("the control: %+v %v", info, err)
	}
	if _, info, err := Credentials(Options{}).ServerHandshake(struct{ net.Conn }{conn}); err == nil {
		t.Errorf("got %+v", info)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(name string, uris ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestCertificates: over TLS a certificate says who calls if there is a rule for it and
// an authority of the server's has signed it; the Unix socket of the same server stays
// plain.
func TestCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	ids := &Identities{}
	for _, rule := range []string{"camera=0", "spiffe://example.org/a?b=c=0"} {
		if err := ids.AddClient(rule); err != nil {
			t.Fatal(err)
		}
	}
	serverConfig := func(auth tls.ClientAuthType) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{a.sign("server")}, ClientCAs: a.pool, ClientAuth: auth, MinVersion: tls.VersionTLS13}
	}
	s, at := serve(t, Options{TLS: serverConfig(tls.VerifyClientCertIfGiven), Identities: ids}, socket(t), "127.0.0.1:0")
	lax, laxAt := serve(t, Options{TLS: serverConfig(tls.RequestClientCert), Identities: ids}, "127.0.0.1:0")
	call := func(target string, certs ...tls.Certificate) error {
		config := &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS13}
		if len(certs) > 0 {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
		}
		return check(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	}
	for _, c := range []struct {
		name  string
		certs []tls.Certificate
		known bool
	}{
		{"no certificate", nil, false},
		{"a common name", []tls.Certificate{a.sign("camera")}, true},
		{"a URI", []tls.Certificate{a.sign("x", "spiffe://example.org/none", "spiffe://example.org/a?b=c")}, true},
		{"no rule", []tls.Certificate{a.sign("other", "spiffe://example.org/b")}, false},
		{"a URI as common name", []tls.Certificate{a.sign("spiffe://example.org/a?b=c")}, false},
	} {
		if err := call(at[1], c.certs...); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := <-s.calls; (got.User != nil) != c.known || c.known && (got.User.Uid != 0 || got.Key != "uid 0") {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if err := call(at[1], stranger.sign("camera")); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate of a stranger: %v", err)
	}
	if err := call(laxAt[0], stranger.sign("camera")); err != nil {
		t.Error(err)
	} else if got := <-lax.calls; got.User != nil {
		t.Errorf("a certificate that nobody verifies says who calls: %+v", got)
	}
	if err := check(at[1]); err == nil {
		t.Error("plain text is answered")
	}
	if err := check(at[0]); err != nil {
		t.Fatal(err)
	}
	if got := <-s.calls; got.User == nil || !got.User.Equal(me(t)) {
		t.Errorf("over the Unix socket: %+v", got)
	}
}

const token = "0123456789abcdef"

// TestTokens: what a token does over each kind of connection.
func TestTokens(t *testing.T) {
	ids := &Identities{}
	if err := ids.AddToken(token, "0"); err != nil {
		t.Fatal(err)
	}
	unknown := func(address string) *Info {
		a := &net.TCPAddr{IP: net.ParseIP(address), Port: 1}
		return &Info{key: addressKey(a), local: loopback(a)}
	}
	encrypted := unknown("192.0.2.1")
	encrypted.TLS = &credentials.TLSInfo{}
	alice := &User{Uid: 61001, Gid: 61001}
	unix := &Info{User: alice, key: "uid 61001", local: true}
	for _, c := range []struct {
		name string
		info *Info
		ids  *Identities
		sent []string
		uid  int // -1: nobody, -2: refused
	}{
		{"none", unix, ids, nil, 61001},
		{"none, nobody", unknown("192.0.2.1"), ids, nil, -1},
		{"over a socket", unix, ids, []string{"Bearer " + token}, 0},
		{"on this machine", unknown("127.0.0.9"), ids, []string{"bearer  " + token + " "}, 0},
		{"on this machine, IPv6", unknown("::1"), ids, []string{"Bearer " + token}, 0},
		{"encrypted", encrypted, ids, []string{"Bearer " + token}, 0},
		{"over a network", unknown("192.0.2.1"), ids, []string{"Bearer " + token}, -2},
		{"wrong over a network", unknown("192.0.2.1"), ids, []string{"Bearer wrong"}, -2},
		{"wrong", unix, ids, []string{"Bearer 0123456789abcdeF"}, -2},
		{"a part", unix, ids, []string{"Bearer 0123456789abcde"}, -2},
		{"empty", unix, ids, []string{"Bearer "}, -2},
		{"nothing", unix, ids, []string{""}, -2},
		{"another scheme", unix, ids, []string{"Basic " + token}, -2},
		{"two", unix, ids, []string{"Bearer " + token, "Bearer " + token}, -2},
		{"nobody has one", unix, nil, []string{"Bearer " + token}, -2},
	} {
		ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: c.info})
		if c.sent != nil {
			ctx = metadata.NewIncomingContext(ctx, metadata.MD{"authorization": c.sent})
		}
		got, err := FromContext(ctx, c.ids)
		switch {
		case c.uid == -2:
			if !strings.HasPrefix(errText(err), ErrToken.Error()) || strings.Contains(errText(err), token[:8]) {
				t.Errorf("%s: %+v %v", c.name, got, err)
			}
		case err != nil, c.uid == -1 && got.User != nil, c.uid >= 0 && (got.User == nil || got.User.Uid != uint32(c.uid)):
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
	}
	if got, err := FromContext(context.Background(), ids); err != nil || got.User != nil || got.Key == "" {
		t.Errorf("a call without a peer: %+v %v", got, err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestTokenOverTheWire: the same with a real client.
func TestTokenOverTheWire(t *testing.T) {
	ids := &Identities{}
	if err := ids.AddToken(token, "0"); err != nil {
		t.Fatal(err)
	}
	s, at := serve(t, Options{Identities: ids}, "tcp:127.0.0.1:0")
	with := func(value string) error {
		return check(at[0], grpc.WithTransportCredentials(insecureCredentials()), grpc.WithPerRPCCredentials(header(value)))
	}
	if err := with("Bearer " + token); err != nil {
		t.Fatal(err)
	}
	if got := <-s.calls; got.User == nil || got.Key != "uid 0" || !slices.Contains(append(got.User.Groups, got.User.Gid), 0) {
		t.Errorf("got %+v", got)
	}
	if err := with("Bearer x" + token); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("a wrong token: %v", err)
	}
}
