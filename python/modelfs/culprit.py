# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Which part of an object cannot be shared, for the message that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

_DEPTH = 12
_LOOKS = 2000  # it is for a message: large objects are not searched to the end


def find(o: object, why_not: Callable[[object], Exception | None]) -> tuple[str, Exception | None]:
    """The path of the innermost part for which why_not has a reason, and the reason."""
    path, reason = type(o).__name__, None
    looks = _LOOKS
    seen = {id(o)}
    for _ in range(_DEPTH):
        for name, part in _parts(o):
            looks -= 1
            if looks < 0:
                return path, reason
            if id(part) in seen or type(part) in (str, int, float, bool, bytes, type(None)):
                continue
            why = why_not(part)
            if why is not None:
                seen.add(id(part))
                o, path, reason = part, path + name, why
                break
        else:
            return path, reason
    return path, reason


def _parts(o: object) -> Iterator[tuple[str, object]]:
    if isinstance(o, dict):
        yield from ((f"[{k!r}]", v) for k, v in list(o.items()))
    elif isinstance(o, (list, tuple)):
        yield from ((f"[{i}]", v) for i, v in enumerate(o))
    elif isinstance(o, (set, frozenset)):
        yield from (("{…}", v) for v in o)
    elif not isinstance(o, type):
        values = getattr(o, "__dict__", None)
        if isinstance(values, dict):
            yield from ((f".{k}", v) for k, v in list(values.items()))
