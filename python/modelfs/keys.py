# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""From a key to the name of its object.

A name holds what the caller called it, escaped as tensor names are, and a digest of what
makes another object of it: the version, and the code of load_fn.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import inspect
import os
import pathlib
import types
from collections.abc import Callable, Hashable

_MAX_COMPONENT = 250
_CUT_COMPONENT = 200
_MAX_TEMPORARY = 200  # a dot and a random part come to it, and 255 is the limit


def escape_component(raw: str | bytes, top: bool = False) -> str:
    """One component of a tensor's name as it is written in a path; tensors/path.go has the same rules.

    Escaped are "%", NUL, bytes that are not UTF-8, the dots of "." and "..", the last dot of
    what ends in ".npy", and the dot of "index.json" at the top. Nothing is "%". What is over
    250 bytes then is its first 200, "%~" and 16 digits of the sha256 of what it stands for.
    """
    data = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
    if data == b"":
        return "%"
    if data in (b".", b".."):
        return "%2E" * len(data)
    if top and data == b"index.json":
        return "index%2Ejson"
    if data.endswith(b".npy"):
        return _escape_characters(data[:-4], data, b"%2Enpy")
    return _escape_characters(data, data, b"")


def _escape_characters(data: bytes, whole: bytes, tail: bytes) -> str:
    out = bytearray()
    cut = 0
    pieces = [_piece(c) for c in data.decode("utf-8", "surrogateescape")]
    pieces += [b"%2E", b"n", b"p", b"y"] if tail else []
    for piece in pieces:
        out += piece
        if len(out) <= _CUT_COMPONENT:
            cut = len(out)
    if len(out) > _MAX_COMPONENT:
        out = out[:cut] + b"%~" + hashlib.sha256(whole).hexdigest()[:16].encode()
    return out.decode()


def _piece(character: str) -> bytes:
    if character in "%\0" or "\udc80" <= character <= "\udcff":
        return b"%%%02X" % character.encode("utf-8", "surrogateescape")[0]
    return character.encode()


def escape_path(name: str | bytes) -> str:
    """A tensor's name as its path: "/" is a folder."""
    data = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    return "/".join(escape_component(part, i == 0) for i, part in enumerate(data.split(b"/")))


def object_path(key: str, digest: str) -> str:
    """The path of a key's object below objects/<uid>/.

    A name that begins with a dot is temporary there, so that dot is escaped too.
    """
    parts = escape_path(f"{key}@{digest}").split("/")
    return "/".join("%2E" + p[1:] if p.startswith(".") else p for p in parts)


def temporary_stem(name: str) -> str:
    """How the names of an object's lock and of its unfinished file begin; such a name stays under 255 bytes."""
    if len(name.encode()) > _MAX_TEMPORARY:
        return f".%~{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f".{name}"


def digest(identity: object, version: str | int | None) -> str:
    """What tells objects of one key apart, the same in every process."""
    return hashlib.sha256(repr((identity, type(version).__name__, version)).encode()).hexdigest()[:16]


def identity(fn: Callable[[], object]) -> Hashable:
    """What makes two load functions the same one, in any process: their code, and the plain
    values that are bound to it (defaults, arguments of partial, variables that it closes over).

    Not looked at are globals, what the code calls, and values that can change. ``version=``
    is for what this does not see.
    """
    if type(fn) is types.FunctionType:  # the usual one goes the short way
        return _of_function(fn, 0)
    return _of(fn, 0)


def _of(value: object, depth: int) -> Hashable:
    if isinstance(value, types.FunctionType):
        return _of_function(value, depth)
    if depth > 8:
        return "..."
    if isinstance(value, functools.partial):
        keywords = tuple((k, _of(v, depth + 1)) for k, v in sorted(value.keywords.items()))
        return ("partial", _of(value.func, depth), tuple(_of(v, depth + 1) for v in value.args), keywords)
    if isinstance(value, types.MethodType):
        return ("method", _of(value.__func__, depth), _of(value.__self__, depth + 1))
    if isinstance(value, (type, types.BuiltinFunctionType)):
        return ("named", f"{value.__module__}.{value.__qualname__}")
    call = getattr(type(value), "__call__", None)  # noqa: B004 - not whether, but which
    if depth == 0 and isinstance(call, types.FunctionType):
        return ("callable", _of(type(value), 1), _of_function(call, 1))
    return _of_plain(value, depth)


def _of_plain(value: object, depth: int) -> Hashable:
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return (kind.__name__, repr(value))
    if isinstance(value, enum.Enum):
        return ("enum", kind.__qualname__, value.name)
    if isinstance(value, pathlib.PurePath):
        return ("path", os.fspath(value))
    if isinstance(value, tuple):
        return ("tuple", tuple(_of(v, depth + 1) for v in value))
    if isinstance(value, frozenset):
        return ("frozenset", tuple(sorted((_of(v, depth + 1) for v in value), key=repr)))
    return ("of", f"{kind.__module__}.{kind.__qualname__}")


def _of_function(fn: types.FunctionType, depth: int) -> Hashable:
    code, assigned = _of_code(fn.__code__)
    if fn.__defaults__ is None and fn.__kwdefaults__ is None and fn.__closure__ is None:
        return code
    if depth > 8:
        return code
    bound: list[Hashable] = [code]
    bound += [_of(v, depth + 1) for v in fn.__defaults__ or ()]
    bound += [(k, _of(v, depth + 1)) for k, v in sorted((fn.__kwdefaults__ or {}).items())]
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # it has none yet
            continue
        if name not in assigned and value is not fn:  # what the function itself changes says nothing about it
            bound.append(_of(value, depth + 1))
    return tuple(bound)


_codes: dict[int, tuple[types.CodeType, str, frozenset[str]]] = {}


def _of_code(code: types.CodeType) -> tuple[str, frozenset[str]]:
    known = _codes.get(id(code))
    if known is None or known[0] is not code:
        if len(_codes) >= 4096:
            _codes.clear()
        h = hashlib.sha256()
        _feed(h.update, code)
        assigned = _assigned(code) if code.co_freevars else ()
        known = _codes[id(code)] = (code, h.hexdigest(), frozenset(assigned))
    return known[1], known[2]


def _feed(update: Callable[[bytes], object], code: types.CodeType) -> None:
    """Where a function lies and on which line is no part of what it does."""
    kind = code.co_flags & ~inspect.CO_NESTED
    shape = (code.co_argcount, code.co_kwonlyargcount, kind, code.co_names, code.co_freevars)
    update(repr(shape).encode() + code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _feed(update, constant)
        elif isinstance(constant, frozenset):
            update(repr(sorted(map(repr, constant))).encode())
        else:
            update(repr((type(constant).__name__, constant)).encode())


def _assigned(code: types.CodeType) -> set[str]:
    """The variables of an outer function that a function or one within it assigns."""
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("STORE_DEREF", "DELETE_DEREF")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _assigned(constant)
    return names
