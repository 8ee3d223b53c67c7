# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Loads every pickle of a folder, and says which of them made the canary.

This executes what the pickles say. It is the control of the attacks' tests: each
pickle is loaded in a process of its own, with a canary and a working directory of
its own. Persistent ids are taken as they are; what belongs to torch, which may not
be installed, is a function that does nothing.
"""

import copyreg
import io
import os
import pickle
import signal
import sys
import tempfile
import time
from typing import Any

# As in opcodes.go.
EXTENSIONS = (240, 0x1234, 0x12345678)
PATIENCE = 10.0  # seconds: some payloads start a process and do not wait for it


class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401
        return pid

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if module.partition(".")[0] == "torch":
            return lambda *_: {}
        return super().find_class(module, name)


def load(data: bytes, canary: str) -> None:
    os.environ["MODELFS_CANARY"] = canary
    signal.alarm(int(PATIENCE))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    Unpickler(io.BytesIO(data)).load()


def fires(data: bytes) -> bool:
    """Whether the pickle makes a file, named by the environment or in its folder."""
    with tempfile.TemporaryDirectory() as place:
        canary, folder = os.path.join(place, "fired"), os.path.join(place, "folder")
        os.mkdir(folder)
        child = os.fork()
        if child == 0:
            try:
                os.chdir(folder)
                load(data, canary)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        end = time.monotonic() + PATIENCE
        while not (made := os.path.exists(canary) or bool(os.listdir(folder))) and time.monotonic() < end:
            time.sleep(0.01)
        return made


def main() -> None:
    # add_extension gives a function one number only.
    for code in EXTENSIONS:
        copyreg._inverted_registry[code] = ("posix", "system")  # type: ignore[attr-defined]
    folder = sys.argv[1]
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        print("fired" if fires(data) else "quiet", name, flush=True)


main()
