// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// clientEnv makes this binary a client of the socket that it names: another user's.
const clientEnv = "MODELFS_TEST_CALL"

func TestMain(m *testing.M) {
	if target := os.Getenv(clientEnv); target != "" {
		if err := check(target); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// check makes one call.
func check(target string, options ...grpc.DialOption) error {
	if len(options) == 0 {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// checkAs makes one call as another user.
func checkAs(target string, c *syscall.Credential) error {
	// /proc/self/exe: the folder of a test binary is for its owner alone.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{clientEnv + "=" + target}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// server records who calls it.
type server struct {
	grpc_health_v1.UnimplementedHealthServer
	ids   *Identities
	calls chan Caller
}

func (s *server) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	c, err := FromContext(ctx, s.ids)
	if err != nil {
		return nil, err
	}
	s.calls <- c
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// serve runs a server at addresses and returns it with them as they are.
func serve(t *testing.T, o Options, addresses ...string) (*server, []string) {
	t.Helper()
	s := &server{ids: o.Identities, calls: make(chan Caller, 100)}
	g := grpc.NewServer(grpc.Creds(Credentials(o)))
	grpc_health_v1.RegisterHealthServer(g, s)
	done := make(chan error, len(addresses))
	var at []string
	for _, address := range addresses {
		l, err := Listen(address, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().Network() == "tcp" {
			address = l.Addr().String()
		}
		at = append(at, address)
		go func() { done <- g.Serve(l) }()
	}
	t.Cleanup(func() {
		g.Stop()
		for range addresses {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return s, at
}

// socket is an address that every user can reach.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "caller") //nolint:usetesting // TempDir's is for one user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return "unix:" + dir + "/s"
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("processes of other users need root")
	}
}
