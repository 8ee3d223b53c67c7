# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""From keys to names: the escapes are those of tensors/path.go, and another load_fn is another name."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfs import keys

REPOSITORY = Path(__file__).resolve().parents[2]

# Names and their paths: the table of tests/python/library.py, and the rest of the rules.
PATHS = {
    "plain.weight": "plain.weight",
    "layers/0/weight": "layers/0/weight",
    "100%": "100%25",
    "saved.npy": "saved%2Enpy",
    ".npy": "%2Enpy",
    "a.npy/b": "a%2Enpy/b",
    "a.npy.npy": "a.npy%2Enpy",
    "x%.npy": "x%25%2Enpy",
    "index.json": "index%2Ejson",
    "a/index.json": "a/index.json",
    "a//b": "a/%/b",
    "": "%",
    "/": "%/%",
    "../up": "%2E%2E/up",
    "./a/..": "%2E/a/%2E%2E",
    "...": "...",
    ".hidden": ".hidden",
    "gewicht.ü": "gewicht.ü",
    "with space": "with space",
    "nul\0": "nul%00",
    "a" * 250: "a" * 250,
}
BYTES = {
    b"\xff.w": "%FF.w",
    b"\xc3": "%C3",
    b"\xed\xa0\x80": "%ED%A0%80",
    "ü\udcfe".encode("utf-8", "surrogateescape"): "ü%FE",
}


@pytest.mark.parametrize("name", PATHS)
def test_escapes(name: str) -> None:
    assert keys.escape_path(name) == PATHS[name]


@pytest.mark.parametrize("name", BYTES)
def test_escapes_bytes_that_are_no_text(name: bytes) -> None:
    assert keys.escape_path(name) == BYTES[name]
    assert keys.escape_path(name.decode("utf-8", "surrogateescape")) == BYTES[name]


def test_a_long_component_is_cut_at_a_character() -> None:
    for raw in ("ü" * 200, "a" + "ü" * 200, "%" * 100, "a" * 251 + ".npy"):
        escaped = keys.escape_path(raw)
        assert len(escaped.encode()) <= 250 and "%~" in escaped
    assert keys.escape_path("ü" * 200) != keys.escape_path("ü" * 201)


def test_the_same_paths_as_go(tmp_path: Path) -> None:
    """The Go function itself is asked, where there is Go."""
    if shutil.which("go") is None:
        pytest.skip("no go")
    names = [*(n.encode() for n in PATHS), b"a" * 251, *BYTES, *(b"ab%.npy\xff\xc3\xbc/"[i:] * 40 for i in range(10))]
    program = REPOSITORY / "python" / "tests" / "testdata" / "escape.go"
    asked = subprocess.run(
        ["go", "run", str(program)],
        input="\n".join(n.hex() for n in names),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert json.loads(asked.stdout) == [keys.escape_path(n) for n in names]


def test_no_component_of_an_object_is_temporary() -> None:
    """A name that begins with a dot is removed by the daemon some time."""
    path = keys.object_path(".a/.b/c", "d" * 16)
    assert path == "%2Ea/%2Eb/c@" + "d" * 16
    for key in ("k", "k" * 300, "ü" * 300):
        name = keys.object_path(key, "d" * 16)
        assert len(f"{keys.temporary_stem(name)}.{'0' * 16}.tmp".encode()) <= 255


def test_distinct_keys_have_distinct_names() -> None:
    names = [keys.object_path(k, "0") for k in ("a", "a/b", "a%2Fb", "a//b", "k" * 299, "k" * 300)]
    assert len(set(names)) == len(names)


def one() -> int:
    return 1


def two() -> int:
    return 2


def one_again() -> int:
    return 1


def closes_over(value: object) -> Callable[[], object]:
    return lambda: value


def counts() -> Callable[[], int]:
    calls = 0

    def load() -> int:
        nonlocal calls
        calls += 1
        return calls

    return load


class Loader:
    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self) -> int:
        return self.value

    def load(self) -> int:
        return self.value


def same(a: Callable[[], object], b: Callable[[], object]) -> bool:
    return keys.digest(keys.identity(a), None) == keys.digest(keys.identity(b), None)


def test_the_code_is_the_identity() -> None:
    assert same(one, one_again), "where a function lies, and its name, say nothing"
    assert not same(one, two)
    assert same(lambda: max(1, 2), lambda: max(1, 2))
    assert not same(lambda: max(1, 2), lambda: min(1, 2)), "names that the code uses count"
    assert not same(lambda: [i for i in range(2)], lambda: [i for i in range(3)]), "code within code counts"


def test_plain_values_bound_to_it_count() -> None:
    assert same(closes_over("a"), closes_over("a")) and not same(closes_over("a"), closes_over("b"))
    assert not same(closes_over(1), closes_over(True))
    assert same(functools.partial(pow, 2, 3), functools.partial(pow, 2, 3))
    assert not same(functools.partial(pow, 2, 3), functools.partial(pow, 2, 4))
    assert not same(closes_over(Path("a")), closes_over(Path("b")))
    assert same(closes_over(frozenset("abc")), closes_over(frozenset("cba")))


def test_what_can_change_does_not_count() -> None:
    calls: list[int] = []
    load = closes_over(calls)
    before = keys.identity(load)
    calls.append(1)
    assert keys.identity(load) == before
    counting = counts()
    before = keys.identity(counting)
    counting()
    assert keys.identity(counting) == before
    assert same(Loader(1).load, Loader(2).load) and same(Loader(1), Loader(2))


def test_version_is_part_of_it() -> None:
    digests = {keys.digest(keys.identity(one), v) for v in (None, 1, "1", "2")}
    assert len(digests) == 4


def test_a_recursive_function_has_an_identity() -> None:
    def load() -> object:
        return load

    assert keys.identity(load) == keys.identity(load)
