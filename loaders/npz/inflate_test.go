// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

// makeAll makes what has a Maker, within limit bytes.
func makeAll(r io.ReaderAt, ix *tensors.Index, limit int64) ([][]byte, error) {
	var all [][]byte
	for _, t := range ix.Tensors {
		if t.Maker == nil || t.NBytes > limit {
			continue
		}
		dst := make([]byte, t.NBytes)
		if err := t.Maker.Make(context.Background(), r, dst); err != nil {
			return nil, err
		}
		all = append(all, dst)
	}
	return all, nil
}

func TestInflate(t *testing.T) {
	var numbers []byte
	for i := range 6 {
		numbers = binary.BigEndian.AppendUint16(numbers, uint16(i))
	}
	swapped := func(order ...uint16) (b []byte) {
		for _, i := range order {
			b = binary.LittleEndian.AppendUint16(b, i)
		}
		return b
	}
	file := archive(t,
		deflated(t, "plain.npy", npyOf("|u1", "False", "(2, 3)", []byte{1, 2, 3, 4, 5, 6})),
		deflated(t, "columns.npy", npyOf("|u1", "True", "(2, 3)", []byte{1, 2, 3, 4, 5, 6})),
		deflated(t, "big.npy", npyOf(">u2", "False", "(2, 3)", numbers)),
		deflated(t, "both.npy", npyOf(">u2", "True", "(2, 3)", numbers)),
		deflated(t, "empty.npy", npyOf("<f8", "False", "(0, 3)", nil)),
		deflated(t, "scalar.npy", npyOf("|u1", "False", "()", []byte{9})),
		stored{zip.FileHeader{Name: "stored.npy"}, npyOf(">u2", "True", "(2, 3)", numbers)},
	)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil || len(ix.Findings) != 0 {
		t.Fatalf("%v, %+v", err, ix)
	}
	check(t, ix, int64(len(file)))
	got, err := makeAll(bytes.NewReader(file), ix, 100)
	want := [][]byte{{1, 2, 3, 4, 5, 6}, {1, 3, 5, 2, 4, 6}, swapped(0, 1, 2, 3, 4, 5), swapped(0, 2, 4, 1, 3, 5), {}, {9}, swapped(0, 2, 4, 1, 3, 5)}
	if fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if s := ix.Tensors[1].Shape; len(s) != 2 || s[0] != 2 || s[1] != 3 {
		t.Errorf("the shape %v", s)
	}
}

// TestInflateLarge has several chunks, windows and buffers, in both orders; what is
// needed besides the array is bounded.
func TestInflateLarge(t *testing.T) {
	const rows, columns = 3000, 2000
	data := make([]byte, 4*rows*columns)
	for i := range rows * columns {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(i*2654435761)>>12)
	}
	for _, order := range []string{"False", "True"} {
		file := archive(t, deflated(t, "a.npy", npyOf("<u4", order, fmt.Sprintf("(%d, %d)", rows, columns), data)))
		ix, err := parse.Look(t, file, int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, len(data))
		if n := hostile.Allocated(5<<20, func() { err = ix.Tensors[0].Maker.Make(context.Background(), bytes.NewReader(file), dst) }); err != nil || n > 5<<20 {
			t.Fatalf("it took %d bytes: %v", n, err)
		}
		for i := range rows {
			for j := range columns {
				from := 4 * (i*columns + j)
				if order == "True" {
					from = 4 * (j*rows + i)
				}
				if got := dst[4*(i*columns+j):][:4]; !bytes.Equal(got, data[from:from+4]) {
					t.Fatalf("Fortran %s: row %d, column %d", order, i, j)
				}
			}
		}
	}
}

func TestInflateMalformed(t *testing.T) {
	const body = 35
	good := npyFile(40)
	change := func(f func(*stored)) []byte {
		m := deflated(t, "a.npy", good)
		f(&m)
		return archive(t, m)
	}
	n := len(deflated(t, "a.npy", good).content)
	objects := npyOf("|O", "False", "(2,)", []byte("pickle"))
	for name, c := range map[string]struct {
		file []byte
		msg  string
	}{
		"a bomb":          {change(func(m *stored) { m.UncompressedSize64 = uint64(n)*1032 + 1 }), fmt.Sprintf("claims to inflate from %d to %d bytes, over 1032 times as many", n, n*1032+1)},
		"more than array": {change(func(m *stored) { m.UncompressedSize64++ }), "has 169 bytes, its array 168 with its header"},
		"fewer":           {change(func(m *stored) { m.UncompressedSize64-- }), ": at byte 128 of it, inflated: U8[40] needs 40 bytes, 39 are left"},
		"no deflate":      {change(func(m *stored) { m.content[0] = 7 }), ": it does not inflate: flate: corrupt input before offset 1"},
		"cut off":         {change(func(m *stored) { m.content = m.content[:8] }), ": at byte 7 of it, inflated: the file ends here, 1 bytes early"},
		"nothing":         {change(func(m *stored) { m.content = []byte{3, 0} }), ": at byte 0 of it, inflated: the file ends here, 8 bytes early"},
		"no NPY":          {archive(t, deflated(t, "a.npy", make([]byte, 99))), ": at byte 0 of it, inflated: it does not begin as NPY does"},
		"a pickle":        {archive(t, deflated(t, "a.npy", objects)), "no array is a tensor: the member \"a.npy\": at byte 20 of it, inflated: it holds Python objects as a pickle, which is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			msg := c.msg
			switch {
			case msg[0] == ':':
				msg = `the member "a.npy"` + msg
			case !strings.HasPrefix(msg, "no array"):
				msg = `the member "a.npy" ` + msg
			}
			parse.Refuses(t, c.file, int64(len(c.file)), body, msg)
		})
	}
}

// TestMakeMalformed: what the header does not show comes out when the array is made.
func TestMakeMalformed(t *testing.T) {
	plain := npyFile(5000)
	change := func(f func(*stored)) []byte {
		m := deflated(t, "a.npy", plain)
		f(&m)
		return archive(t, m)
	}
	for name, c := range map[string]struct {
		file []byte
		msg  string
	}{
		"checksum": {change(func(m *stored) { m.CRC32 = 7 }), "its checksum is "},
		"longer":   {change(func(m *stored) { m.content = deflated(t, "", append(plain, 0)).content }), "it has more than 5128 bytes"},
		"shorter":  {change(func(m *stored) { m.content = deflated(t, "", plain[:5100]).content }), "read "},
		"cut off":  {change(func(m *stored) { m.content = m.content[:len(m.content)-1] }), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := parse.Look(t, c.file, int64(len(c.file)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = makeAll(bytes.NewReader(c.file), ix, 1<<20)
			var w *malformed.Error
			if !errors.As(err, &w) || w.Offset != 35 || !strings.HasPrefix(w.Msg, `the member "a.npy" does not inflate: `+c.msg) {
				t.Errorf("%v, want %s…", err, c.msg)
			}
		})
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

func TestMakeFails(t *testing.T) {
	for _, order := range []string{"True", "False"} {
		file := archive(t, deflated(t, "a.npy", npyOf("|u1", order, "(2, 3)", make([]byte, 6))))
		ix, err := parse(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = makeAll(failing{}, ix, 100)
		if w := (*malformed.Error)(nil); !errors.Is(err, iotest.ErrTimeout) || errors.As(err, &w) {
			t.Errorf("a failing read: %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := ix.Tensors[0].Maker.Make(ctx, bytes.NewReader(file), make([]byte, 6)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// TestInflateDamaged flips every bit: what is still taken either has the array's
// bytes or is refused when it is made.
func TestInflateDamaged(t *testing.T) {
	data := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	file := archive(t, deflated(t, "a.npy", npyOf("|u1", "True", "(6, 6)", data)))
	want := []byte("06ciou17djpv28ekqw39flrx4agmsy5bhntz")
	parse.Cut(t, file, 0)
	parse.Fail(t, file, len(file))
	taken, made := 0, 0
	for i := range len(file) * 8 {
		flipped := bytes.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		ix, err := parse.Look(t, flipped, int64(len(flipped)))
		if err != nil {
			continue
		}
		check(t, ix, int64(len(flipped)))
		taken++
		all, err := makeAll(bytes.NewReader(flipped), ix, 1<<20)
		if w := (*malformed.Error)(nil); err != nil && !errors.As(err, &w) {
			t.Errorf("bit %d: %v", i, err)
		}
		if err == nil {
			made++
			if len(all) == 1 && !bytes.Equal(all[0], want) {
				t.Errorf("bit %d: other bytes are taken for the array's: %q", i, all[0])
			}
		}
	}
	if taken == made || made == 0 {
		t.Errorf("%d of %d were made", made, taken)
	}
}

// TestLongHeaders: a few bytes inflate to a long header; all of them together are
// bounded, whatever their number.
func TestLongHeaders(t *testing.T) {
	text := fmt.Sprintf("%-65536s", "{'descr': '|u1', 'fortran_order': False, 'shape': (0,), }")
	plain := append(binary.LittleEndian.AppendUint32([]byte("\x93NUMPY\x02\x00"), uint32(len(text))), text...)
	m := deflated(t, "", plain)
	var members []stored
	for i := range 100 {
		c := m
		c.Name = fmt.Sprintf("%d.npy", i)
		members = append(members, c)
	}
	file := archive(t, members[:10]...)
	if ix, err := parse(bytes.NewReader(file), int64(len(file))); err != nil || len(ix.Tensors) != 10 {
		t.Error(err)
	}
	file = archive(t, members...)
	var err error
	taken := hostile.Allocated(8<<20, func() { _, err = parse(bytes.NewReader(file), int64(len(file))) })
	if want := fmt.Sprintf("the headers up to it have over %d bytes", 1<<20+100<<10); err == nil || !strings.HasSuffix(err.Error(), want) || taken > 8<<20 {
		t.Errorf("%d bytes: %v, want %s", taken, err, want)
	}
}
