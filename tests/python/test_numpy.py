# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""NumPy's own files: .npy and .npz become models, and any tensor can be mapped by np.memmap."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Mode
from index import map_file, read_index, strided_view
from library import SILERO, Library
from mounts import Mount, mounted
from reference import of_arrays
from required import package_folder


def numbers(dtype: str, *shape: int) -> np.ndarray:
    n = int(np.prod(shape))
    return (np.arange(n) % 120).astype(dtype).reshape(shape)


DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]

ARRAYS = {
    "c-order": numbers("f4", 3, 5, 2),
    "fortran-order": np.asfortranarray(numbers("f4", 3, 5, 2)),
    "fortran-large": np.asfortranarray(numbers("f8", 700, 301)),
    "scalar": np.array(3.5),
    "empty": numbers("f4", 0, 7),
    "one-dimension": numbers("i8", 1),
} | {f"type-{d}": numbers(d, 2, 3) for d in DTYPES}

REFUSED = {
    "structured": (np.zeros(3, [("a", "i4"), ("b", "f8")]), "structured"),
    "objects": (np.array([{}, None], dtype=object), "Python objects"),
    "text": (np.array(["a", "b"]), "<U1"),
    "raw": (np.zeros(3, "V5"), "|V5"),
}

ARCHIVE = {"a": ARRAYS["c-order"], "b": ARRAYS["fortran-order"], "layers/0": ARRAYS["scalar"], "none": ARRAYS["empty"]}
COMPRESSED = {
    "a": numbers("f8", 40, 50),
    "fortran": np.asfortranarray(numbers("f4", 30, 7)),
    "big/endian": numbers(">u2", 5),
}
BIG_ENDIAN = {"big-endian": np.arange(7, dtype=">i4"), "big-endian-fortran": np.asfortranarray(numbers(">c8", 3, 4))}


@pytest.fixture(scope="module")
def arrays(binary: Path, mode: Mode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount of what NumPy saves."""
    folder = tmp_path_factory.mktemp("arrays")
    for name, array in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    for name, array in BIG_ENDIAN.items():
        np.save(folder / f"{name}.npy", array)
    for name, (array, _) in REFUSED.items():
        np.save(folder / f"{name}.npy", array)
    for package, file in REFUSED_FILES:
        model = folder / f"real-{Path(file).stem}{Path(file).suffix[1:]}"
        model.mkdir()
        shutil.copy(package_folder(package) / file, model)
    np.savez(folder / "archive.npz", **ARCHIVE)
    np.savez_compressed(folder / "compressed.npz", **COMPRESSED)
    with mounted(binary, folder, *mode.flags) as mount:
        yield mount


def check_forms(mount: Mount, model: str, name: str, array: np.ndarray) -> None:
    """A tensor's raw file, its .npy and its view by index.json all are the array."""
    entry = next(e for e in read_index(mount.tensors / model).tensors if e.name == name)
    want = of_arrays(x=array)[0]
    assert (entry.dtype, tuple(entry.shape), entry.nbytes) == (want.dtype, want.shape, len(want.data))
    assert entry.contiguous is array.flags.c_contiguous
    assert (mount.tensors / model / entry.path).read_bytes() == want.data
    loaded = np.load(mount.tensors / model / f"{entry.path}.npy", mmap_mode="r")
    assert loaded.dtype == array.dtype and loaded.flags.c_contiguous and np.array_equal(loaded, array)
    assert entry.file is not None
    view = strided_view(map_file(mount.models / model / entry.file), entry, array.dtype)
    assert np.array_equal(view, array)


def check_made(mount: Mount, model: str, name: str, array: np.ndarray) -> None:
    """As check_forms, of an array that lies nowhere as it is: little-endian and row-major."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    entry = next(e for e in read_index(mount.tensors / model).tensors if e.name == name)
    assert (entry.shape, entry.nbytes, entry.contiguous, entry.file) == (list(array.shape), array.nbytes, True, None)
    assert (mount.tensors / model / entry.path).read_bytes() == array.tobytes()
    loaded = np.load(mount.tensors / model / f"{entry.path}.npy", mmap_mode="r")
    assert loaded.dtype == array.dtype and loaded.flags.c_contiguous and np.array_equal(loaded, array)


@pytest.mark.parametrize("name", BIG_ENDIAN)
def test_big_endian(arrays: Mount, name: str) -> None:
    check_made(arrays, name, name, BIG_ENDIAN[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_npy(arrays: Mount, name: str) -> None:
    check_forms(arrays, name, name, ARRAYS[name])


def test_fortran_order_has_its_strides(arrays: Mount) -> None:
    """The weight file keeps its order, the tensor's own file is row-major."""
    (entry,) = read_index(arrays.tensors / "fortran-order").tensors
    assert (entry.shape, entry.strides, entry.contiguous) == ([3, 5, 2], [1, 3, 15], False)


@pytest.mark.parametrize("name", ARRAYS.keys() | REFUSED.keys())
def test_np_load_of_the_file_itself(arrays: Mount, name: str) -> None:
    """Also of what is no tensor: models/ shares any file as it is."""
    array = ARRAYS[name] if name in ARRAYS else REFUSED[name][0]
    loaded = np.load(arrays.models / name / f"{name}.npy", allow_pickle=True)
    assert loaded.dtype == array.dtype and np.array_equal(loaded, array)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_tensor_says_why(arrays: Mount, name: str) -> None:
    check_refused(arrays, name, f"{name}.npy", REFUSED[name][1])


# Of NumPy's and SciPy's own data: what has no numbers.
REFUSED_FILES = {
    ("numpy", "lib/tests/data/py2-objarr.npy"): "Python objects",
    ("numpy", "lib/tests/data/py3-objarr.npy"): "Python objects",
    ("numpy", "lib/tests/data/py3-objarr.npz"): "no array",
    ("scipy", "sparse/linalg/tests/propack_test_data.npz"): "no array",
    ("scipy", "stats/tests/data/levy_stable/stable-loc-scale-sample-data.npy"): "structured",
}


@pytest.mark.parametrize(("package", "file"), REFUSED_FILES)
def test_real_files_without_numbers_say_why(arrays: Mount, package: str, file: str) -> None:
    path = Path(file)
    check_refused(arrays, f"real-{path.stem}{path.suffix[1:]}", path.name, REFUSED_FILES[package, file])


def check_refused(mount: Mount, model: str, file: str, why: str) -> None:
    """The reason is in index.json, in ls, and what inspect says."""
    index = read_index(mount.tensors / model)
    assert index.tensors == []
    assert index.error is not None and file in index.error and why in index.error
    assert [p.name for p in (mount.tensors / model).iterdir()] == ["index.json"]
    assert mount.model(model)["error"] == index.error
    inspected = mount.run("inspect", model)
    assert inspected.returncode == 1 and file in inspected.stderr and why in inspected.stderr


@pytest.mark.parametrize("name", ARCHIVE)
def test_npz(arrays: Mount, name: str) -> None:
    check_forms(arrays, "archive", name, ARCHIVE[name])


def test_npz_has_all_arrays(arrays: Mount) -> None:
    assert [e.name for e in read_index(arrays.tensors / "archive").tensors] == list(ARCHIVE)


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_npz(arrays: Mount, name: str) -> None:
    check_made(arrays, "compressed", name, COMPRESSED[name])


@pytest.mark.parametrize(("model", "expected"), [("archive", ARCHIVE), ("compressed", COMPRESSED)])
def test_np_load_of_an_archive(arrays: Mount, model: str, expected: dict[str, np.ndarray]) -> None:
    with np.load(arrays.models / model / f"{model}.npz") as archive:
        assert archive.files == list(expected)
        assert all(np.array_equal(archive[name], array) for name, array in expected.items())


@pytest.mark.parametrize("name", ["lstm_cell.weight_hh", "conv1.bias"])
def test_memmap(mount: Mount, library: Library, name: str) -> None:
    """A raw tensor, by what its attributes or index.json say of it."""
    want = library.tensors(SILERO)[name]
    array = np.memmap(mount.tensors / SILERO / name, "<f4", "r", shape=want.shape)
    assert array.tobytes() == want.data
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_memmap_copy_on_write(mount: Mount, library: Library) -> None:
    """What somebody writes into a mapping of their own nobody else sees."""
    path = mount.tensors / SILERO / "conv1.bias"
    mine, theirs = np.memmap(path, "<f4", "c"), np.memmap(path, "<f4", "r")
    mine += 1
    want = np.frombuffer(library.tensors(SILERO)["conv1.bias"].data, "<f4")
    assert np.array_equal(mine, want + 1)
    assert np.array_equal(theirs, want) and path.read_bytes() == want.tobytes()


@pytest.mark.parametrize("mode_of_file", ["r+", "w+"])
def test_memmap_for_writing_is_refused(mount: Mount, library: Library, mode_of_file: str) -> None:
    """A model of a source cannot be changed."""
    path = mount.tensors / SILERO / "conv1.bias"
    with pytest.raises(OSError) as refused:
        np.memmap(path, "<f4", mode_of_file, shape=(128,))
    assert refused.value.errno == errno.EROFS
    assert path.read_bytes() == library.tensors(SILERO)["conv1.bias"].data
