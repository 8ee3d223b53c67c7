# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Real models by several handlers each: their weights are in memory once."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import conftest
import library
import mounts
import numpy as np
import required
import serving
import tritonclient.grpc as triton

HANDLERS = 4  # of each model


def shares(pid: int, folder: Path) -> tuple[int, int]:
    """What a process has mapped of files below a folder: its part of each page (PSS), and all pages (RSS)."""
    pss = rss = 0
    counts = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            counts = any(word.startswith(f"{folder}/") for word in rest)
        elif counts and first == "Pss:":
            pss += int(rest[0]) << 10
        elif counts and first == "Rss:":
            rss += int(rest[0]) << 10
    return pss, rss


def test_the_weights_of_eight_handlers_are_there_once(binary: Path, mode: conftest.Mode, tmp_path: Path) -> None:
    files = {
        "minilm": library.minilm_folder() / "model.safetensors",
        "speaker": required.package_folder("resemblyzer") / "pretrained.pt",
    }
    for name, file in files.items():
        (tmp_path / name).mkdir()
        shutil.copy(file, tmp_path / name)
    flags = ["--workers", str(HANDLERS)]
    for name in files:
        flags += ["--model", f"{name}=stress_models:Weights"]
    with mounts.mounted(binary, tmp_path, *mode.flags) as mount, serving.served(binary, mount, *flags) as server:

        def alive() -> bool:
            with urllib.request.urlopen(f"{server.http}/metrics", timeout=20) as page:
                text = page.read().decode()
            return all(f'modelfs_inference_handlers{{model="{name}"}} {HANDLERS}\n' in text for name in files)

        mounts.eventually("eight handlers run", alive, within=50)
        with triton.InferenceServerClient(server.socket) as client:
            for name in files:
                assert client.infer(name, []).as_numpy("sum")[0] != 0
        tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        got = np.array([shares(pid, mount.point) for pid in pids]).sum(axis=0)
        size = sum(file.stat().st_size for file in files.values())
        assert 0.9 * size < got[0] <= 1.1 * size, f"PSS {got[0]} of {size} bytes"
        assert got[1] > 0.9 * HANDLERS * size, f"the control: RSS {got[1]} of {HANDLERS} times {size} bytes"
