# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a call."""

from __future__ import annotations

import grpc

from modelfs.errors import ModelfsError


class InferenceError(ModelfsError):
    """A call failed. ``code`` is gRPC's name of what it was: "NOT_FOUND", "RESOURCE_EXHAUSTED", …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class InferenceTimeout(InferenceError, TimeoutError):
    """The time that the caller gave was over."""


class NoServer(InferenceError):
    """Nobody who is trusted serves the model."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message)


def error_of(error: grpc.RpcError) -> InferenceError:
    """gRPC's error as one of these."""
    code, details = error.code().name, error.details() or ""
    return (InferenceTimeout if code == "DEADLINE_EXCEEDED" else InferenceError)(code, details)
