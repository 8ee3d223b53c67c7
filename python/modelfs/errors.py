# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong. Every message says what was wrong, where, with which numbers, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfs.tensor import Tensor


class ModelfsError(Exception):
    """The base of this package's errors."""


class MountNotFound(ModelfsError, OSError):
    """There is no modelfs mount, or not the part of it that is needed."""


class UntrustedObject(ModelfsError, PermissionError):
    """What lies there may have been written by somebody else: it is not unpickled.

    Its tensors are data and may still be read: ``error.tensors()``. Nothing is run for that.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path

    def tensors(self) -> dict[str, Tensor]:
        """The tensors alone, by name, without running any code from the file."""
        from modelfs.objects import tensors_of

        if self.path is None:
            raise self
        return tensors_of(self.path)


class NotShareable(ModelfsError, TypeError):
    """What load_fn returned holds something that no other process can be given."""


class UnreadableObject(ModelfsError):
    """A shared object cannot be made again here, or its file is not one that this package writes."""


class NoRoom(ModelfsError, OSError):
    """Memory, a budget or a quota does not suffice."""


class ModelNotFound(ModelfsError, LookupError):
    """The mount knows no such model, or not this type of it."""


class ModelError(ModelfsError):
    """The model is there, and cannot be read: its files are malformed, or were replaced meanwhile."""


class ModelBusy(ModelfsError, OSError):
    """The model is in use or pinned: its memory is never taken from under a reader."""


class SessionError(ModelfsError, OSError):
    """A session cannot do what was asked."""
