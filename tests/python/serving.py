# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""An inference server of the real program, whose process is a child of the tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mounts

HANDLERS = Path(__file__).resolve().parent / "handlers"


@dataclass(frozen=True)
class Server:
    """`modelfs serve` that is ready."""

    process: subprocess.Popen[bytes]
    log: Path
    socket: str  # unix:/PATH
    tcp: str  # HOST:PORT
    http: str  # http://HOST:PORT

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def served(binary: Path, mount: mounts.Mount | None, *flags: str) -> Iterator[Server]:
    """Serves models with the tests' own Python, and sees that nothing is left."""
    with tempfile.TemporaryDirectory(prefix="modelfs-python-serve-") as folder:
        log = Path(folder, "log")
        where = ["--mount", str(mount.point)] if mount else []
        listen = ["--listen", f"unix:{folder}/s.sock", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [binary, *where, "serve", *listen, "--python", sys.executable, *flags],
                env=mounts.environment() | {"PYTHONPATH": str(HANDLERS)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            mounts.eventually(
                "the server says ready",
                lambda: process.poll() is not None or "modelfs: ready: " in log.read_text(errors="replace"),
            )
            assert process.poll() is None, f"the server ended with {process.returncode}:\n{log.read_text()}"
            found = re.search(r"modelfs: ready: (unix:\S+) (\S+) (http://\S+)", log.read_text(errors="replace"))
            assert found, log.read_text(errors="replace")
            yield Server(process, log, found[1], found[2], found[3])
            process.send_signal(signal.SIGTERM)
            assert process.wait(mounts.PATIENCE) == 0, log.read_text(errors="replace")
            assert not os.path.exists(f"{folder}/s.sock"), "its socket is left"
            if mount:
                assert not list((mount.point / "sessions").glob("serve-*")), "its session is left"
        except BaseException:
            print(log.read_text(errors="replace"), file=sys.stderr)
            raise
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
