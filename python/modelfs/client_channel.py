# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Connections: to whom, and how gRPC is to call."""

from __future__ import annotations

import json
import os
import random
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc

from modelfs.client_errors import NoServer
from modelfs.client_messages import SERVICE, UNARY
from modelfs.client_wire import Request, Response
from modelfs.mountpoint import Mount

_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def service_config(model: str | None, *, healthy: bool) -> str:
    """How gRPC is to call. pick_first, which is what there is without it, ignores healthCheckConfig in silence.
    ModelInfer and its stream alone do not wait for a server that is not ready: the client asks first why it is
    not, and waits then. Otherwise a call of a model that does not work, or that nobody has, would never end."""
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": SERVICE, "method": m} for m in ("ModelInfer", "ModelStreamInfer")],
                "retryPolicy": _RETRY,
            },
            {"name": [{"service": SERVICE}], "retryPolicy": _RETRY, "waitForReady": True},
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
    }
    if healthy and model:
        config["healthCheckConfig"] = {"serviceName": model}
    return json.dumps(config)


def options(model: str | None, *, healthy: bool, retries: bool) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", service_config(model, healthy=healthy)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", int(retries)),
        ("grpc.per_rpc_retry_buffer_size", 1 << 30),  # else what is larger than 256 KiB is never sent again
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 300),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]


@dataclass(frozen=True)
class Tls:
    """Encryption over TCP: files in PEM. Without ca the system's are trusted; cert and key say who calls."""

    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            has, lacks = ("cert", "key") if self.key is None else ("key", "cert")
            raise ValueError(f"Tls has a {has} and no {lacks}: who calls is said by both together")  # gRPC aborts

    def credentials(self) -> grpc.ChannelCredentials:
        def read(path: str | os.PathLike[str] | None) -> bytes | None:
            if path is None:
                return None
            with open(path, "rb") as file:
                return file.read()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.cert))


class Connection:
    """The channels to one server. Opening one waits for nothing, and is the same with ``grpc`` and ``grpc.aio``."""

    def __init__(self, api: ModuleType, address: str, model: str | None, tls: Tls | None) -> None:
        self._api, self.address, self._model, self._tls = api, address, model, tls
        self.channels: list[Any] = []
        self.calls = self._open(healthy=True, retries=True)
        self.infer = self._infer(self.calls)
        self.stream = self.calls.stream_stream(
            _path("ModelStreamInfer"),
            request_serializer=Request.serialize,
            response_deserializer=Response.parse_streamed,
        )
        self._lock = threading.Lock()
        self._once: Any = None
        self._unary: dict[str, Any] = {}
        self._control: Any = None

    @property
    def once(self) -> Any:  # noqa: ANN401 - grpc has no type of it
        """ModelInfer that gRPC sends once."""
        with self._lock:
            if self._once is None:
                self._once = self._infer(self._open(healthy=True, retries=False))
            return self._once

    @property
    def control(self) -> Any:  # noqa: ANN401 - of grpc, or of grpc.aio
        """The channel of what a server is asked, whatever its model's health."""
        with self._lock:
            if self._control is None:
                self._control = self._open(healthy=False, retries=True)
            return self._control

    def unary(self, method: str) -> Any:  # noqa: ANN401 - grpc has no type of it
        """A call to the server whether or not the model is ready."""
        control = self.control
        with self._lock:
            if method not in self._unary:
                request, response = UNARY[method]
                self._unary[method] = control.unary_unary(
                    _path(method),
                    request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString,
                )
            return self._unary[method]

    def _open(self, *, healthy: bool, retries: bool) -> Any:  # noqa: ANN401 - of grpc, or of grpc.aio
        chosen = options(self._model, healthy=healthy, retries=retries)
        if self._tls is not None:
            channel = self._api.secure_channel(self.address, self._tls.credentials(), chosen)
        else:
            channel = self._api.insecure_channel(self.address, chosen)
        self.channels.append(channel)
        return channel

    @staticmethod
    def _infer(channel: Any) -> Any:  # noqa: ANN401 - grpc has no type of it
        return channel.unary_unary(
            _path("ModelInfer"), request_serializer=Request.serialize, response_deserializer=Response.parse
        )


def _path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def is_local(address: str) -> bool:
    """Whether an address cannot be another machine's."""
    return address.startswith(("unix:", "unix-abstract:", "127.", "localhost:", "[::1]:"))


def find_servers(mount: Mount, model: str | None) -> list[str]:
    """The addresses of the servers that a mount lists and that are trusted, root's and one's own: those that
    serve the model, sockets first. Several of a kind come in any order."""
    mine, others = [], 0
    for worker in mount.report("workers.json")["workers"]:
        if model and all(m["name"] != model for m in worker["models"]):
            continue
        if worker["uid"] not in (0, os.geteuid()):
            others += 1
            continue
        sockets = [a for a in worker["listen"] if a.startswith("unix:")]
        mine.append((sockets or worker["listen"])[0])
    if mine:
        random.shuffle(mine)
        return sorted(mine, key=lambda address: not address.startswith("unix:"))
    what = model or "anything"
    if others:
        raise NoServer(
            f"nobody but other users serves {what} at {mount.point}: name the address of one to use it, if you trust it"
        )
    raise NoServer(f"nobody serves {what} at {mount.point}: start `modelfs serve`")
