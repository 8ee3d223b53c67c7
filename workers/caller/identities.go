// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// minToken is the least length of a token: shorter ones can be tried out.
const minToken = 16

// Identities say which user of this machine a token or a client's certificate stands
// for. Users are looked up when they are added, with their groups. The zero value and
// nil know nobody. Add everything before the first call: there is no lock.
type Identities struct {
	tokens  []tokenOf
	clients map[string]*User // by a URI, or the subject's common name
}

type tokenOf struct {
	hash [sha256.Size]byte
	user *User
}

// AddToken lets a token stand for a user, by his name or uid.
func (i *Identities) AddToken(token, name string) error {
	if len(token) < minToken {
		return fmt.Errorf("the token of %s has %d characters: at least %d, as `openssl rand -hex 16` makes them", name, len(token), minToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the token of %s has characters that a header cannot hold", name)
	}
	u, err := lookUp(name)
	if err != nil {
		return err
	}
	if i.ofToken(token) != nil {
		return fmt.Errorf("the token of %s is another one's too", name)
	}
	i.tokens = append(i.tokens, tokenOf{sha256.Sum256([]byte(token)), u})
	return nil
}

// AddTokenFile adds the tokens of a file: in each line a token and a user. Empty lines
// and those that begin with # say nothing. A file that others can read, or anybody but
// its owner can write, is refused.
func (i *Identities) AddTokenFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has the name now
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o027 != 0 {
		return fmt.Errorf("%s has mode %v: a file of tokens is a regular file that others can neither read nor write (chmod 600 %s)", path, mode, path)
	}
	if err := i.readTokens(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (i *Identities) readTokens(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return fmt.Errorf("line %d: a token and a user, not %d words", n, len(fields))
		}
		if err := i.AddToken(fields[0], fields[1]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// AddClient adds a rule NAME=USER for certificates of clients. A name with :// in it is
// a URI among the certificate's alternative names (spiffe://example.org/camera), any
// other the common name of its subject.
func (i *Identities) AddClient(rule string) error {
	at := strings.LastIndexByte(rule, '=') // a URI may hold others
	if at <= 0 || at == len(rule)-1 {
		return fmt.Errorf("%q: NAME=USER, such as spiffe://example.org/camera=alice", rule)
	}
	name := rule[:at]
	u, err := lookUp(rule[at+1:])
	if err != nil {
		return err
	}
	if _, ok := i.clients[name]; ok {
		return fmt.Errorf("%q: there is a rule for that name already", rule)
	}
	if i.clients == nil {
		i.clients = map[string]*User{}
	}
	i.clients[name] = u
	return nil
}

// ofToken is the user that a token stands for, or nil. How long it takes says nothing
// about tokens that there are: all are looked at, and their hashes compared.
func (i *Identities) ofToken(token string) (found *User) {
	if i == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	for _, t := range i.tokens {
		if subtle.ConstantTimeCompare(t.hash[:], hash[:]) == 1 {
			found = t.user
		}
	}
	return found
}

// ofCertificate is the user that a verified certificate stands for, or nil: by its
// first URI that has a rule, else by its common name.
func (i *Identities) ofCertificate(c *x509.Certificate) *User {
	if i == nil {
		return nil
	}
	for _, uri := range c.URIs {
		if u := i.clients[uri.String()]; u != nil {
			return u
		}
	}
	if name := c.Subject.CommonName; !strings.Contains(name, "://") {
		return i.clients[name]
	}
	return nil
}

// lookUp finds a user of this machine, by name or uid.
func lookUp(name string) (*User, error) {
	u, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		if _, numeric := strconv.ParseUint(name, 10, 32); numeric == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look up user %s: %w", name, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up groups of user %s: %w", name, err)
	}
	numbers := make([]uint32, 0, len(groups)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		numbers = append(numbers, uint32(n))
	}
	found := User{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}.normal()
	return &found, nil
}
