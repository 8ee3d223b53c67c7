# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A camera and two detectors, in three processes: frames through a stream, and for comparison as pickles over pipes.

Both ways the camera fills each frame anew and both detectors read every byte of it and check it. Through
the stream the camera fills the shared memory that the detectors then look at; over pipes each frame is
serialised, written and read once for each of them.

    python examples/vision.py [--megabytes 100] [--frames 40]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.connection import Connection

import numpy as np
from common import MB, modelfs, mounted

DETECTORS = 2
SLOTS = 4
Array = np.ndarray


def fill(frame: Array, number: int) -> None:
    """What a camera does: every byte of a frame is new."""
    frame[:] = number


def detect(frame: Array, number: int) -> None:
    """What a detector does, as far as memory is concerned: it reads every byte. And it knows what must be there."""
    if int(frame.sum()) != number * frame.size:
        raise AssertionError(f"frame {number} is not what was sent")


def stream_detector(me: int) -> None:
    """A process that reads the stream. It notes how far it is in a tensor of the session, which the camera
    looks at: so nobody misses a frame here. A camera that cannot wait would not look; then ``reader.missed``
    counts what a detector was too slow for."""
    session = modelfs.Session("vision")
    seen = session.open("seen", writable=True)
    with session.stream("frames") as reader:
        seen[me] = 0  # ready
        for frame in reader:
            with frame as array:  # where it lies, no copy; Overrun if it was overwritten meanwhile
                detect(array, frame.number)
            seen[me] = frame.number
        if reader.missed:
            raise AssertionError(f"{reader.missed} frames were missed")


def through_stream(words: int, frames: int) -> float:
    """Seconds for all frames, until both detectors have seen the last."""
    with modelfs.Session("vision", quota="2GiB") as session:
        seen = session.create("seen", DETECTORS, "int64")
        seen[:] = -1
        with session.stream("frames", words, "int64", slots=SLOTS) as camera:
            processes = [start(stream_detector, me) for me in range(DETECTORS)]
            wait_for(seen, 0, processes)
            for number in range(1, SLOTS + 1):  # the first touch of memory is not what is compared
                wait_for(seen, number - 1, processes)
                with camera.slot() as frame:
                    fill(frame, number)
            wait_for(seen, SLOTS, processes)
            began = time.perf_counter()
            for number in range(SLOTS + 1, SLOTS + frames + 1):
                wait_for(seen, number - SLOTS + 1, processes)
                with camera.slot() as frame:  # the next frame's own memory; published at the end of the block
                    fill(frame, number)
            wait_for(seen, SLOTS + frames, processes)
            took = time.perf_counter() - began
        finish(processes)
        session.delete()
    return took


def wait_for(seen: Array, number: int, processes: list[multiprocessing.Process]) -> None:
    while int(seen.min()) < number:
        if any(p.exitcode for p in processes):
            raise SystemExit("a detector failed")
        time.sleep(0.0002)


def pipe_detector(pipe: Connection, done: Connection) -> None:
    while (message := pipe.recv()) is not None:
        number, frame = message
        detect(frame, number)
        done.send(number)


def through_pipes(words: int, frames: int) -> float:
    """The same with multiprocessing's pipes, which pickle."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(2 * DETECTORS)]
    processes = [start(pipe_detector, pipes[2 * i][0], pipes[2 * i + 1][1]) for i in range(DETECTORS)]
    frame = np.empty(words, np.int64)
    began = 0.0
    for number in range(frames + 1):  # number 0 warms up
        if number == 1:
            began = time.perf_counter()
        fill(frame, number)
        for i in range(DETECTORS):
            pipes[2 * i][1].send((number, frame))
        if number in (0, frames):
            for i in range(DETECTORS):
                while pipes[2 * i + 1][0].recv() != number:
                    pass
    took = time.perf_counter() - began
    for i in range(DETECTORS):
        pipes[2 * i][1].send(None)
    finish(processes)
    return took


def start(target: object, *args: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)  # type: ignore[arg-type]
    process.start()
    return process  # type: ignore[return-value]


def finish(processes: list[multiprocessing.Process]) -> None:
    for process in processes:
        process.join(30)
        if process.exitcode != 0:
            raise SystemExit(f"a detector ended with {process.exitcode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="of a frame")
    parser.add_argument("--frames", type=int, default=40)
    args = parser.parse_args()
    words = args.megabytes * MB // 8
    with mounted():
        shared = args.frames / through_stream(words, args.frames)
    few = max(args.frames // 4, 2)
    piped = few / through_pipes(words, few)
    print(f"{args.frames} frames of {args.megabytes} MB from one process to {DETECTORS}, each checked whole")
    print(f"stream: {shared:.1f} frames/s, {shared * args.megabytes / 1000:.2f} GB/s")
    print(f"pickle over pipes: {piped:.1f} frames/s, {piped * args.megabytes / 1000:.2f} GB/s")
    print(f"the stream is {shared / piped:.1f} times as fast, the filling and reading of the frames included")


if __name__ == "__main__":
    main()
