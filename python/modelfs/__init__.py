# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Share models and tensors between processes, through a modelfs mount.

- ``get_or_load(key, load_fn)``: whatever load_fn returns, loaded once and shared by all processes;
- ``open(name)``: a model of the mount, its tensors without a copy;
- ``Session(name)``: writable tensors that processes hand to each other;
- ``Registry()``: what is loaded, and why; ``capabilities()``: what works here.
"""

from modelfs._version import __version__
from modelfs.capabilities import Capabilities, capabilities
from modelfs.errors import (
    ModelBusy,
    ModelError,
    ModelfsError,
    ModelNotFound,
    MountNotFound,
    NoRoom,
    NotShareable,
    SessionError,
    UnreadableObject,
    UntrustedObject,
)
from modelfs.model import Model
from modelfs.model import open_model as open
from modelfs.mountpoint import Mount
from modelfs.objects import aget_or_load, get_or_load, release, tensors_of
from modelfs.registry import Registry
from modelfs.session import Session
from modelfs.stream import Overrun, Stream, StreamError
from modelfs.tensor import Tensor

__all__ = [
    "Capabilities",
    "Model",
    "ModelBusy",
    "ModelError",
    "ModelNotFound",
    "ModelfsError",
    "Mount",
    "MountNotFound",
    "NoRoom",
    "NotShareable",
    "Overrun",
    "Registry",
    "Session",
    "SessionError",
    "Stream",
    "StreamError",
    "Tensor",
    "UnreadableObject",
    "UntrustedObject",
    "__version__",
    "aget_or_load",
    "capabilities",
    "get_or_load",
    "open",
    "release",
    "tensors_of",
]
