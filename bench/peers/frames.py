# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What it takes to hand a frame from one process to another, on top of producing and reading it.

frames.py --version METHOD
frames.py METHOD BYTES COUNT [FOLDER]    the mount for stream; for ray, where it may write

The clock runs from when the producer has a frame's last byte in its memory until the consumer, which sleeps
before that, has an array of it. Each frame is read and checked after that. The median of COUNT frames."""

import importlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import shared_memory
from multiprocessing.connection import Connection

import modelfs
import numpy as np

SESSION = "bench-frames"
PAUSE = 0.002  # until the consumer sleeps
WARM = 3  # frames that do not count: the first touch of memory


def check(frame: np.ndarray, number: int) -> None:
    if int(frame.sum()) != number * frame.size:
        raise AssertionError(f"frame {number} is not what was sent")


# A consumer says through the pipe when it had each frame, once it has read it.


def stream_consumer(pipe: Connection, mount: str) -> None:
    with modelfs.Session(SESSION, mount=mount).stream("frames") as reader:
        pipe.send(0.0)
        for frame in reader:
            with frame as array:
                had = time.perf_counter()
                check(array, frame.number)
            pipe.send(had)


def pickle_consumer(pipe: Connection, frames: Connection) -> None:
    pipe.send(0.0)
    number = 0
    while (frame := frames.recv()) is not None:
        had = time.perf_counter()
        number += 1
        check(frame, number)
        del frame
        pipe.send(had)


def block_consumer(pipe: Connection, told: Connection, name: str, words: int) -> None:
    block = shared_memory.SharedMemory(name)
    array = np.frombuffer(block.buf, np.int64, words)
    pipe.send(0.0)
    while number := int.from_bytes(told.recv_bytes(), "little"):
        had = time.perf_counter()
        check(array, number)
        pipe.send(had)
    del array
    block.close()


def start(target: Callable[..., None], *args: object) -> tuple[multiprocessing.Process, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    return process, ours


def stream(words: int, count: int, mount: str) -> list[float]:
    with modelfs.Session(SESSION, quota="1GiB", mount=mount) as session:
        with session.stream("frames", words, "int64", slots=4) as producer:
            process, pipe = start(stream_consumer, mount)
            times = []
            for number in range(1, count + 1):
                with producer.slot() as frame:
                    frame[:] = number
                    time.sleep(PAUSE)
                    had = time.perf_counter()
                times.append(pipe.recv() - had)
        process.join()
        session.delete()
    return times


def pickled(words: int, count: int, _folder: str) -> list[float]:
    receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process, pipe = start(pickle_consumer, receive)
    frame, times = np.empty(words, np.int64), []
    for number in range(1, count + 1):
        frame[:] = number
        time.sleep(PAUSE)
        had = time.perf_counter()
        send.send(frame)
        times.append(pipe.recv() - had)
    send.send(None)
    process.join()
    return times


def block(words: int, count: int, _folder: str) -> list[float]:
    receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
    memory = shared_memory.SharedMemory(create=True, size=8 * words)
    frame, times = np.frombuffer(memory.buf, np.int64, words), []
    try:
        process, pipe = start(block_consumer, receive, memory.name, words)
        for number in range(1, count + 1):
            frame[:] = number
            time.sleep(PAUSE)
            had = time.perf_counter()
            send.send_bytes(number.to_bytes(8, "little"))
            times.append(pipe.recv() - had)
        send.send_bytes(bytes(8))
        process.join()
    finally:
        del frame
        memory.close()
        memory.unlink()
    return times


def with_ray(words: int, count: int, folder: str) -> list[float]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would send a report, and say so on stdout
    import ray

    # By the loopback: it works without a network, and nobody else reaches it.
    ray.init(
        num_cpus=2,
        object_store_memory=8 * words * 4 + (256 << 20),
        include_dashboard=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )

    @ray.remote
    class Consumer:
        def take(self, reference: list, number: int) -> float:
            frame = ray.get(reference[0])
            had = time.perf_counter()
            if int(frame.sum()) != number * frame.size:
                raise AssertionError(number)
            return had

    consumer = Consumer.remote()
    frame, times = np.empty(words, np.int64), []
    for number in range(1, count + 1):
        frame[:] = number
        time.sleep(PAUSE)
        had = time.perf_counter()
        reference = ray.put(frame)
        times.append(ray.get(consumer.take.remote([reference], number)) - had)
        del reference
    ray.shutdown()
    return times


METHODS = {"stream": stream, "pickle": pickled, "shared_memory": block, "ray": with_ray}


def main() -> None:
    if sys.argv[1] == "--version":
        name = "python " + sys.version.split()[0]
        if sys.argv[2] == "ray":
            name = "ray " + importlib.import_module("ray").__version__
        print(json.dumps({"seconds": 0, "version": name}))
        return
    method, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = sys.argv[4] if len(sys.argv) > 4 else ""
    times = METHODS[method](size // 8, count + WARM, folder)[WARM:]
    print(json.dumps({"seconds": statistics.median(times), "samples": times, "bytes": size, "count": len(times)}))


if __name__ == "__main__":
    main()
