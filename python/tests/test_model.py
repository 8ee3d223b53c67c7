# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""modelfs.open on real mounts."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import models
import mounts
import numpy as np
import pytest
from models import ARCHIVE, BF16, QUANTS, SMALL
from mounts import Mount, eventually

import modelfs
from modelfs import index

ARRAYS = models.arrays()


def opened(mount: Mount, name: str = SMALL, dtype: str | None = None) -> modelfs.Model:
    return modelfs.open(name, mount=mount.point, dtype=dtype)


def test_is_a_mapping(mount: Mount) -> None:
    with opened(mount) as model:
        assert set(model) == {*ARRAYS, "bf16"} and len(model) == len(ARRAYS) + 1
        t = model["layer.weight"]
        assert (t.dtype, t.shape, t.strides, t.nbytes, t.ndim, t.size) == ("F32", (64, 48), (48, 1), 12288, 2, 3072)
        assert "layer.weight" in model and "nothing" not in model
        assert repr(t) == "<modelfs.Tensor layer.weight F32[64, 48]>"
        with pytest.raises(KeyError, match="small has no tensor 'nothing'"):
            model["nothing"]


@pytest.mark.parametrize("name", [SMALL, ARCHIVE, QUANTS, f"{SMALL}@f16"])
def test_both_forms_of_the_index(mount: Mount, name: str) -> None:
    """What the columns say is what index.json says, which an older daemon has alone."""
    folder = str(mount.point / "tensors" / name)
    columns, rows = (vars(index._read(os.path.join(folder, form))) for form in (index.COLUMNS, index.ROWS))
    apart = ("path", "inode")
    assert {k: v for k, v in columns.items() if k not in apart} == {k: v for k, v in rows.items() if k not in apart}
    assert name == QUANTS or columns["names"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "COLUMNS", "there is none")
        assert vars(index.read(folder)) == rows


def test_numpy(mount: Mount) -> None:
    with opened(mount) as model:
        for name, array in ARRAYS.items():
            ours = model[name].numpy()
            assert ours.dtype == array.dtype and ours.shape == array.shape and ours.tobytes() == array.tobytes()
            assert not ours.flags.writeable
            assert np.array_equal(np.asarray(model[name]), array)
        mine = model["layer.bias"].numpy(writable=True)
        mine[:] = 7
    with opened(mount) as model:
        assert model["layer.bias"].numpy()[0] == ARRAYS["layer.bias"][0], "what is written is one's own"


def test_one_map_per_weight_file_and_no_descriptor(mount: Mount) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with opened(mount) as model:
        held = model.numpy()
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(mount.point) in line]
        assert len(maps) == 1 and maps[0].endswith("models/small/model.safetensors"), maps
        assert len(os.listdir("/proc/self/fd")) == before + 1, "the lease"
    assert len(os.listdir("/proc/self/fd")) == before
    assert held["steps"].tolist() == list(range(10)), "the memory stays with who looks at it"
    del held, model
    assert str(mount.point) not in Path("/proc/self/maps").read_text()


def test_dlpack_is_read_only(mount: Mount) -> None:
    with opened(mount) as model:
        t = model["layer.weight"]
        assert t.__dlpack_device__() == (1, 0)
        array = np.from_dlpack(t)
        assert np.array_equal(array, ARRAYS["layer.weight"])
        assert array.ctypes.data == t.numpy().ctypes.data
        if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
            assert not array.flags.writeable
            capsule = t.__dlpack__(max_version=(1, 0))
            assert "dltensor_versioned" in repr(capsule)
            assert flags(capsule) & 1, "read-only"
            assert "versioned" not in repr(t.__dlpack__())
            copy = t.__dlpack__(max_version=(1, 0), copy=True)
            assert not flags(copy) & 1
        with pytest.raises(BufferError, match="not on"):
            t.__dlpack__(dl_device=(2, 0))


def flags(capsule: object) -> int:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_uint64.from_address(pointer(capsule, b"dltensor_versioned") + 24).value


def test_array_interface(mount: Mount) -> None:
    with opened(mount) as model:
        interface = model["layer.weight"].__array_interface__
        assert interface["typestr"] == "<f4" and interface["shape"] == (64, 48) and interface["data"][1] is True


def test_bfloat16(mount: Mount) -> None:
    with opened(mount) as model:
        array = model["bf16"].numpy()
        try:
            import ml_dtypes

            assert array.dtype == ml_dtypes.bfloat16 and array.astype(np.float32).tolist() == BF16.tolist()
        except ImportError:
            assert array.dtype == np.dtype("V2")


def test_torch(mount: Mount) -> None:
    torch = pytest.importorskip("torch")
    with opened(mount) as model:
        state = model.state_dict()
        assert list(state) == list(model) == list(model.torch())
        for name, array in ARRAYS.items():
            assert np.array_equal(state[name].numpy(), array) and state[name].shape == array.shape, name
            assert torch.equal(model[name].torch(), state[name])
        assert state["bf16"].dtype is torch.bfloat16 and state["bf16"].tolist() == BF16.tolist()
        assert torch.from_dlpack(model["bf16"]).dtype is torch.bfloat16
        assert state["layer.weight"].data_ptr() == model["layer.weight"].numpy().ctypes.data
        state["layer.bias"][:] = 3
        assert model["layer.bias"].torch()[0] == 3, "one private mapping in the process"


def test_jax(mount: Mount) -> None:
    jax = pytest.importorskip("jax")
    with opened(mount) as model:
        for name in ("layer.weight", "steps", "half", "bf16"):
            assert isinstance(model[name].jax(), jax.Array)
        assert np.array_equal(np.asarray(model["layer.weight"].jax()), ARRAYS["layer.weight"])
        assert np.asarray(model.jax()["bf16"]).astype(np.float32).tolist() == BF16.tolist()


def test_load_into(mount: Mount) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(48, 64)
            self.other = torch.nn.Linear(48, 64, bias=False)
            self.other.weight = self.layer.weight
            self.register_buffer("steps", torch.zeros(10))

    with opened(mount) as model:
        with pytest.raises(
            modelfs.ModelError, match="small is not what the module holds: it lacks nothing; the module has no .*half"
        ):
            model.load_into(Net())
        net = model.load_into(Net(), strict=False)
        assert net.layer.weight.data_ptr() == model["layer.weight"].numpy().ctypes.data
        assert net.other.weight is net.layer.weight and net.layer.weight.requires_grad
        assert isinstance(net.layer.weight, torch.nn.Parameter) and net.steps.dtype is torch.int64
        net.layer(torch.ones(48)).sum().backward()
        assert net.layer.weight.grad is not None
        with torch.device("meta"):
            empty = Net()
        meta = model.load_into(empty, strict=False)
        assert torch.equal(meta.other(torch.ones(48)), net.other(torch.ones(48)))


def test_made_tensors_have_files_of_their_own(mount: Mount) -> None:
    with opened(mount, ARCHIVE) as model:
        assert model["first"].numpy().tolist() == np.arange(1000.0).tolist()
        assert np.array_equal(model["second"].numpy(), np.eye(3))
        assert str(mount.point / "tensors" / ARCHIVE / "first") in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(("dtype", "name"), [("f16", "F16"), ("F32", "F32"), ("bf16", "BF16")])
def test_converted(mount: Mount, dtype: str, name: str) -> None:
    with opened(mount, dtype=dtype) as model:
        assert model.name == f"small@{dtype.lower()}"
        assert {model[t].dtype for t in ("layer.weight", "half", "bf16")} == {name} and model["steps"].dtype == "I64"
        expected = ARRAYS["half"].astype(np.float32)
        ours = model["half"].numpy()
        if ours.dtype.kind == "f":
            assert np.allclose(ours.astype(np.float32), expected, rtol=0.01)
        assert np.array_equal(model["steps"].numpy(), ARRAYS["steps"])


def test_one_checkpoint_of_several(mount: Mount) -> None:
    for name in ("a", "b"):
        with opened(mount, f"{QUANTS}/{name}.safetensors") as model:
            assert model["w"].numpy()[0] == ord(name)
    with opened(mount, QUANTS) as model:
        assert len(model) == 0, "none is the primary one"


def test_is_a_lease(mount: Mount) -> None:
    registry = modelfs.Registry(mount.point)
    eventually("nothing has it", lambda: registry.clear() == (0, 0))
    model = opened(mount)
    eventually("the lease loads it", lambda: registry.get(SMALL).state == "resident")
    with pytest.raises(modelfs.ModelBusy, match=f"small is in use by {os.getpid()}"):
        registry.evict(SMALL)
    del model  # the finaliser closes it
    eventually("it can be evicted", lambda: registry.clear().models == 1 or registry.get(SMALL).state == "absent")


def test_closed(mount: Mount) -> None:
    model = opened(mount)
    held = model["steps"]
    model.close()
    model.close()
    with pytest.raises(ValueError, match="small was closed"):
        model["steps"]
    assert held.numpy().tolist() == list(range(10))


def test_unknown(mount: Mount) -> None:
    with pytest.raises(modelfs.ModelNotFound, match=f"{mount.point} has no model 'nix', but archive, quants, small"):
        opened(mount, "nix")
    with pytest.raises(ValueError, match="f32, f16, bf16"):
        opened(mount, dtype="q4")


def test_no_mount(tmp_path: Path) -> None:
    with pytest.raises(modelfs.MountNotFound, match=f"no modelfs mount at {tmp_path}.*modelfs mount"):
        modelfs.open(SMALL, mount=tmp_path)


def test_refresh(binary: Path, tmp_path: Path) -> None:
    models.write_safetensors(tmp_path / SMALL, ARRAYS)
    with mounts.mounted(binary, tmp_path) as mount, opened(mount) as model:
        assert not model.refresh()
        old, generation = model["layer.bias"], model.generation
        before = old.numpy().copy()
        models.write_safetensors(tmp_path / SMALL, models.arrays(1))
        eventually("the new content is seen", model.refresh)
        assert model.generation != generation and not model.refresh()
        assert np.array_equal(model["layer.bias"].numpy(), models.arrays(1)["layer.bias"])
        assert np.array_equal(old.numpy(), before), "the old one stays"


def test_malformed(binary: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with mounts.mounted(binary, tmp_path) as mount, pytest.raises(modelfs.ModelError, match="bad"):
        opened(mount, "bad")
