# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What is shared comes back as it was, in another process too; what cannot be is refused by name."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import objects
import pytest
from standin import StandIn

import modelfs
from modelfs import objects as sharing
from modelfs import pickling, reduce_torch

HAS_TORCH = importlib.util.find_spec("torch") is not None
if HAS_TORCH:
    import torch
    import torch_objects

torch_only = pytest.mark.skipif(not HAS_TORCH, reason="no torch")
CASES = objects.NUMPY | objects.OTHERS | objects.TORCH


def share(stand_in: StandIn, name: str, make: Callable[[], Any]) -> tuple[Any, Path]:
    """What the process that loads gets, and the file."""
    before = set(stand_in.files())
    first = modelfs.get_or_load(name, make, mount=stand_in.point, required=True)
    modelfs.release(name)
    (file,) = set(stand_in.files()) - before
    return first, file


def again(file: Path) -> Any:  # noqa: ANN401
    """What the next process gets."""
    found = sharing.attach(str(file))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_comes_back(stand_in: StandIn, name: str) -> None:
    if name in objects.OTHERS:
        pytest.importorskip(name)
    make, check = CASES[name]
    first, file = share(stand_in, name, make)
    assert check(again(file)), "as others get it"
    assert check(first), "as the process gets it that loaded"


@pytest.mark.filterwarnings("ignore")
def test_comes_back_in_another_process(stand_in: StandIn) -> None:
    for name, (make, _) in CASES.items():
        if name not in objects.OTHERS or importlib.util.find_spec(name):
            share(stand_in, name, make)
    code = """
import warnings; warnings.simplefilter("ignore")
import objects
from modelfs import objects as sharing
if ARGS[0] == "True": import torch_objects
for table in (objects.NUMPY, objects.OTHERS, objects.TORCH):
    for name, (_, check) in table.items():
        for file in os.listdir(f"{MOUNT}/objects/{os.geteuid()}"):
            if file.startswith(name + "@"):
                assert check(sharing.attach(f"{MOUNT}/objects/{os.geteuid()}/{file}")[0]), name
                print(name)
"""
    checked = stand_in.run(code, HAS_TORCH).split()
    assert len(checked) == len(stand_in.files())


def test_is_a_safetensors_file(stand_in: StandIn) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    made = {"w": np.arange(12.0).reshape(3, 4), "deep": [{"b": np.ones(5, np.int8)}], "empty": np.empty((0, 3))}
    _, file = share(stand_in, "k", lambda: made)
    read = safetensors.load_file(file)
    assert read.pop("__modelfs__").dtype == np.uint8
    read = {name: a for name, a in read.items() if not name.startswith("__pad__")}
    assert set(read) == {"w", "deep.0.b", "empty"} and (read["w"] == made["w"]).all()
    assert set(modelfs.tensors_of(str(file))) == set(read)


@torch_only
def test_modules_are_made_as_pickle_makes_them(stand_in: StandIn) -> None:
    """Their empty dictionaries of hooks come by another way, and what a newer torch adds is added."""
    first, file = share(
        stand_in, "modules", lambda: torch.nn.Sequential(torch.nn.Linear(2, 2), torch_objects.Restored())
    )
    for version in (reduce_torch._version(), "0.1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reduce_torch, "_version", lambda now=version: now)
            made = again(file)
        for ours, its in zip(made.modules(), first.modules(), strict=True):
            types = {k: type(v) for k, v in vars(ours).items() if k != "restored"}
            assert types == {k: type(v) for k, v in vars(its).items()}
        assert made[0]._forward_hooks is not made[1]._forward_hooks is not made[0]._backward_hooks
        assert made[1].restored
        handle = made[0].register_forward_hook(lambda *_: torch.full((1,), 5.0))
        assert made[0](torch.ones(2)).tolist() == [5]
        handle.remove()
        assert torch.equal(made[0](torch.ones(2)), first[0](torch.ones(2)))


@torch_only
def test_a_module_is_a_state_dict_for_safetensors(stand_in: StandIn) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    module, file = share(stand_in, "k", lambda: torch_objects.seeded(torch_objects.Tied))
    read = safetensors.load_file(file)
    state = module.state_dict()
    assert set(state) - set(read) == {"b.weight"}, "a tied tensor is there once"
    assert all(torch.equal(t, state[name]) for name, t in read.items() if name in state)
    ours = modelfs.tensors_of(str(file))
    assert torch.equal(ours["b.weight"].torch(), state["b.weight"]), "and under both names in ours"


@torch_only
def test_torchscript_is_a_copy_and_says_so(stand_in: StandIn) -> None:
    def load() -> Any:  # noqa: ANN401
        return torch.jit.script(torch_objects.seeded(torch.nn.Linear, 4, 4))

    with pytest.warns(RuntimeWarning, match="private copy"):
        first, file = share(stand_in, "script", load)
    with pytest.warns(RuntimeWarning, match="private copy"):
        second = again(file)
    assert torch.equal(first(torch.ones(1, 4)), second(torch.ones(1, 4)))


@torch_only
def test_cloudpickle_shares_what_no_module_has(stand_in: StandIn) -> None:
    pytest.importorskip("cloudpickle")

    class Local(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch_objects.seeded(torch.nn.Linear, 4, 4)
            self.linear.register_forward_hook(lambda m, i, o: o + 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    first, file = share(stand_in, "local", Local)
    assert torch.equal(first(torch.ones(1, 4)), again(file)(torch.ones(1, 4)))
    out = stand_in.run(
        "import torch\nfrom modelfs import objects as o\nprint(o.attach(ARGS[0])[0](torch.ones(1, 4)).tolist())", file
    )
    assert out == str(first(torch.ones(1, 4)).tolist())


def opened() -> Any:  # noqa: ANN401
    return {"weights": np.ones(2), "log": [open("/etc/hostname")]}


REFUSED = {
    "an open file": (opened, r"\['log'\]\[0\].*open file"),
    "a lock": (lambda: {"guard": threading.Lock()}, r"\['guard'\].*lock"),
    "a generator": (lambda: {"g": (i for i in range(3))}, r"\['g'\].*generator"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_refused(stand_in: StandIn, what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(modelfs.NotShareable, match=message):
        modelfs.get_or_load(what, make, mount=stand_in.point)
    assert all(f.name.endswith(".lock") for f in stand_in.files()), "nothing is left of it"


@torch_only
def test_a_computed_tensor_is_refused(stand_in: StandIn) -> None:
    with pytest.raises(modelfs.NotShareable, match=r"\['loss'\].*grad_fn.*detach"):
        modelfs.get_or_load("k", lambda: {"loss": torch.ones(2, requires_grad=True) * 2}, mount=stand_in.point)


@torch_only
def test_a_tensor_of_another_device_is_refused() -> None:
    """There is no CUDA here: the check is what is tested."""
    from modelfs import reduce_torch

    class Elsewhere:
        device = type("d", (), {"type": "cuda", "__str__": lambda self: "cuda:0"})()
        shape = (2,)

    with pytest.raises(modelfs.NotShareable, match="cuda:0.*CPU"):
        reduce_torch.refuse(Elsewhere())  # type: ignore[arg-type]


def test_without_cloudpickle_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickling, "_cloud_pickler", lambda: None)
    with pytest.raises(modelfs.NotShareable, match="cloudpickle"):
        pickling.skeleton_of(lambda: 1)
