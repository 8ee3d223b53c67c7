// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"slices"
	"strings"
)

// others are files that are something else than their names say.
func others() []Attack {
	const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nsize 1000\n"
	var all []Attack
	for _, ext := range []string{".safetensors", ".gguf", ".pt", ".onnx", ".npy", ".npz", ".tflite", ".ggml"} {
		all = append(all, table("other", ext,
			row{"empty-" + ext[1:], Content{}, refused(""), "a file without a byte", nil},
			row{"pointer-" + ext[1:], whole([]byte(lfs)), refused(""), "a pointer of Git LFS in place of the file", nil},
			row{"zeros-" + ext[1:], Content{Size: 1 << 34}, refused(""), "16 GiB of zeros", nil},
		)...)
	}
	hdf5 := join("\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00", strings.Repeat("\xff", 80))
	lambda := `{"class_name":"Lambda","config":{"function":{"class_name":"__lambda__","config":{"code":"4wAA"}}}}`
	return append(all, slices.Concat(
		table("other", ".h5",
			row{"hdf5-offsets", whole(hdf5), refused(""), "HDF5 whose addresses are all -1", nil},
			row{"hdf5-cut", whole(hdf5[:9]), refused(""), "HDF5 that ends within its superblock", nil},
			row{"hdf5-sparse", Content{Head: hdf5, Size: 1 << 34}, refused(""), "HDF5 in a file of 16 GiB", nil},
		),
		table("other", ".keras",
			row{"lambda", whole(npz(member{name: "config.json", data: []byte(lambda)}).bytes()), refused(""), "CVE-2024-3660: a Lambda layer, whose code Keras runs", nil},
			row{"pickle", whole(pickled(2, call(global("posix.system"), text(shell)))), refused(""), "a pickle with another format's extension", nil},
		),
		table("other", ".msgpack",
			row{"array-large", whole(join("\xdd\xff\xff\xff\xff")), refused(""), "an array of 2^32-1 values", nil},
			row{"deep", whole([]byte(strings.Repeat("\x91", 1<<20))), refused(""), "arrays a million deep", nil},
		),
	)...)
}
