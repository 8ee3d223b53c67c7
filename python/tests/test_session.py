# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""modelfs.Session, on the folder that stands for a mount and on real ones."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from mounts import Mount
from standin import StandIn, finish, start

import modelfs
from modelfs import session as module


@pytest.fixture(params=["stand-in", "mount"])
def place(request: pytest.FixtureRequest) -> Path:
    """Where sessions can be made."""
    if request.param == "mount":
        return request.getfixturevalue("writable").point
    return request.getfixturevalue("stand_in").point


def test_create_and_open(place: Path) -> None:
    with modelfs.Session("create", mount=place) as session:
        frame = session.create("frame", (4, 3), "int16")
        assert frame.shape == (4, 3) and frame.dtype == np.int16 and not frame.any()
        other = session.open("frame")
        frame[:] = np.arange(12).reshape(4, 3)
        assert np.array_equal(other, frame), "it is one memory"
        assert not other.flags.writeable
        session.open("frame", writable=True)[0, 0] = 9
        assert frame[0, 0] == 9
        path = Path(session.path, "frame")
        assert path.stat().st_size == 24 and np.fromfile(path, np.int16)[0] == 9, "the file is the bytes"
        assert session.tensors() == ["frame"]
        session.delete()
    assert not os.path.exists(session.path)
    assert frame[0, 1] == 1, "who maps it keeps it"


@pytest.mark.parametrize("dtype", ["float32", ">f8", "bool", "U8", "F16", "BF16", "complex64", "M8[s]"])
def test_types(place: Path, dtype: str) -> None:
    with modelfs.Session("types", mount=place) as session:
        made = session.create("t", (2, 2), dtype)
        assert session.open("t").dtype == made.dtype
        session.delete()


@pytest.mark.parametrize("there", [True, False])
def test_names_of_ml_dtypes(stand_in: StandIn, there: bool) -> None:
    """Types that numpy lacks have their names before anybody has imported ml_dtypes, and where it is not installed."""
    if there:
        pytest.importorskip("ml_dtypes")
    code = """
if ARGS[0] == "False":
    sys.modules["ml_dtypes"] = None
assert sys.modules.get("ml_dtypes") is None
session = modelfs.Session("ml", mount=MOUNT)
for name, ours in (("bfloat16", "BF16"), ("float8_e4m3fn", "F8_E4M3")):
    made = session.create(name, (2, 3), name)
    assert made.dtype == session.open(name).dtype == session.create(ours, (2, 3), ours).dtype
    assert made.dtype.name == (name if ARGS[0] == "True" else f"void{made.itemsize * 8}")
    assert os.getxattr(session.path_of(name), "user.modelfs.dtype") == ours.encode()
    with session.stream("s" + name, 2, name) as writer, session.stream("s" + name) as reader:
        assert writer.dtype == reader.dtype == made.dtype
"""
    stand_in.run(code, there)


def test_npy(place: Path) -> None:
    with modelfs.Session("npy", mount=place) as session:
        made = session.create("t.npy", (4, 3), np.float32)
        made[:] = 2
        path = session.path_of("t.npy")
        assert np.array_equal(np.load(path), made) and os.stat(path).st_size == 4096 + 48
        theirs = np.lib.format.open_memmap(
            os.path.join(session.path, "u.npy"), mode="w+", shape=(3, 2), fortran_order=True
        )
        theirs[0, 1] = 5
        ours = session.open("u.npy")
        assert ours.shape == (3, 2) and ours[0, 1] == 5 and ours.flags.f_contiguous
        np.save(session.path_of("o.npy"), np.array([{}], dtype=object))
        with pytest.raises((modelfs.SessionError, ValueError)):
            session.open("o.npy")
        session.delete()


def test_names(place: Path) -> None:
    with modelfs.Session("names", mount=place) as session:
        session.create("layers/0/w", 3)
        assert os.path.exists(os.path.join(session.path, "layers", "0", "w"))
        session.create("100%", ())
        assert session.open("100%").shape == ()
        for wrong in (".hidden",):
            with pytest.raises(ValueError, match="dot"):
                session.create(wrong, 1)
        with pytest.raises(modelfs.SessionError, match="open 'nothing' in session 'names' of .*no such file"):
            session.open("nothing")
        session.delete()
    for wrong in ("", "a/b", ".a"):
        with pytest.raises(ValueError, match="no name of a session"):
            modelfs.Session(wrong, mount=place)


def test_a_new_one_takes_its_place(place: Path) -> None:
    with modelfs.Session("again", mount=place) as session:
        first = session.create("t", 2)
        first[:] = 1
        second = session.create("t", (5,), np.int8)
        assert session.open("t").shape == (5,) and first.tolist() == [1, 1] and not second.any()
        session.remove("t")
        assert session.tensors() == []
        session.delete()


def test_between_processes(place: Path, request: pytest.FixtureRequest) -> None:
    stand_in = "stand-in" in request.node.callspec.id
    with modelfs.Session("between", mount=place) as session:
        made = session.create("t", (1000,), np.float64)
        made[:] = 1
        code = "s = modelfs.Session('between', mount=MOUNT); t = s.open('t', writable=True); print(t.sum()); t[0] = 5"
        assert finish(start(code, place, stand_in=stand_in)) == "1000.0"
        assert made[0] == 5
        session.delete()


def test_mode_and_settings(place: Path) -> None:
    with modelfs.Session("mode", mount=place, quota="1MiB", ttl=30) as session:
        session.make()
        assert stat.S_IMODE(os.stat(session.path).st_mode) == 0o700
        assert int(os.getxattr(session.path, "user.modelfs.quota")) == 1 << 20
        assert float(os.getxattr(session.path, "user.modelfs.ttl")) == 30
        assert "mode" in modelfs.Registry(place).sessions()
        session.delete()


def test_who_makes_it(place: Path) -> None:
    """A producer, when he has something: a reader's folder would not let another producer in."""
    reader = modelfs.Session("who", mount=place)
    for looks in (lambda: reader.open("t"), lambda: reader.stream("s"), reader.tensors, reader.delete):
        with pytest.raises(modelfs.SessionError, match="no such session"):
            looks()
    for shape, dtype, slots, error in (((-1,), "F32", 4, ValueError), (3, "no type", 4, TypeError)):
        with pytest.raises(error):
            reader.create("t", shape, dtype)
        with pytest.raises(error):
            reader.stream("s", shape, dtype, slots)
    with pytest.raises(ValueError, match="slots"):
        reader.stream("s", 3, slots=0)
    assert not os.path.exists(reader.path)
    producers = [modelfs.Session("who", mount=place, quota="1MiB") for _ in range(2)]
    for make in (lambda s: s.create("t", 1), lambda s: s.stream("a/s", 1, slots=2).close(), modelfs.Session.make):
        for producer in producers:  # the folder is there for the second
            make(producer)
            assert stat.S_IMODE(os.stat(reader.path).st_mode) == 0o700
            assert int(os.getxattr(reader.path, "user.modelfs.quota")) == 1 << 20
        producer.delete()
        assert not os.path.exists(reader.path)


@pytest.mark.parametrize(
    "wrong", [{"quota": -5}, {"quota": "-1MiB"}, {"ttl": -1}, {"ttl": float("nan")}, {"ttl": float("inf")}]
)
def test_wrong_settings(place: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="negative|0 or more"):
        modelfs.Session("wrong", mount=place, **wrong)
    assert not os.path.exists(place / "sessions" / "wrong")


def test_a_quota_without_room(writable: Mount) -> None:
    session = modelfs.Session("room", mount=writable.point, quota=1 << 80)
    with pytest.raises(modelfs.SessionError, match="set quota"):
        session.create("t", 1)
    assert not os.path.exists(session.path)


def test_over_quota(writable: Mount) -> None:
    """An error with numbers, and the process goes on."""
    with modelfs.Session("quota", mount=writable.point, quota="1MiB") as session:
        with pytest.raises(
            modelfs.NoRoom, match=r"make 't' of 2\.1 MB in session 'quota'.*quota of 1\.0 MB|quota"
        ) as e:
            session.create("t", 2 << 20, np.uint8)
        assert e.value.errno == 28 and session.tensors() == []
        session.create("t", 1 << 19, np.uint8)[:] = 1
        session.delete()


def test_a_file_without_description_is_bytes(stand_in: StandIn) -> None:
    session = modelfs.Session("raw", mount=stand_in.point)
    session.make()
    Path(session.path, "t").write_bytes(b"abc")
    assert session.open("t").tobytes() == b"abc"


def test_where_files_take_no_attributes(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(95, "not supported")

    session = modelfs.Session("beside", mount=stand_in.point)
    monkeypatch.setattr(module.os, "setxattr", refuses)
    session.create("t", (2, 3), np.int16)
    assert session.open("t").shape == (2, 3) and session.tensors() == ["t"]


def test_no_sessions_there(tmp_path: Path) -> None:
    with pytest.raises(modelfs.MountNotFound, match=str(tmp_path)):
        modelfs.Session("s", mount=tmp_path)


@pytest.mark.parametrize(
    ("text", "size"), [("1GiB", 1 << 30), ("512 MiB", 512 << 20), ("10", 10), (7, 7), ("1.5KiB", 1536)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert module.size_of(text) == size


@pytest.mark.parametrize("text", ["", "1GB", "x", "MiB"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="512MiB"):
        module.size_of(text)
