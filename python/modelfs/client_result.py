# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What a call gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Result(Mapping[str, Array]):
    """The outputs of a call by name, as arrays that look at the bytes where they arrived: nothing is copied for
    them. BYTES are arrays of bytes objects. An output that went by reference lies in memory that is used again
    when no array looks at it any more. What came inline cannot be written."""

    __slots__ = ("_arrays", "id", "model", "parameters", "version")

    def __init__(self, arrays: dict[str, Array], model: str, version: str, id: str, parameters: dict[str, Any]) -> None:
        self._arrays = arrays
        self.model, self.version, self.id = model, version, id
        self.parameters = parameters

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {a.dtype}{list(a.shape)}" for name, a in self._arrays.items())
        return f"<modelfs result of {self.model}: {outputs}>"
