# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Three models of different formats in one process group, under a budget that holds two.

Each model is used by a process of its own: one as safetensors, one as NPZ, one as a checkpoint of torch.save.
The third has to make room. Who goes is the one that was not used for longest among those that nobody uses; what
a process uses is never taken from under it; and the mount says who went, and why.

    python examples/budget.py [--megabytes 48]

It mounts for itself, whatever MODELFS_MOUNT says: the budget is what it is about.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import MB, modelfs, mounted

NAMES = {"ears": "safetensors", "eyes": "npz", "voice": "pt"}


def write(folder: Path, name: str, size: int) -> Path:
    """A weight file of random numbers, in the format that the model has."""
    kind = NAMES[name]
    file = folder / f"{name}.{kind}"
    weight = np.random.default_rng(len(name)).standard_normal((size // 4096, 1024), np.float32)
    if kind == "npz":
        np.savez(file, weight=weight)
    else:
        import torch
        from safetensors.torch import save_file

        state = {"weight": torch.from_numpy(weight)}
        if kind == "pt":
            torch.save(state, file)
        else:
            save_file(state, file)
    return file


def use(name: str) -> None:
    """One process of the group: it takes a model, works with it, and keeps it until it is told to end."""
    try:
        with modelfs.open(name) as model:
            weight = model["weight"].numpy()
            print(f"{weight.sum(dtype=np.float64):.6f}", flush=True)
            sys.stdin.read()
    except modelfs.ModelBusy as busy:
        print(f"no room: {busy}", flush=True)


class User:
    """A process that uses a model, in the process group of this one."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, __file__, "--use", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate("")


def in_memory() -> str:
    return " and ".join(m.name for m in modelfs.Registry().list_models() if m.resident_bytes) or "nothing"


def last_evictions() -> list[dict[str, Any]]:
    """What the mount says of those that went, the latest last: `modelfs status` shows the same."""
    return list(modelfs.Mount.find().status()["last_evictions"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=48, help="of each model")
    parser.add_argument("--use", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.use:
        use(args.use)
        return
    size = args.megabytes * MB
    # What does not fit gets an error; without --over-budget it would be read from the disk, unshared.
    with mounted("--memory", str(size * 5 // 2), "--over-budget", "fail", own=True) as mount:
        with tempfile.TemporaryDirectory() as folder:
            files = [write(Path(folder), name, size) for name in NAMES]
            shown = Path(mount).parent / "models"
            for file in files:
                (shown / file.stem).mkdir()
                file.rename(shown / file.stem / file.name)
        print(f"three models of {args.megabytes} MB, a budget of {args.megabytes * 5 / 2:.0f} MB")
        ears = User("ears")
        ears.end()
        eyes = User("eyes")
        print(f"ears was used, eyes is in use. In memory: {in_memory()}")
        voice = User("voice")
        print(f"voice came. In memory: {in_memory()}")
        for eviction in last_evictions():
            print(f"  evicted: {eviction['part']}, {eviction['bytes'] / MB:.0f} MB: {eviction['reason']}")
        again = User("ears")
        print(f"ears comes again, while both others are in use: {again.said}")
        again.end()
        eyes.end()
        again = User("ears")
        print(f"eyes ended, ears comes again: it has what it had: {again.said == ears.said}. In memory: {in_memory()}")
        print(f"  evicted: {last_evictions()[-1]['part']}: {last_evictions()[-1]['reason']}")
        again.end()
        voice.end()


if __name__ == "__main__":
    main()
