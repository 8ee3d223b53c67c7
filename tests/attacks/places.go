// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Hidden is one more answer: nothing in the place is shown as a weight file.
const Hidden Answer = "hidden"

// Place is a folder of a model, m, with links, pipes or devices in it.
type Place struct {
	Name string
	// Make fills an empty folder, in which m is the model. It may fail with EPERM,
	// where the user may make no devices.
	Make     func(dir string) error
	Want     Want
	Imitates string
	// External says that it is about ONNX's data beside the model.
	External bool
}

// Category is the first part of the name.
func (p *Place) Category() string {
	category, _, _ := strings.Cut(p.Name, "/")
	return category
}

// maker fills a folder step by step, until one fails.
type maker struct {
	dir string
	err error
}

func (m *maker) do(step func() error) {
	if m.err == nil {
		m.err = step()
	}
}

func (m *maker) path(name string) string {
	p := filepath.Join(m.dir, filepath.FromSlash(name))
	m.do(func() error { return os.MkdirAll(filepath.Dir(p), 0o755) })
	return p
}

func (m *maker) file(name string, content []byte) {
	p := m.path(name)
	m.do(func() error { return os.WriteFile(p, content, 0o644) })
}

func (m *maker) link(target, name string) {
	p := m.path(name)
	m.do(func() error { return os.Symlink(target, p) })
}

func (m *maker) hard(target, name string) {
	from, to := m.path(target), m.path(name)
	m.do(func() error { return os.Link(from, to) })
}

func (m *maker) fifo(name string) {
	p := m.path(name)
	m.do(func() error { return syscall.Mkfifo(p, 0o644) })
}

func (m *maker) node(name string, mode uint32, device int) {
	p := m.path(name)
	m.do(func() error { return syscall.Mknod(p, mode|0o644, device) })
}

func (m *maker) sparse(name string, head []byte, size int64) {
	m.file(name, head)
	m.do(func() error { return os.Truncate(m.path(name), size) })
}

const devZero = 1<<8 | 5

// Places are the attacks that need a filesystem.
func Places() []Place {
	return append(append(specialFiles(), shardLists()...), externalData()...)
}

// place is one whose steps a function takes.
func place(name string, want Want, imitates string, steps func(m *maker)) Place {
	return Place{Name: name, Want: want, Imitates: imitates, Make: func(dir string) error {
		m := &maker{dir: dir}
		m.file("m/config.json", []byte("{}"))
		steps(m)
		if errors.Is(m.err, syscall.EACCES) {
			m.err = errors.Join(m.err, syscall.EPERM)
		}
		return m.err
	}}
}

// specialFiles are weight files that are no files.
func specialFiles() []Place {
	const w = "m/model.safetensors"
	hidden := Want{Answer: Hidden}
	sound := safetensors(entry("w", "F32", "[4]", 0, 16), fourFloats)
	return []Place{
		place("file/fifo", hidden, "a pipe: who opens it waits for ever", func(m *maker) { m.fifo(w) }),
		place("file/fifo-linked", hidden, "a link to a pipe", func(m *maker) { m.fifo("pipe"); m.link("../pipe", w) }),
		place("file/socket", hidden, "a socket", func(m *maker) { m.node(w, syscall.S_IFSOCK, 0) }),
		place("file/device", hidden, "a device that gives zeros without end", func(m *maker) { m.node(w, syscall.S_IFCHR, devZero) }),
		place("file/device-linked", hidden, "a link to /dev/zero", func(m *maker) { m.link("/dev/zero", w) }),
		place("file/terminal-linked", hidden, "a link to a terminal", func(m *maker) { m.link("/dev/tty", w) }),
		place("file/folder", hidden, "a folder with a weight file's name", func(m *maker) { m.file(w+"/x", nil) }),
		place("file/broken-link", hidden, "a link to nothing", func(m *maker) { m.link("nothing", w) }),
		place("file/link-to-itself", hidden, "a link to itself", func(m *maker) { m.link("model.safetensors", w) }),
		place("file/links-in-a-circle", hidden, "two links to each other", func(m *maker) { m.link("b.safetensors", "m/a.safetensors"); m.link("a.safetensors", "m/b.safetensors") }),
		place("file/passwd", refused(""), "a link to /etc/passwd: it is no weight file", func(m *maker) { m.link("/etc/passwd", w) }),
		place("file/environment", refused(""), "a link to /proc/self/environ, whose size is 0", func(m *maker) { m.link("/proc/self/environ", w) }),
		place("file/hard-link", read("w"), "a second name of a file elsewhere", func(m *maker) { m.file("elsewhere", sound); m.hard("elsewhere", w) }),
		place("file/folder-to-itself", read("w"), "a link to the folder that it is in", func(m *maker) { m.file(w, sound); m.link(".", "m/self") }),
		place("file/fan", read("w"), "eight links to the folder: 8^12 paths", func(m *maker) {
			m.file(w, sound)
			for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				m.link("..", "m/deep/"+name)
			}
		}),
		place("file/fifo-beside", read("w"), "a pipe beside the weight file", func(m *maker) { m.file(w, sound); m.fifo("m/pipe.safetensors") }),
		place("file/sparse", refused(""), "a weight file of 1 TiB of zeros", func(m *maker) { m.sparse(w, nil, 1<<40) }),
		place("file/name-not-utf8", hidden, "a pipe whose name is not UTF-8", func(m *maker) { m.fifo("m/\xff.safetensors") }),
	}
}

// shardLists are lists of shards that lead elsewhere, beside sound weight files.
func shardLists() []Place {
	const index = "m/model.safetensors.index.json"
	sound := safetensors(entry("w", "F32", "[4]", 0, 16), fourFloats)
	with := func(name string, want Want, imitates string, steps func(m *maker)) Place {
		return place("shards/"+name, want, imitates, func(m *maker) {
			m.file("m/model.safetensors", sound)
			steps(m)
		})
	}
	text := func(name, weightMap string, want Want, imitates string) Place {
		return with(name, want, imitates, func(m *maker) { m.file(index, []byte(`{"weight_map":{`+weightMap+`}}`)) })
	}
	numbered := func(name, list, says, imitates string) Place {
		return place("shards/numbered-"+name, refused(says), imitates, func(m *maker) {
			m.file("m/model-00001-of-00001.safetensors", sound)
			m.file(index, []byte(list))
		})
	}
	return []Place{
		numbered("cut", `{"weight_map":{"w":"model-00001-of-000`, "index.json", "numbered shards, and a list that ends early"),
		numbered("absolute", `{"weight_map":{"w":"/etc/passwd"}}`, "/etc/passwd", "numbered shards, and a list that names another file"),
		numbered("dots", `{"weight_map":{"w":"../m/model-00001-of-00001.safetensors"}}`, "../m", "numbered shards, and a list that goes out and comes back"),
		numbered("missing", `{"weight_map":{"w":"elsewhere.safetensors"}}`, "elsewhere.safetensors", "numbered shards, and a list of none of them"),
		text("dots", `"w":"../../../etc/passwd"`, read("w"), "a shard outside the model's folder"),
		text("absolute", `"w":"/etc/passwd"`, read("w"), "a shard by an absolute path"),
		text("backslash", `"w":"..\\..\\secrets"`, read("w"), "another system's separators"),
		text("nul", `"w":"model.safetensors\u0000.png"`, read("w"), "a path with NUL"),
		text("missing", `"w":"model.safetensors","v":"missing.safetensors"`, refused("missing.safetensors"), "a shard that is not there"),
		text("twice", `"w":"model.safetensors","w":"model.safetensors"`, read("w"), "one tensor, twice"),
		text("deep", `"w":`+strings.Repeat("[", 100_000), read("w"), "arrays 100,000 deep"),
		with("fifo", read("w"), "the list is a pipe", func(m *maker) { m.fifo(index) }),
		with("device", read("w"), "the list is /dev/zero", func(m *maker) { m.link("/dev/zero", index) }),
		with("sparse", read("w"), "the list is 16 GiB of zeros", func(m *maker) { m.sparse(index, []byte(`{"weight_map":{`), 1<<34) }),
		with("shard-fifo", refused("pipe.safetensors"), "a shard that is a pipe", func(m *maker) {
			m.fifo("m/pipe.safetensors")
			m.file(index, []byte(`{"weight_map":{"w":"model.safetensors","v":"pipe.safetensors"}}`))
		}),
	}
}

// externalData are models of ONNX with data beside them that are elsewhere, or no
// file.
func externalData() []Place {
	const data = "m/w.data"
	in := func(name, location string, want Want, imitates string, steps func(m *maker)) Place {
		p := place("external/"+name, want, imitates, func(m *maker) {
			m.file("m/model.onnx", onnx(external("location", location)))
			steps(m)
		})
		p.External = true
		return p
	}
	at := func(name string, want Want, imitates string, steps func(m *maker)) Place {
		return in(name, "w.data", want, imitates, steps)
	}
	return []Place{
		at("sound", read("w"), "nothing: it is the control of the others", func(m *maker) { m.file(data, fourFloats) }),
		in("sound-below", "data/w.data", read("w"), "nothing: data in a folder of the model", func(m *maker) { m.file("m/data/w.data", fourFloats) }),
		in("sound-bin", "weights.bin", read("w"), "nothing: data with the name of a PyTorch file", func(m *maker) { m.file("m/weights.bin", fourFloats) }),
		in("itself", "model.onnx", refused("own file"), "data in the model's own file", func(*maker) {}),
		place("external/shard", refused("which has"), "data in another shard of the model, which is shorter", func(m *maker) {
			m.file("m/model-00001-of-00002.onnx", onnx(external("location", "model-00002-of-00002.onnx", "offset", "40000000000")))
			m.file("m/model-00002-of-00002.onnx", onnx(initializer(func(p *tensorProto) { p.name = message(8, "v") })))
		}),
		at("missing", refused("w.data"), "data that are not there", func(*maker) {}),
		at("short", refused("w.data"), "data that end early", func(m *maker) { m.file(data, fourFloats[:12]) }),
		at("passwd", refused("w.data"), "CVE-2026-27489: a link to /etc/passwd", func(m *maker) { m.link("/etc/passwd", data) }),
		at("link-inside", refused("w.data"), "onnx/onnx#7717: a link, even one that stays in the folder", func(m *maker) { m.file("m/other", fourFloats); m.link("other", data) }),
		in("link-on-the-way", "data/w.data", refused("w.data"), "CVE-2026-27489: a folder on the way is a link", func(m *maker) { m.file("elsewhere/w.data", fourFloats); m.link("../elsewhere", "m/data") }),
		at("hard-link", refused("w.data"), "CVE-2026-34446, onnx/onnx#7686: a second name of a file elsewhere", func(m *maker) { m.file("secret", fourFloats); m.hard("secret", data) }),
		at("fifo", refused("w.data"), "a pipe: who opens it waits for ever", func(m *maker) { m.fifo(data) }),
		at("socket", refused("w.data"), "a socket", func(m *maker) { m.node(data, syscall.S_IFSOCK, 0) }),
		at("device", refused("w.data"), "a device that gives zeros without end", func(m *maker) { m.node(data, syscall.S_IFCHR, devZero) }),
		at("folder", refused("w.data"), "a folder", func(m *maker) { m.file(data+"/x", nil) }),
	}
}
