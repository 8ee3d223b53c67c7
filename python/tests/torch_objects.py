# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The same for torch."""

from __future__ import annotations

from typing import Any

import torch
from objects import TORCH, case
from torch import nn

DTYPES = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "complex64",
    "complex128",
]
INTEGERS = ["int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool"]


def seeded(module: type[nn.Module], *args: object) -> nn.Module:
    torch.manual_seed(1)
    return module(*args)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the bit, strides too."""
    if (a.dtype, a.shape, a.stride()) != (b.dtype, b.shape, b.stride()):
        return False
    return bytes(a.contiguous().clone().untyped_storage()) == bytes(b.contiguous().clone().untyped_storage())


def dtypes() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    floats = {d: torch.randn(3, 5).to(getattr(torch, d)) for d in DTYPES}
    return floats | {d: torch.arange(15).reshape(3, 5).to(getattr(torch, d)) for d in INTEGERS}


@case(TORCH, dtypes)
def every_dtype(o: dict[str, torch.Tensor]) -> bool:
    return all(same(o[name], t) for name, t in dtypes().items())


def views() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "row": base[1],
        "step": base[::2, ::3],
        "integers": base.view(torch.int32),
        "expanded": torch.ones(1, 3).expand(5, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "part": torch.arange(100)[10:20],
    }


@case(TORCH, views)
def views_of_one_storage(o: dict[str, torch.Tensor]) -> bool:
    assert all(same(o[name], t) for name, t in views().items())
    o["base"][1, 0] = 99
    assert o["row"][0] == 99 and o["transposed"][0, 1] == 99
    assert o["integers"][1, 0] == torch.tensor(99.0).view(torch.int32)
    return o["base"].untyped_storage().nbytes() == 96


def parameters() -> list[Any]:
    p, q = nn.Parameter(torch.ones(2)), torch.ones(2, requires_grad=True)
    p.tag = "kept"  # type: ignore[attr-defined]
    return [p, p, q, nn.Parameter(torch.ones(2), requires_grad=False), (p,)]


@case(TORCH, parameters)
def identity_and_gradients(o: list[Any]) -> bool:
    p, again, q, fixed, (third,) = o
    assert p is again is third and p.tag == "kept"
    assert type(p) is nn.Parameter and p.requires_grad and not fixed.requires_grad
    return type(q) is torch.Tensor and q.requires_grad and q.is_leaf


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x))


@case(TORCH, lambda: seeded(Tied))
def tied_weights_and_buffers(o: Tied) -> bool:
    assert o.a.weight is o.b.weight
    assert list(o.state_dict()) == list(seeded(Tied).state_dict())
    assert [n for n, _ in o.named_buffers()] == ["steps", "cache"]
    return torch.equal(o(torch.ones(1, 4)), seeded(Tied)(torch.ones(1, 4)))


def parametrised() -> nn.Module:
    module = nn.Sequential(seeded(nn.Linear, 3, 3), nn.Linear(3, 3))
    nn.utils.parametrizations.weight_norm(module[0])
    nn.utils.parametrizations.orthogonal(module[1])
    return module


@case(TORCH, parametrised)
def parametrised_modules(o: nn.Module) -> bool:
    expected = parametrised()
    assert list(o.state_dict()) == list(expected.state_dict()) and type(o[0]).__name__ == "ParametrizedLinear"
    expected.load_state_dict(o.state_dict())
    assert torch.equal(o(torch.ones(1, 3)), expected(torch.ones(1, 3)))
    o(torch.ones(1, 3)).sum().backward()
    return o[0].parametrizations.weight.original1.grad is not None


@case(TORCH, lambda: seeded(nn.LSTM, 4, 4))
def lstm(o: nn.LSTM) -> bool:
    return torch.equal(o(torch.ones(2, 1, 4))[0], seeded(nn.LSTM, 4, 4)(torch.ones(2, 1, 4))[0])


def twice(module: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    return out * 2


def hooked() -> nn.Module:
    module = seeded(Tied)
    module.a.register_forward_hook(twice)
    return module


@case(TORCH, hooked)
def hooks(o: nn.Module) -> bool:
    return torch.equal(o(torch.ones(1, 4)), hooked()(torch.ones(1, 4)))


def optimised() -> tuple[nn.Module, torch.optim.Optimizer]:
    module = seeded(Tied)
    return module, torch.optim.Adam(module.parameters())


@case(TORCH, optimised)
def optimiser(o: tuple[Tied, torch.optim.Optimizer]) -> bool:
    module, adam = o
    assert adam.param_groups[0]["params"][0] is module.a.weight
    module(torch.ones(1, 4)).sum().backward()
    adam.step()
    return not torch.equal(module.a.weight, seeded(Tied).a.weight)


def strange() -> list[torch.Tensor]:
    quantised = torch.quantize_per_tensor(torch.arange(6.0), 0.1, 10, torch.quint8)
    conjugate = torch.tensor([1 + 2j]).conj()
    return [torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr(), quantised, conjugate, conjugate.imag]


@case(TORCH, strange)
def sparse_quantised_conjugate(o: list[torch.Tensor]) -> bool:
    assert torch.equal(o[0].to_dense(), torch.eye(3)) and torch.equal(o[1].to_dense(), torch.eye(3))
    assert torch.equal(o[2].dequantize(), strange()[2].dequantize())
    return o[3].is_conj() and o[3].tolist() == [1 - 2j] and o[4].is_neg()


class Special(torch.Tensor):
    pass


@case(TORCH, lambda: [torch.ones(3).as_subclass(Special), torch.empty(3, device="meta")])
def subclass_and_meta(o: list[torch.Tensor]) -> bool:
    return type(o[0]) is Special and o[0].tolist() == [1, 1, 1] and o[1].device.type == "meta"


def bare_storages() -> list[Any]:
    storage = torch.ones(4).untyped_storage()
    return [storage, storage, torch.FloatTensor([1, 2]).storage()]


@case(TORCH, bare_storages)
def storages(o: list[Any]) -> bool:
    return o[0] is o[1] and o[0].nbytes() == 16 and o[2].tolist() == [1, 2]


def quantised_linear() -> nn.Module:
    module = nn.Sequential(seeded(nn.Linear, 64, 64))
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


@case(TORCH, quantised_linear)
def quantised_module(o: nn.Module) -> bool:
    return torch.equal(o(torch.ones(1, 64)), quantised_linear()(torch.ones(1, 64)))


def cycle() -> nn.Module:
    module = seeded(Tied)
    module.me = [module]
    return module


@case(TORCH, cycle)
def cycles(o: nn.Module) -> bool:
    return o.me[0] is o


@case(TORCH, lambda: torch.compile(seeded(Tied)))
def compiled(o: nn.Module) -> bool:
    return torch.equal(o._orig_mod(torch.ones(1, 4)), seeded(Tied)(torch.ones(1, 4)))


class Restored(nn.Module):
    """Has its own way of coming back."""

    restored = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.restored = True
