# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the serving measurement that is in Python, each a process of its own.

serving.py --version
serving.py sum FILE COUNT                    the sum itself, of a file that is mapped as handlers map it
serving.py memory                            of a Python that has what the handler imports, and nothing else
serving.py call ADDRESS COUNT MOUNT          1 KB in a session's file, by reference
serving.py call ADDRESS COUNT                1 KB in the message
"""

import contextlib
import json
import mmap
import statistics
import sys
import time

import numpy as np
from measure import own_memory

SMALL = 1024
WARM = 200


def summed(path: str, count: int) -> dict[str, object]:
    with open(path, "rb") as file:
        memory = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    times = []
    for _ in range(count + 3):
        began = time.perf_counter()
        total = int(np.array([memory[::4096].sum()], np.int64)[0])
        times.append(time.perf_counter() - began)
    times = times[3:]
    return {"seconds": statistics.median(times), "samples": times, "bytes": memory.nbytes, "sum": total}


def called(address: str, count: int, mount: str | None) -> dict[str, object]:
    import modelfs

    times = []
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            modelfs.Client("sum", address=address, mount=mount, by_reference="auto" if mount else "never")
        )
        if mount:
            session = modelfs.Session(f"bench-call-{time.time_ns()}", mount=mount)
            x = session.create("x", SMALL, np.uint8)
            stack.callback(session.delete)
        else:
            x = np.empty(SMALL, np.uint8)
        x[:] = 7
        client.wait_ready(30)
        for _ in range(count + WARM):
            began = time.perf_counter()
            out = client.infer({"x": x})["out"]
            times.append(time.perf_counter() - began)
            if out.item() != 7:
                raise AssertionError(out)
        if client.fallbacks:
            raise AssertionError("it was not by reference")
        times = sorted(times[WARM:])
        del x
    return {"seconds": statistics.median(times), "p99": times[int(0.99 * len(times))], "count": count}


def main() -> None:
    match sys.argv[1:]:
        case ["--version"]:
            import grpc

            said: dict[str, object] = {"seconds": 0, "version": f"grpcio {grpc.__version__}"}
        case ["sum", path, count]:
            said = summed(path, int(count))
        case ["memory"]:
            np.array([np.zeros(SMALL, np.uint8)[::4096].sum()], np.int64)
            said = {"seconds": 0, "rss": own_memory()}
        case ["call", address, count, *mount]:
            said = called(address, int(count), mount[0] if mount else None)
        case _:
            raise SystemExit(__doc__)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
