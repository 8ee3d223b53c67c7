# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Files that execute something when Python reads them do nothing in a mount: not when
they are listed, indexed, read or mapped. tests/attacks has many more of them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index import read_index
from library import SILERO, SILERO_FILE, Library
from mounts import Mount


class Attack:
    """Whoever unpickles it touches a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


def archive(file: Path, value: object) -> None:
    """A checkpoint as torch.save writes it, without torch."""
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("archive/data.pkl", pickle.dumps(value, 2))
        out.writestr("archive/byteorder", "little")
        out.writestr("archive/version", "3\n")


def bare(file: Path, value: object) -> None:
    file.write_bytes(pickle.dumps(value, 2))


def objects(file: Path, value: object) -> None:
    """An array of Python objects is a pickle too."""
    array = np.empty(1, object)
    array[0] = value
    np.save(file, array)


def npz(file: Path, value: object) -> None:
    array = np.empty(1, object)
    array[0] = value
    np.savez(file, evil=array, good=np.arange(5))


# How each is written, the tensors it has nevertheless, and the error it must get.
ATTACKS: dict[str, tuple[Callable[[Path, object], None], list[str], str | None]] = {
    "zip.pt": (archive, [], None),
    "zip.bin": (archive, [], None),
    "bare.pt": (bare, [], "none of PyTorch's"),
    "bare.ckpt": (bare, [], "none of PyTorch's"),
    "objects.npy": (objects, [], "Python objects"),
    "archive.npz": (npz, ["good"], None),
}


def read_everything(mount: Mount) -> None:
    """What any program may do with a mount."""
    for path in sorted(mount.point.rglob("*")):
        if path.is_file():
            path.read_bytes()
            assert all(os.getxattr(path, name) is not None for name in os.listxattr(path))


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_executed(mount_anew: Callable[[Path], Mount], tmp_path: Path, name: str) -> None:
    canary, source = tmp_path / "canary", tmp_path / "models"
    folder = source / "evil"
    folder.mkdir(parents=True)
    write, tensors, error = ATTACKS[name]
    write(folder / name, {"weight": Attack(canary)})
    np.save(source / "sound.npy", np.arange(7))

    mount = mount_anew(source)
    index = read_index(mount.tensors / "evil")
    assert [t.name for t in index.tensors] == tensors
    assert index.error is None if error is None else index.error is not None and error in index.error
    read_everything(mount)
    checked = mount.run("inspect", "--check", str(folder / name))
    assert checked.returncode == 1, "it passes as safe"
    assert (mount.models / "evil" / name).read_bytes() == (folder / name).read_bytes()

    assert not canary.exists(), "it was executed"
    assert mount.daemon.poll() is None
    assert (mount.tensors / "sound" / "sound").read_bytes() == np.arange(7).tobytes(), "it does nothing else any more"


@pytest.mark.parametrize("name", ["zip.pt", "bare.pt", "objects.npy"])
def test_control(tmp_path: Path, name: str) -> None:
    """These files do execute what they hold: in a process that unpickles them."""
    canary, file = tmp_path / "canary", tmp_path / name
    ATTACKS[name][0](file, {"weight": Attack(canary)})
    unpickle = {
        "zip.pt": "import pickle, zipfile; pickle.loads(zipfile.ZipFile(f).read('archive/data.pkl'))",
        "bare.pt": "import pickle; pickle.load(open(f, 'rb'))",
        "objects.npy": "import numpy; numpy.load(f, allow_pickle=True)",
    }[name]
    subprocess.run([sys.executable, "-c", f"import sys; f = sys.argv[1]; {unpickle}", file], check=True)
    assert canary.exists()


def evil(source: Path, value: object, legacy: bool) -> Path:
    """A model as torch itself saves it."""
    import torch

    file = source / "evil" / "model.pt"
    file.parent.mkdir(parents=True)
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_beside_an_attack(mount_anew: Callable[[Path], Mount], tmp_path: Path, legacy: bool) -> None:
    """The tensors are there, and inspect --check tells of the rest."""
    import torch

    canary, weight = tmp_path / "canary", torch.arange(12.0).reshape(3, 4)
    file = evil(tmp_path / "models", {"weight": weight, "other": Attack(canary), "turned": weight.t()}, legacy)
    mount = mount_anew(tmp_path / "models")
    index = read_index(mount.tensors / "evil")
    assert index.error is None and [t.name for t in index.tensors] == ["weight", "turned"]
    assert (mount.tensors / "evil" / "weight").read_bytes() == weight.numpy().tobytes()
    assert (mount.tensors / "evil" / "turned").read_bytes() == weight.t().contiguous().numpy().tobytes()
    checked = mount.run("inspect", "--check", str(file))
    assert checked.returncode == 1 and "calls posix.system" in checked.stdout
    assert file.read_bytes() == (mount.models / "evil" / "model.pt").read_bytes()
    assert not canary.exists() and mount.daemon.poll() is None


class Rebuilt:
    """A tensor whose storage is what an attack gives back."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        from torch._utils import _rebuild_tensor_v2

        return _rebuild_tensor_v2, (Attack(self.canary), 0, (3,), (1,), False, OrderedDict())


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_that_an_attack_makes(mount_anew: Callable[[Path], Mount], tmp_path: Path, legacy: bool) -> None:
    """A tensor that depends on a call is refused, by the name of what was to be called."""
    canary = tmp_path / "canary"
    file = evil(tmp_path / "models", {"weight": Rebuilt(canary)}, legacy)
    mount = mount_anew(tmp_path / "models")
    index = read_index(mount.tensors / "evil")
    assert index.tensors == [] and index.error is not None and "posix.system" in index.error
    assert file.read_bytes() == (mount.models / "evil" / "model.pt").read_bytes()
    assert not canary.exists() and mount.daemon.poll() is None


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda b: b[: len(b) // 2],
    "header-of-2^63": lambda b: (2**63 - 1).to_bytes(8, "little") + b[8:],
    "empty": lambda b: b"",
    "noise": lambda b: np.random.default_rng(1).bytes(len(b)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file(mount_anew: Callable[[Path], Mount], library: Library, tmp_path: Path, damage: str) -> None:
    """It has no tensors and says why; the file itself is shared as it is."""
    file = tmp_path / "broken" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(DAMAGE[damage]((library.folder / SILERO / SILERO_FILE).read_bytes()))
    mount = mount_anew(tmp_path)
    index = read_index(mount.tensors / "broken")
    assert index.tensors == [] and index.error and "model.safetensors" in index.error
    assert (mount.models / "broken" / "model.safetensors").read_bytes() == file.read_bytes()
    assert mount.daemon.poll() is None
