# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Each mode does what its name says; otherwise the others' tests would show less than they seem to."""

from __future__ import annotations

from conftest import Mode
from mounts import Mount
from required import lacking


def test_passthrough(mount: Mount, mode: Mode) -> None:
    path = mount.status()["data_path"]
    if mode.passthrough and not path["passthrough"]:
        lacking("passthrough", path["reason"])
    assert path["passthrough"] == mode.passthrough


def test_hugepages(mount: Mount, mode: Mode) -> None:
    path = mount.status()["data_path"]
    if mode.passthrough and not path["hugepages"]:
        lacking("hugepages", path["reason"])
    assert path["reason"] or path["hugepages"], "it does not say why there are no huge pages"
