# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a call."""

from __future__ import annotations

from typing import Any

import grpc

from modelfs.errors import ModelfsError

_DIED_AGAIN = b"HANDLER_DIED_AGAIN"  # the reason in a google.rpc.ErrorInfo: the call may be what kills handlers


class InferenceError(ModelfsError):
    """A call failed. ``code`` is gRPC's name of what it was: "NOT_FOUND", "RESOURCE_EXHAUSTED", …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.final = False  # it is not to be repeated, whatever the code


class InferenceTimeout(InferenceError, TimeoutError):
    """The time that the caller gave was over."""


class NoServer(InferenceError):
    """Nobody who is trusted serves the model."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message)


def error_of(error: grpc.RpcError, address: str, passed: float | None) -> InferenceError:
    """gRPC's error as one of these, of a call to an address; passed: the seconds that it had, if they are over. A
    server that was quicker to see that has cancelled the call, which is the same to who made it."""
    code, details = error.code().name, error.details() or ""
    if passed is not None and code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return InferenceTimeout("DEADLINE_EXCEEDED", f"{address} has not answered within {passed:g} s")
    failure = _error(code, details)
    trailing = error.trailing_metadata() or ()
    failure.final = any(key == "grpc-status-details-bin" and _DIED_AGAIN in value for key, value in trailing)
    return failure


def streamed_error(message: str, response: Any) -> InferenceError:  # noqa: ANN401 - a Response, or None
    """A stream's error message as one of these. The protocol has no place for a code beside it: modelfs' servers have
    it as a parameter, others do not say."""
    number = response.message.parameters["modelfs_code"].int64_param if response is not None else 0
    return _error(_NAMES.get(number, "UNKNOWN"), message)


_NAMES = {code.value[0]: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


def _error(code: str, message: str) -> InferenceError:
    return (InferenceTimeout if code == "DEADLINE_EXCEEDED" else InferenceError)(code, message)
