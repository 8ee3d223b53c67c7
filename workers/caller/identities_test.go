// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func insecureCredentials() credentials.TransportCredentials { return insecure.NewCredentials() }

// header is what a client sends as authorization, also in plain text.
type header string

func (h header) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": string(h)}, nil
}

func (header) RequireTransportSecurity() bool { return false }

func TestTokenFile(t *testing.T) {
	for _, c := range []struct {
		text string
		mode os.FileMode
		says string // "": it is taken
	}{
		{"# tokens\n\n" + token + " root\n  fedcba9876543210\t0 \n", 0o600, ""},
		{token + " root\n", 0o640, ""},
		{token + " root\n", 0o644, "chmod 600"},
		{token + " root\n", 0o660, "chmod 600"},
		{token + " root\n", 0o602, "chmod 600"},
		{"short root\n", 0o600, "line 1: the token of root has 5 characters"},
		{"\n" + token + "\n", 0o600, "line 2: a token and a user, not 1 words"},
		{token + " root x\n", 0o600, "not 3 words"},
		{token + " no-such-user\n", 0o600, "no-such-user"},
		{token + " 4294967296\n", 0o600, "4294967296"},
		{token + " root\n" + token + " 0\n", 0o600, "another one's"},
		{"0123456789abcdé0 root\n", 0o600, "a header cannot hold"},
	} {
		path := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		ids := &Identities{}
		err := ids.AddTokenFile(path)
		if c.says == "" && (err != nil || ids.ofToken(token) == nil) || c.says != "" && !strings.Contains(errText(err), c.says) {
			t.Errorf("%q, mode %o: %v, want %q", c.text, c.mode, err, c.says)
		}
		if strings.Contains(errText(err), token) {
			t.Errorf("the error has the token: %v", err)
		}
	}
	if err := (&Identities{}).AddTokenFile(t.TempDir()); err == nil {
		t.Error("a folder is taken")
	}
}

func TestClientRules(t *testing.T) {
	ids := &Identities{}
	if err := ids.AddClient("camera=0"); err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{"", "=", "camera", "camera=", "=0", "camera=0", "x=no-such-user"} {
		if err := ids.AddClient(rule); err == nil {
			t.Errorf("%q is taken", rule)
		}
	}
}

// TestGroups: a user comes with the groups that the machine gives him.
func TestGroups(t *testing.T) {
	mine, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	groups, err := mine.GroupIds()
	if err != nil {
		t.Skip(err)
	}
	got, err := lookUp(mine.Username)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Groups) == 0 || len(got.Groups) > len(groups) {
		t.Errorf("groups are %v, want %v", got.Groups, groups)
	}
}
