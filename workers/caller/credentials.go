// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"google.golang.org/grpc/credentials"
)

// Options are those of Credentials.
type Options struct {
	// TLS is for every connection that does not come over a Unix socket; nil: plain.
	// With ClientCAs and ClientAuth, certificates of clients say who calls.
	TLS *tls.Config
	// Identities say which user a certificate stands for; nil: none.
	Identities *Identities
}

// Credentials are a server's, for grpc.Creds.
func Credentials(o Options) credentials.TransportCredentials {
	c := &transport{identities: o.Identities}
	c.overflow, c.overflows = overflowUID()
	if o.TLS != nil {
		c.tls = credentials.NewTLS(o.TLS)
	}
	return c
}

// Info is what is known of a connection. It is the AuthInfo of a call's peer.
type Info struct {
	credentials.CommonAuthInfo
	// User is nil when nobody says who it is.
	User *User
	// TLS is set when the connection is encrypted.
	TLS *credentials.TLSInfo

	key   string
	local bool // nobody but this machine hears it
}

// AuthType is credentials.AuthInfo's.
func (*Info) AuthType() string { return "modelfs" }

type transport struct {
	tls        credentials.TransportCredentials // nil: plain
	identities *Identities

	// overflow is the uid of all that have none in this user namespace, if any do not.
	overflow  uint32
	overflows bool
}

var _ credentials.TransportCredentials = (*transport)(nil)

// ServerHandshake finds out who has connected.
func (t *transport) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	switch {
	case conn.LocalAddr().Network() == "unix":
		// A socket that the kernel says nothing of is refused: it is not known to be
		// nobody's, as one over TCP is.
		user, err := peerOf(conn)
		if err != nil {
			return nil, nil, err
		}
		info := &Info{
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
			User:           &user, key: userKey(user), local: true,
		}
		if t.overflows && user.Uid == t.overflow {
			info.User, info.key = nil, "address unix" // several users, and no user's rights
		}
		return conn, info, nil
	case t.tls != nil:
		return t.encrypted(conn)
	}
	return conn, &Info{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity},
		key:            addressKey(conn.RemoteAddr()), local: loopback(conn.RemoteAddr()),
	}, nil
}

func (t *transport) encrypted(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, auth, err := t.tls.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	got, ok := auth.(credentials.TLSInfo)
	if !ok {
		conn.Close()
		return nil, nil, fmt.Errorf("handshake with %v: %T is not of TLS", conn.RemoteAddr(), auth)
	}
	info := &Info{CommonAuthInfo: got.CommonAuthInfo, TLS: &got, key: addressKey(conn.RemoteAddr())}
	// VerifiedChains, not PeerCertificates: a certificate that nobody has looked at
	// says nothing.
	if chains := got.State.VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
		leaf := chains[0][0]
		sum := sha256.Sum256(leaf.Raw)
		info.key = "certificate " + hex.EncodeToString(sum[:8])
		if user := t.identities.ofCertificate(leaf); user != nil {
			info.User, info.key = user, userKey(*user)
		}
	}
	return conn, info, nil
}

// ClientHandshake fails: the credentials are a server's.
func (*transport) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers")
}

// Info is credentials.TransportCredentials'.
func (*transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "modelfs"}
}

// Clone is credentials.TransportCredentials'.
func (t *transport) Clone() credentials.TransportCredentials {
	c := *t
	if t.tls != nil {
		c.tls = t.tls.Clone()
	}
	return &c
}

// OverrideServerName is credentials.TransportCredentials', and of clients.
func (*transport) OverrideServerName(string) error {
	return errors.New("these credentials are for servers")
}

func peerOf(conn net.Conn) (User, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return User{}, fmt.Errorf("ask who connected to %v: %T has no descriptor", conn.LocalAddr(), conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return User{}, fmt.Errorf("ask who connected to %v: %w", conn.LocalAddr(), err)
	}
	var user User
	var asked error
	if err := raw.Control(func(fd uintptr) { user, asked = kernelPeer(int(fd)) }); err != nil {
		asked = err
	}
	if asked != nil {
		return User{}, fmt.Errorf("ask who connected to %v: %w", conn.LocalAddr(), asked)
	}
	return user.normal(), nil
}

func userKey(u User) string { return "uid " + strconv.FormatUint(uint64(u.Uid), 10) }

func addressKey(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return "address " + tcp.IP.String()
	}
	return "address " + a.String()
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
