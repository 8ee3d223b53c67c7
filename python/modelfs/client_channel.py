# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Connections: to whom, and how gRPC is to call."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from typing import Any

import grpc

from modelfs.client_errors import NoServer
from modelfs.client_messages import SERVICE
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

    def credentials(self) -> grpc.ChannelCredentials:
        def read(path: str | os.PathLike[str] | None) -> bytes | None:
            if path is None:
                return None
            with open(path, "rb") as file:
                return file.read()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.cert))


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
