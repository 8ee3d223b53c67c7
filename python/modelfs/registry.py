# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What is loaded, what it costs, and why: through the mount's files and attributes."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelfs.errors import ModelBusy, ModelError, ModelNotFound
from modelfs.mountpoint import Mount
from modelfs.ttl import TTL, text_of

_PREFIX = "user.modelfs."


@dataclass(frozen=True)
class ModelInfo:
    """A model that the mount knows. Sizes are bytes, times aware and None for never."""

    name: str
    state: str  # absent, loading, resident, failed
    refs: int  # processes that have something of it open or mapped
    bytes: int
    resident_bytes: int
    loaded_at: datetime.datetime | None
    last_used_at: datetime.datetime | None
    loads: int
    hits: int
    pinned: bool
    ttl: float  # seconds; 0: none
    error: str | None


@dataclass(frozen=True)
class Metrics:
    """What the daemon has counted: of segments, which are a weight file or a tensor each."""

    models: int  # of which something is in memory
    known_models: int
    bytes: int  # in memory
    hits: int  # opens that found it in memory
    misses: int
    hit_rate: float  # of all opens; 0 where there were none
    loads: int
    load_failures: int
    evictions: int


@dataclass(frozen=True)
class Configuration:
    """How the daemon was started; None where its status does not say it."""

    ttl: float | None
    max_memory_bytes: int
    policy: str | None
    max_models: int | None


class Freed(NamedTuple):
    """What an eviction gave back."""

    models: int
    bytes: int


class Registry:
    """The models of a mount, and what becomes of them."""

    def __init__(self, mount: str | os.PathLike[str] | Mount | None = None) -> None:
        self.mount = mount if isinstance(mount, Mount) else Mount.find(mount)

    def __repr__(self) -> str:
        return f"<modelfs.Registry {self.mount.point}>"

    def list_models(self) -> list[ModelInfo]:
        """All models that the mount knows, loaded or not."""
        return [_model(m) for m in self.mount.status()["models"]]

    def get(self, name: str) -> ModelInfo:
        """One model; ModelNotFound if there is none."""
        for info in self.list_models():
            if info.name == name:
                return info
        raise ModelNotFound(f"{self.mount.point} has no model {name!r}")

    def metrics(self) -> Metrics:
        status = self.mount.status()
        counters = status["counters"]
        hits, misses = counters["hits"], counters["misses"]
        return Metrics(
            models=sum(m["resident_bytes"] > 0 for m in status["models"]),
            known_models=len(status["models"]),
            bytes=status["memory"]["resident_bytes"],
            hits=hits,
            misses=misses,
            hit_rate=hits / (hits + misses) if hits + misses else 0.0,
            loads=counters["loads"],
            load_failures=counters["load_failures"],
            evictions=counters["evictions"],
        )

    def configuration(self) -> Configuration:
        status = self.mount.status()
        said = status.get("configuration", {})
        return Configuration(
            ttl=said.get("ttl_seconds"),
            max_memory_bytes=said.get("max_memory_bytes", status["memory"]["budget_bytes"]),
            policy=said.get("policy"),
            max_models=said.get("max_models"),
        )

    def load(self, name: str) -> None:
        """Loads a model, or waits for its load. It stays as the policy has it: modelfs.open is a lease."""
        try:
            state = self._get(name, "wait")
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.ENODATA):
                raise ModelError(f"{name} cannot be loaded: {self.get(name).error or error.strerror}") from error
            raise
        if state != "resident":
            raise ModelError(f"{name} is {state}: {self.get(name).error or 'it was evicted at once'}")

    def evict(self, name: str) -> Freed:
        """Frees a model that nobody uses; ModelBusy says who does."""
        resident = self.get(name).resident_bytes
        try:
            self._set(name, "evict", "1")
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise ModelBusy(errno.EBUSY, self._why_busy(name)) from error
            raise
        return Freed(int(resident > 0), resident)

    def evict_expired(self) -> Freed:
        """Frees now what nobody has used for its TTL. The daemon does it too, within a second."""
        now = datetime.datetime.now(datetime.timezone.utc)
        expired = []
        for m in self.list_models():
            used = m.last_used_at or m.loaded_at
            idle = m.resident_bytes and not m.refs and not m.pinned and m.ttl > 0 and used is not None
            if idle and used is not None and (now - used).total_seconds() >= m.ttl:
                expired.append(m.name)
        return self._evict_idle(expired)

    def clear(self) -> Freed:
        """Frees all that nobody uses. What is in use or pinned stays: list_models() shows it."""
        return self._evict_idle([m.name for m in self.list_models() if m.resident_bytes and not m.pinned])

    def pin(self, name: str) -> None:
        """Keeps a model from being evicted, whatever the need. It does not load it."""
        self._set(name, "pinned", "1")

    def unpin(self, name: str) -> None:
        self._set(name, "pinned", "0")

    def set_ttl(self, name: str, ttl: TTL) -> None:
        """How long a model stays when nobody uses it; 0: until the room is needed."""
        self._set(name, "ttl", text_of(ttl).decode())

    def sessions(self) -> list[str]:
        """The sessions that there are."""
        try:
            with self.mount.explained():
                return sorted(s for s in os.listdir(self.mount.path("sessions")) if not s.startswith("."))
        except FileNotFoundError:
            return []

    def _evict_idle(self, names: list[str]) -> Freed:
        count = freed = 0
        for name in names:
            with contextlib.suppress(ModelBusy, ModelNotFound):  # somebody took it, or it went by itself
                one = self.evict(name)
                count, freed = count + one.models, freed + one.bytes
        return Freed(count, freed)

    def _why_busy(self, name: str) -> str:
        if self.get(name).pinned:
            return f"{name} is pinned: unpin({name!r}) lets it go"
        users = []
        with contextlib.suppress(OSError, KeyError, TypeError):
            for use in self.mount.report("ps.json"):
                if use["model"] == name:
                    users.append(f"{use['pid']} ({use['command'][:60]})")
        who = ", ".join(users[:10]) or "a process that cannot be seen from here"
        return f"{name} is in use by {who}: memory is never taken from under a reader"

    def _get(self, name: str, attribute: str) -> str:
        with self._explained(name):
            return os.getxattr(self.mount.path("models", name), _PREFIX + attribute).decode()

    def _set(self, name: str, attribute: str, value: str) -> None:
        with self._explained(name):
            os.setxattr(self.mount.path("models", name), _PREFIX + attribute, value.encode())

    @contextlib.contextmanager
    def _explained(self, name: str) -> Any:  # noqa: ANN401 - a context manager
        try:
            with self.mount.explained():
                yield
        except FileNotFoundError as error:
            raise ModelNotFound(f"{self.mount.point} has no model {name!r}") from error
        except PermissionError as error:
            path = self.mount.path("models", name)
            raise PermissionError(error.errno, f"{path} does not let you: that takes write permission on it") from error


def _model(m: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        name=m["name"],
        state=m["state"],
        refs=m["refs"],
        bytes=m["bytes"],
        resident_bytes=m["resident_bytes"],
        loaded_at=_time(m["loaded_at"]),
        last_used_at=_time(m["last_used_at"]),
        loads=m["loads"],
        hits=m["hits"],
        pinned=m["pinned"],
        ttl=m["ttl_seconds"],
        error=m["error"],
    )


def _time(text: str | None) -> datetime.datetime | None:
    """RFC 3339, of which Python before 3.11 reads neither the Z nor nanoseconds."""
    if text is None:
        return None
    moment, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    moment, _, fraction = moment.partition(".")
    return datetime.datetime.fromisoformat(f"{moment}.{fraction[:6]:0<6}{zone}")
