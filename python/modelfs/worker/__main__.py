# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A handler process: ``python -m modelfs.worker --model NAME --handler module:Class``. ``modelfs serve`` starts it."""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import signal
import sys

from modelfs.worker import finding, records, serving
from modelfs.worker.channel import Channel, ChannelLog

ONNX = "modelfs.worker.onnx:OnnxRuntime"


def main() -> int:
    flags = argparse.ArgumentParser(prog="python -m modelfs.worker", description=__doc__)
    flags.add_argument("--model", required=True, help="its name in the mount")
    flags.add_argument("--handler", default=ONNX, help="module:Class or file.py:Class (default: ONNX Runtime)")
    flags.add_argument("--mount", help="the mount (default: the one that there is)")
    flags.add_argument("--file", help="what to run without a handler: a file in the model's folder, or a path")
    flags.add_argument("--workers", type=int, default=1, help="how many such processes there are")
    flags.add_argument("--fd", type=int, default=3, help="the socket to the server")
    given = flags.parse_args()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process in its time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until calls are run
    channel = Channel(given.fd)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ChannelLog(channel)])
    try:
        options = finding.Options(given.model, given.mount, given.file, given.workers)
        handler = finding.make(given.handler, options)
        server = serving.server(handler, channel)
        said = handler.hello()
    except finding.Unusable as error:
        channel.send(records.hello({"error": str(error)}))
        return 1
    except Exception as error:  # whatever load() raises
        logging.getLogger("modelfs.worker").error("%s cannot be loaded", given.model, exc_info=error)
        text = f"{given.handler} cannot load {given.model}: {type(error).__name__}: {error}"
        channel.send(records.hello({"error": " ".join(text.split())}))
        return 1
    gc.collect()
    gc.freeze()  # what is here now stays: collections need not look at it
    _trim()
    channel.send(records.hello(said))
    # SIGTERM means nothing afterwards: this ends, and is killed when that takes too long.
    server.serve()
    close = getattr(handler.object, "close", None)
    if callable(close):
        close()
    return 0


def _trim() -> None:
    """Gives back what loading took and does not need any more: glibc keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


if __name__ == "__main__":
    sys.exit(main())
