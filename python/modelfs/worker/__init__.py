# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What a handler of inference uses: errors with a gRPC code of their own, and what is left of a call's time.

A handler is a class; ``modelfs serve --model NAME=module:Class`` runs it in processes of its own:

    class Doubler:
        inputs = [("x", "FP32", [-1])]      # name, datatype, shape; without the batch's dimension
        outputs = [("y", "FP32", [-1])]
        max_batch = 8                       # rows that one call takes; 0, as when it is missing: no batches
        concurrency = 1                     # calls at a time
        decoupled = False                   # any number of responses to a call

        def load(self, model):              # a modelfs.Model, or the name of one that the mount does not have
            ...

        def infer(self, inputs):            # name -> array; or infer(self, inputs, parameters)
            return {"y": 2 * inputs["x"]}

All attributes, and ``load``, may be missing. ``infer`` may be ``async``, and several run at a time then, on one
event loop; or a generator, or an asynchronous one, each of whose items is a response. Inputs are views of shared
memory: they are read-only, and valid until ``infer`` returns; what is to be kept has to be copied. Outputs are
numpy arrays or torch tensors.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable

__all__ = [
    "FailedPrecondition",
    "HandlerError",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "ResourceExhausted",
    "Unavailable",
    "Unimplemented",
    "cancelled",
    "remaining",
]


class HandlerError(Exception):
    """A call fails with the code, and the text alone."""

    code = 13  # gRPC's INTERNAL


class InvalidArgument(HandlerError, ValueError):
    """The inputs are not what the model takes."""

    code = 3


class NotFound(HandlerError, LookupError):
    """What the call refers to is not there."""

    code = 5


class ResourceExhausted(HandlerError):
    """There is no memory, or no quota, for it."""

    code = 8


class FailedPrecondition(HandlerError):
    """The model is not in a state to do it."""

    code = 9


class OutOfRange(HandlerError, ValueError):
    """Beyond what there is: the end of a sequence."""

    code = 11


class Unimplemented(HandlerError):
    """The model does not do that."""

    code = 12


class Unavailable(HandlerError):
    """Not now: the same call may be made again."""

    code = 14


# The call that runs: when its time is over, by time.monotonic, and whether somebody waits for it still.
_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)
_cancelled: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("cancelled", default=None)


def remaining() -> float | None:
    """The seconds until the running call's answer is worth nothing any more; None if it has no deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def cancelled() -> bool:
    """Whether nobody waits for the running call any more. A long computation asks now and then, and gives up."""
    ask = _cancelled.get()
    return ask is not None and ask()
