# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The protocol's messages, in a pool of their own: tritonclient, in the same process, has messages of the
same names in the default one."""

from __future__ import annotations

import importlib.resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    importlib.resources.files("modelfs").joinpath("inference.binpb").read_bytes()
).file:
    _pool.Add(_file)


def _message(name: str) -> Any:  # noqa: ANN401 - a class made at run time
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))


ModelInferRequest = _message("ModelInferRequest")
ModelInferResponse = _message("ModelInferResponse")
ModelStreamInferResponse = _message("ModelStreamInferResponse")
InferParameter = _message("InferParameter")

# The calls that are as the protocol has them: request and response by name.
UNARY = {
    name: (_message(f"{name}Request"), _message(f"{name}Response"))
    for name in (
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    )
}


def set_parameters(target: Any, values: dict[str, Any]) -> None:  # noqa: ANN401 - a map of messages
    """Puts bool, int, float and str into a map of parameters."""
    for name, value in values.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            if -(1 << 63) <= value < 1 << 63:
                target[name].int64_param = value
            else:
                target[name].uint64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        else:
            raise TypeError(f"parameter {name!r} is a {type(value).__name__}, want bool, int, float or str")


def parameters_of(source: Any) -> dict[str, Any]:  # noqa: ANN401 - a map of messages
    """What a map of parameters holds."""
    found = {}
    for name, value in source.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(value, kind)
    return found
