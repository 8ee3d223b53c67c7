# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What works here, and why the rest does not."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, field

from modelfs._version import __version__
from modelfs.mountpoint import Mount

_OPTIONAL = ("numpy", "torch", "jax", "ml_dtypes", "cloudpickle")


@dataclass(frozen=True)
class Capabilities:
    """What this process can do with a mount."""

    version: str
    packages: dict[str, str | None] = field(default_factory=dict)  # version, or None if it is not installed
    mount: str | None = None
    reason: str = ""  # why there is no mount, or what the daemon says of its data path
    daemon_version: str | None = None
    passthrough: bool = False  # reads and faults never reach the daemon
    hugepages: bool = False
    objects: bool = False  # get_or_load shares
    sessions: bool = False


def capabilities(mount: str | os.PathLike[str] | Mount | None = None) -> Capabilities:
    """What works with a mount, the usual one if none is named. It raises nothing."""
    packages = {name: _version_of(name) for name in _OPTIONAL}
    try:
        found = mount if isinstance(mount, Mount) else Mount.find(mount)
        status = found.status()
    except OSError as error:
        return Capabilities(__version__, packages, reason=error.strerror or str(error))
    path = status["data_path"]
    return Capabilities(
        __version__,
        packages,
        found.point,
        path["reason"],
        status["version"],
        path["passthrough"],
        path["hugepages"],
        os.path.isdir(found.path("objects", str(os.geteuid()))),
        os.path.isdir(found.path("sessions")),
    )


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
