# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Share models and tensors between processes, through a modelfs mount.

- ``get_or_load(key, load_fn)``: whatever load_fn returns, loaded once and shared by all processes;
- ``open(name)``: a model of the mount, its tensors without a copy;
- ``Session(name)``: writable tensors that processes hand to each other;
- ``Client(model)``: calls of models that ``modelfs serve`` serves, tensors by reference; ``AsyncClient`` for asyncio;
- ``Registry()``: what is loaded, and why; ``capabilities()``: what works here.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from modelfs.client import Client
    from modelfs.client_async import AsyncClient
    from modelfs.client_channel import Tls
    from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer
    from modelfs.client_result import Result

__all__ = [
    "AsyncClient",
    "Capabilities",
    "Client",
    "InferenceError",
    "InferenceTimeout",
    "Model",
    "ModelBusy",
    "ModelError",
    "ModelNotFound",
    "ModelfsError",
    "Mount",
    "MountNotFound",
    "NoRoom",
    "NoServer",
    "NotShareable",
    "Overrun",
    "Registry",
    "Result",
    "Session",
    "SessionError",
    "Stream",
    "StreamError",
    "Tensor",
    "Tls",
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

_LATER = {
    "AsyncClient": "modelfs.client_async",
    "Client": "modelfs.client",
    "InferenceError": "modelfs.client_errors",
    "InferenceTimeout": "modelfs.client_errors",
    "NoServer": "modelfs.client_errors",
    "Result": "modelfs.client_result",
    "Tls": "modelfs.client_channel",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    """The clients need grpcio, which is imported when they are."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(_LATER[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("grpc", "google", "google.protobuf"):
            raise
        raise ImportError(f"modelfs.{name} needs grpcio and protobuf: pip install 'modelfs[client]'") from error
