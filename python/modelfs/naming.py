# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the tensors of an object are called in its safetensors file: as in a state dict where
there is one, else by the way to them, "encoder.0.weight"."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

_DEPTH = 6
_MOST = 200_000  # names are for people: what is larger goes by numbers


def names_of(o: object) -> Iterator[tuple[str, object]]:
    """Names and the tensors and arrays that have them; a tied one comes once for each name."""
    left = _MOST
    for name, value in _walk(o, "", 0, set()):
        yield name or "tensor", value
        left -= 1
        if left == 0:
            return


def _walk(o: Any, name: str, depth: int, seen: set[int]) -> Iterator[tuple[str, object]]:  # noqa: ANN401
    torch: Any = sys.modules.get("torch")
    if isinstance(o, np.ndarray) or (torch is not None and isinstance(o, torch.Tensor)):
        yield name, o
        return
    if depth > _DEPTH or id(o) in seen or isinstance(o, type):
        return
    seen.add(id(o))
    dot = name + "." if name else ""
    if torch is not None and isinstance(o, torch.nn.Module) and not isinstance(o, torch.jit.ScriptModule):
        for key, value in o.named_parameters(remove_duplicate=False):
            yield dot + key, value
        for key, value in o.named_buffers(remove_duplicate=False):
            yield dot + key, value
        return
    for key, value in _members(o):
        yield from _walk(value, dot + key, depth + 1, seen)


def _members(o: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(o, dict):
        yield from ((str(k), v) for k, v in list(o.items()) if isinstance(k, (str, int)))
    elif isinstance(o, (list, tuple)):
        yield from ((str(i), v) for i, v in enumerate(o))
    else:
        values = getattr(o, "__dict__", None)
        if isinstance(values, dict):
            yield from ((k, v) for k, v in list(values.items()) if isinstance(k, str))


class Names:
    """Gives each row one name that no other has, and notes further names of the same row."""

    def __init__(self, o: object, rows: dict[int, int], reserved: tuple[str, ...]) -> None:
        """rows is the row of each tensor and array by its id()."""
        self.aliases: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        for name, value in names_of(o):
            row = rows.get(id(value))
            name = name.encode("utf-8", "replace").decode()  # JSON holds no lone surrogates
            if row is None or name in self._taken or name.startswith(reserved):
                continue
            self._taken.add(name)
            if row in self._names:
                self.aliases[name] = self._names[row]
            else:
                self._names[row] = name

    def of(self, row: int) -> str | None:
        """What a row is called, if anything."""
        return self._names.get(row)

    def new(self, name: str) -> str:
        """A name that nothing has yet."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
