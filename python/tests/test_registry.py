# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""modelfs.Registry and capabilities on real mounts."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import models
import mounts
import pytest
from models import SMALL
from mounts import Mount, eventually

import modelfs
from modelfs.registry import _time


def test_list_and_load(mount: Mount) -> None:
    registry = modelfs.Registry(mount.point)
    assert [m.name for m in registry.list_models()] == ["archive", "quants", "small"]
    registry.load(SMALL)
    loaded = registry.get(SMALL)
    assert loaded.state == "resident" and loaded.resident_bytes >= loaded.bytes > 0 and not loaded.pinned
    assert isinstance(loaded.loaded_at, datetime.datetime) and loaded.loaded_at.tzinfo is not None
    registry.load(SMALL)
    metrics = registry.metrics()
    assert metrics.models >= 1 and metrics.known_models == 3 and metrics.bytes >= loaded.resident_bytes
    assert 0 <= metrics.hit_rate <= 1 and metrics.loads >= 1
    before = metrics.evictions
    freed = registry.evict(SMALL)
    assert freed.models == 1 and freed.bytes >= loaded.bytes and registry.get(SMALL).state == "absent"
    assert registry.metrics().evictions > before
    assert registry.evict(SMALL) == (0, 0)
    with pytest.raises(modelfs.ModelNotFound):
        registry.load("nix")


def test_clear_leaves_what_is_used(mount: Mount) -> None:
    registry = modelfs.Registry(mount.point)
    registry.load(SMALL)
    with modelfs.open("archive", mount=mount.point) as model:
        held = model["first"].numpy()
        models_freed, size = registry.clear()
        assert models_freed >= 1 and size > 0
        assert registry.get(SMALL).state == "absent" and registry.get("archive").resident_bytes > 0
        del held
    eventually("the rest can go", lambda: registry.clear() is not None and registry.get("archive").resident_bytes == 0)


def test_pins(mount: Mount) -> None:
    registry = modelfs.Registry(mount.point)
    registry.pin(SMALL)
    registry.load(SMALL)
    try:
        with pytest.raises(modelfs.ModelBusy, match="pinned: unpin"):
            registry.evict(SMALL)
        registry.clear()
        assert registry.get(SMALL).state == "resident" and registry.get(SMALL).pinned
    finally:
        registry.unpin(SMALL)
    assert registry.evict(SMALL).models == 1


def test_expiry(binary: Path, tmp_path: Path) -> None:
    models.write(tmp_path)
    with mounts.mounted(binary, tmp_path, "--memory", "64MiB") as mount:
        registry = modelfs.Registry(mount.point)
        assert registry.configuration().max_memory_bytes == 64 << 20
        registry.load(SMALL)
        assert registry.evict_expired() == (0, 0), "it has no TTL"
        registry.set_ttl(SMALL, 0.2)
        assert registry.get(SMALL).ttl == pytest.approx(0.2)
        time.sleep(0.3)
        count, size = registry.evict_expired()
        assert registry.get(SMALL).state == "absent"
        assert (count, size) == (0, 0) or (count == 1 and size > 0), "the daemon may have been first"
        registry.set_ttl(SMALL, datetime.timedelta(hours=1))
        assert registry.get(SMALL).ttl == 3600


def test_capabilities(mount: Mount) -> None:
    found = modelfs.capabilities(mount.point)
    status = mount.status()
    assert found.mount == str(mount.point) and found.version == modelfs.__version__
    assert found.daemon_version == status["version"] and found.passthrough == status["data_path"]["passthrough"]
    assert found.packages["numpy"] is not None


def test_capabilities_without_a_mount(tmp_path: Path) -> None:
    found = modelfs.capabilities(tmp_path)
    assert found.mount is None and str(tmp_path) in found.reason


def test_times() -> None:
    assert _time(None) is None
    for text in ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456Z", "2026-01-02T05:04:05.123456+02:00"):
        found = _time(text)
        expected = datetime.datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=datetime.timezone.utc)
        assert found == expected
    assert _time("2026-01-02T03:04:05Z") == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
