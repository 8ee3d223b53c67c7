# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Eight gunicorn workers and one torch model.

Each worker calls ``modelfs.get_or_load`` as if it were alone. The first one loads; all have the same memory.
A worker that is killed is back after its imports and an attach of milliseconds: nothing is loaded again.

    pip install --no-deps gunicorn==27.0.1 packaging
    python examples/web_workers.py [--workers 8] [--megabytes 256]

As a server of your own, with a mount and MODELFS_MOUNT:

    gunicorn --chdir examples --workers 8 'web_workers:application()'
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

STARTED = time.perf_counter()

from common import MB, mapped_from, modelfs, mounted, own_memory, settled_memory  # after the clock: its time is counted

if TYPE_CHECKING:
    from torch.nn import Module

WIDTH = 1024
NOTES = "WEB_WORKERS_NOTES"  # a folder where each worker says that it is there
MEGABYTES = "WEB_WORKERS_MEGABYTES"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def load(layers: int) -> Module:
    """Stands for what takes long: reading a checkpoint, building a module."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(layers))).eval()


def application() -> Application:
    """What each worker calls once: a WSGI application with the model in it."""
    import torch

    torch.set_num_threads(1)
    layers = max(1, int(os.environ.get(MEGABYTES, "256")) * MB // (4 * WIDTH * WIDTH))
    before = settled_memory()
    imported = time.perf_counter()
    model = modelfs.get_or_load("web-workers", functools.partial(load, layers), required=True)
    attached = time.perf_counter()
    one = torch.ones(1, WIDTH)
    with torch.inference_mode():
        model(one)

    def respond(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with torch.inference_mode():
            answer = {"pid": os.getpid(), "sum": float(model(one).sum())}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    if NOTES in os.environ:
        note = {
            "imports": imported - STARTED,
            "attach": attached - imported,
            "own": settled_memory() - before,  # memory of its own that came with the model and its use
            "model": sum(p.nbytes for p in model.parameters()),
        }
        new = Path(os.environ[NOTES], f".{os.getpid()}")
        new.write_text(json.dumps(note))
        new.rename(new.with_name(str(os.getpid())))
    return respond


def notes(folder: Path) -> dict[int, dict[str, float]]:
    """What the workers that are there have said, by their process id."""
    return {int(f.name): json.loads(f.read_text()) for f in folder.glob("[0-9]*")}


def wait_for(what: str, holds: Callable[[], bool], server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 100
    while not holds():
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come: the server's exit status is {server.poll()}")
        time.sleep(0.005)


def ask(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        return dict(json.load(response))


def show(mount: str, folder: Path, server: subprocess.Popen[bytes], port: int, workers: int) -> None:
    """Looks at the workers from outside, kills one, and waits until it is back."""
    wait_for(f"{workers} workers", lambda: len(notes(folder)) == workers, server)
    there = notes(folder)
    answers = [ask(port) for _ in range(2 * workers)]
    model = int(next(iter(there.values()))["model"])
    # Each worker's share of the shared pages, and what is its own: together what the model costs the machine.
    shared = sum(mapped_from(mount, "Pss", pid) for pid in there)
    own = sum(int(n["own"]) for n in there.values())
    everything = sum(own_memory(pid) for pid in there)
    first, *others = sorted((n["attach"] for n in there.values()), reverse=True)
    print(f"{workers} workers, one model of {model / MB:.0f} MB; the same answer of all: ", end="")
    print(len({a["sum"] for a in answers}) == 1)
    print(f"the first loaded it in {first:.2f} s, while {sum(o > first / 10 for o in others)} waited for it")
    print(
        f"sum of PSS, model: {shared / MB:.0f} MB shared + {own / MB:.1f} MB own = {(shared + own) / model:.3f} models"
    )
    print(
        f"(without sharing it would be {workers}; the workers' own memory otherwise, python and torch: {(everything - own) / MB:.0f} MB)"
    )

    victim = max(there)
    began = time.perf_counter()
    (folder / str(victim)).unlink()
    os.kill(victim, signal.SIGKILL)
    wait_for("another worker", lambda: len(notes(folder)) == workers, server)
    took = time.perf_counter() - began
    (fresh,) = (n for pid, n in notes(folder).items() if pid not in there)
    print(
        f"a worker that was killed is back after {took:.2f} s: {fresh['imports']:.2f} s of it are imports, "
        f"{fresh['attach'] * 1e3:.1f} ms the model"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=256, help="of the model")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mounted() as mount, tempfile.TemporaryDirectory() as folder:
        here = str(Path(__file__).parent)
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--chdir", here, "--workers", str(args.workers), "--timeout", "120"]
            + ["--bind", f"127.0.0.1:{port}", "--log-level", "error", "web_workers:application()"],
            env=os.environ | {"MODELFS_MOUNT": mount, NOTES: folder, MEGABYTES: str(args.megabytes)},
        )
        try:
            show(mount, Path(folder), server, port, args.workers)
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
