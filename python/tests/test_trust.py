# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Unpickling is for what oneself or root wrote, and nothing of the rest is read before that is known."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from standin import StandIn

import modelfs
from modelfs import container, mountpoint, trust
from modelfs.objects import attach, objects_folder

ran: list[int] = []


def run() -> None:
    ran.append(1)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return run, ()


@pytest.fixture
def file(stand_in: StandIn) -> Path:
    """An object whose pickle runs code."""
    ran.clear()
    modelfs.get_or_load("k", lambda: {"w": np.arange(4.0), "evil": Evil()}, mount=stand_in.point)
    modelfs.release("k")
    ran.clear()
    return stand_in.files()[0]


def refused(path: Path, why: str) -> modelfs.UntrustedObject:
    with pytest.raises(modelfs.UntrustedObject, match=why) as error:
        attach(str(path))
    assert not ran, "it was unpickled"
    return error.value


def test_the_fixture_runs_code_where_it_is_trusted(file: Path) -> None:
    attach(str(file))
    assert ran == [1]


def test_another_filesystem(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_stand_in", None)
    error = refused(file, "lies on a filesystem of type tmpfs")
    assert error.tensors()["w"].numpy().tolist() == [0, 1, 2, 3] and not ran


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_another_owner(file: Path) -> None:
    os.chown(file, 12345, -1)
    error = refused(file, "written by user 12345, you are 0")
    assert list(error.tensors()) == ["w"]


def test_others_may_write(file: Path) -> None:
    file.chmod(0o620)
    refused(file, "mode 620")


def test_a_link(file: Path) -> None:
    target = file.with_name("elsewhere")
    shutil.copy(file, target)
    file.unlink()
    file.symlink_to(target)
    refused(file, "not a regular file")


def test_a_pipe_does_not_block(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    refused(file, "not a regular file")


def test_not_sealed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_stand_in", None)
    monkeypatch.setattr(trust, "check_mount", lambda *_: None)
    refused(file, "not sealed")
    os.setxattr(file, trust.SEALED, b"1")
    attach(str(file))
    assert ran == [1]


MOUNTED = "36 35 {device} / {point} rw - fuse.modelfs modelfs rw,user_id={user},group_id=0,default_permissions"


@pytest.mark.parametrize(("user", "kind", "refuses"), [(0, "fuse.modelfs", False), (54321, "fuse.modelfs", True)])
def test_who_mounted_it(file: Path, monkeypatch: pytest.MonkeyPatch, user: int, kind: str, refuses: bool) -> None:
    """The mount table is the kernel's: what the filesystem says of owners is worth what its owner is."""
    st = file.stat()
    device = f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}"
    line = MOUNTED.format(device=device, point="/somewhere", user=user)
    monkeypatch.setattr(trust, "_stand_in", None)
    monkeypatch.setattr(trust, "mounts", lambda _: mountpoint.parse(line))
    os.setxattr(file, trust.SEALED, b"1")
    if refuses:
        refused(file, f"mounted by user {user}")
    else:
        attach(str(file))


def test_a_held_folder_vouches_for_its_own_mount_alone(file: Path, tmp_path: Path) -> None:
    """The mount is not asked about again, but a file of another one is."""
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "check_mount", lambda _, path: asked.append(path))
        with trust.Folder(str(file.parent)) as folder:
            os.close(trust.open_trusted(str(file), folder))
            assert asked == [str(file.parent)]
            elsewhere = tmp_path / "file"
            elsewhere.write_bytes(b"")
            if elsewhere.stat().st_dev != file.stat().st_dev:
                os.close(trust.open_trusted(str(elsewhere), folder))
                assert asked == [str(file.parent), str(elsewhere)]
    with pytest.raises(OSError, match="Not a directory"):
        trust.Folder(str(file))


def test_nothing_is_given_to_an_untrusted_mount(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_stand_in", None)
    with pytest.raises(modelfs.UntrustedObject):
        objects_folder(modelfs.Mount(str(stand_in.point)))
    with pytest.raises(modelfs.UntrustedObject):
        modelfs.get_or_load("k", lambda: pytest.fail("it ran"), mount=stand_in.point)


def test_mount_table() -> None:
    table = r"""1 0 0:1 / /mnt/a\040b rw,nosuid shared:1 master:2 - fuse.modelfs modelfs rw,user_id=0
2 0 0:2 / /mnt/theirs rw - fuse.modelfs modelfs rw,user_id=77
3 0 0:3 / /mnt/hidden rw - fuse.modelfs modelfs rw,user_id=0
4 0 0:4 / /mnt/hidden rw - tmpfs tmpfs rw
5 0 0:1 / /mnt/again rw - fuse.modelfs modelfs rw,user_id=0
6 0 0:5 /models /mnt/bind rw - fuse.modelfs modelfs rw,user_id=0
no line at all"""
    entries = mountpoint.parse(table)
    assert mountpoint.choose(entries, 1000) == "/mnt/a b"
    assert [e.point for e in mountpoint.trusted(entries, 77)[0]] == ["/mnt/a b", "/mnt/theirs"]
    with pytest.raises(modelfs.MountNotFound, match="several modelfs mounts: /mnt/a b, /mnt/theirs"):
        mountpoint.choose(entries, 77)
    with pytest.raises(modelfs.MountNotFound, match="none|only /mnt/theirs"):
        mountpoint.choose(entries[1:2], 5)
    with pytest.raises(modelfs.MountNotFound, match="modelfs mount --models"):
        mountpoint.choose([], 5)


HEADER = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{" * 100_000,
        b'{"w":1}',
        HEADER.replace(b"[2]", b"[-2]"),
        HEADER.replace(b"[2]", b"[3]"),
        HEADER.replace(b"[2]", b"[2.0]"),
        HEADER.replace(b"[2]", b"[true]"),
        HEADER.replace(b"[0,8]", b"[8,0]"),
        HEADER.replace(b"[0,8]", b"[4,12]"),
        HEADER.replace(b"F32", b"F31"),
        HEADER.replace(b'{"w"', b'{"__metadata__":{"alias":"{\\"a\\":\\"b\\"}"},"w"'),
    ],
)
def test_hostile_headers(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(modelfs.UnreadableObject):
        modelfs.tensors_of(str(path))


def test_a_good_header(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(8))
    assert modelfs.tensors_of(str(path))["w"].numpy().tolist() == [0, 0]


@pytest.mark.parametrize("cut", [0, 7, 8, 100, 4200, -1])
def test_cut_files(file: Path, cut: int) -> None:
    whole = file.read_bytes()
    with pytest.raises(modelfs.UnreadableObject):
        container.describe(memoryview(whole[:cut]))
    file.write_bytes(whole[:cut])
    with pytest.raises(modelfs.UnreadableObject):
        attach(str(file))
    assert pickle.dumps(1)
