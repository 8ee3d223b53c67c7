# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What torch does not pickle, or not so that memory could be shared, and what must be refused."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any

from modelfs.dtypes import BY_NAME
from modelfs.errors import NotShareable

if TYPE_CHECKING:
    import torch

_TYPES = {t.torch for t in BY_NAME.values()} | {"complex32"}


def refuse(t: torch.Tensor) -> None:
    """Raises NotShareable for a tensor that is not plain data of this machine's memory."""
    if t.device.type not in ("cpu", "meta"):
        raise NotShareable(
            f"a tensor {tuple(t.shape)} on {t.device}: this shares the machine's own memory; "
            "return it on the CPU and move it with .to() after"
        )
    if not t.is_leaf:
        raise NotShareable(f"a tensor {tuple(t.shape)} that has a grad_fn: return it with .detach()")


def refuse_storage(s: torch.UntypedStorage) -> None:
    if s.device.type != "cpu":
        raise NotShareable(f"a storage on {s.device}: this shares the machine's own memory; return it on the CPU")


def is_plain(t: torch.Tensor) -> bool:
    """Whether a tensor is a part of a storage and nothing more. torch's own way of pickling the
    others comes down to plain ones, or to storages."""
    torch = sys.modules["torch"]
    return bool(
        t.layout is torch.strided
        and t.device.type == "cpu"
        and not (t.is_quantized or t.is_conj() or t.is_neg() or t.is_nested)
        and str(t.dtype).removeprefix("torch.") in _TYPES
    )


def reduce(o: Any, copies: list[str]) -> Any:  # noqa: ANN401 - what pickle takes
    """How to pickle what torch itself does not; notes in copies what will be no shared memory."""
    torch: Any = sys.modules.get("torch")
    if torch is None or isinstance(o, type):
        return NotImplemented
    if isinstance(o, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        return _reduce_script(o, copies)
    if isinstance(o, torch.nn.Module) and _parametrized(o):
        return _blank_parametrized, (type(o).__mro__[1], list(o.parametrizations)), o.__dict__
    return NotImplemented


def _reduce_script(o: Any, copies: list[str]) -> Any:  # noqa: ANN401
    torch: Any = sys.modules["torch"]
    file = io.BytesIO()
    torch.jit.save(o, file)
    copies.append(getattr(o, "original_name", type(o).__name__))
    _say_copy(copies[-1])
    return _load_script, (pickle.PickleBuffer(file.getvalue()),)


def _load_script(data: Any) -> Any:  # noqa: ANN401
    import torch

    loaded = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]
    _say_copy(getattr(loaded, "original_name", type(loaded).__name__))
    return loaded


def _say_copy(name: str) -> None:
    warnings.warn(
        f"TorchScript shares no memory: each process has a private copy of {name}", RuntimeWarning, stacklevel=2
    )


def _parametrized(o: Any) -> bool:  # noqa: ANN401
    """torch gives every parametrised module a class of its own, which refuses to be pickled."""
    from torch.nn.utils import parametrize

    kind = type(o)
    return parametrize.is_parametrized(o) and kind.__name__.startswith("Parametrized") and "__getstate__" in vars(kind)


def _blank_parametrized(cls: type[Any], names: list[str]) -> Any:  # noqa: ANN401
    from torch.nn.utils import parametrize

    module = object.__new__(cls)
    parametrize._inject_new_class(module)
    for name in names:
        parametrize._inject_property(module, name)
    return module
