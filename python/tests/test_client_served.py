# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The clients against the real server, in a real mount."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mounts
import numpy as np
import pytest

pytest.importorskip("grpc")

import modelfs
from modelfs.client_call import THRESHOLD
from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer

HANDLERS = Path(__file__).resolve().parents[2] / "tests" / "python" / "handlers"
MODELS = ("Sum", "Echo", "Count", "Moody", "MoodyStream")
LARGE = np.arange(4 * THRESHOLD, dtype=np.uint8).reshape(4, -1)
PATIENCE = 60.0  # generous: the machine may be busy


class Serving:
    """`modelfs serve` that can be killed and started again at the same address."""

    def __init__(self, binary: Path, mount: Path, folder: Path, *flags: str) -> None:
        self.binary, self.mount, self.log, self.flags = binary, mount, folder / "log", flags
        self.socket = f"unix:{folder}/s.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        where = ["--mount", str(self.mount)]
        flags = [part for name in MODELS for part in ("--model", f"{name.lower()}=served_models:{name}")]
        environment = mounts.environment() | {"PYTHONPATH": str(HANDLERS)}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [self.binary, *where, "serve", "--listen", self.socket, "--listen", "127.0.0.1:0", *flags, *self.flags]
                + ["--python", sys.executable],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        process = self.process
        mounts.eventually("ready", lambda: process.poll() is not None or "modelfs: ready: " in self.log.read_text())
        assert process.poll() is None, self.log.read_text()

    @property
    def tcp(self) -> str:
        return self.log.read_text().split("modelfs: ready: ")[1].split()[1]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


@pytest.fixture(scope="module")
def point(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounts.mounted(binary, tmp_path_factory.mktemp("models")) as mount:
        yield mount.point


@contextlib.contextmanager
def serving(binary: Path, point: Path, folder: Path, *flags: str) -> Iterator[Serving]:
    made = Serving(binary, point, folder, *flags)
    try:
        made.start()
        yield made
    except BaseException:
        print(made.log.read_text(errors="replace"), file=sys.stderr)
        raise
    finally:
        made.end()


@pytest.fixture(scope="module")
def server(binary: Path, point: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(binary, point, tmp_path_factory.mktemp("server")) as made:
        with modelfs.Client(mount=point) as client:
            client.wait_ready(PATIENCE)
        yield made


def client_of(point: Path, model: str, **options: Any) -> modelfs.Client:  # noqa: ANN401
    return modelfs.Client(model, mount=point, **{"timeout": PATIENCE, **options})


def sessions(point: Path) -> list[str]:
    return sorted(name for name in os.listdir(point / "sessions") if name.startswith("client-"))


def test_infer(server: Serving, point: Path) -> None:
    with client_of(point, "echo") as client:
        assert client.address == server.socket and client.ready()
        given = {
            "a": np.float32([[1, 2], [3, 4]]),
            "b": np.array([True, False]),
            "s": [b"x", "ü"],
            "e": np.zeros((0, 2)),
        }
        for _ in range(2):
            result = client.infer(given, id="7", priority=1)
            assert (result.id, result.model, set(result)) == ("7", "echo", set(given))
            for name in "abe":
                assert result[name].dtype == given[name].dtype
                np.testing.assert_array_equal(result[name], given[name])
            assert result["s"].tolist() == [b"x", "ü".encode()]
        assert list(client.infer(given, ["b"])) == ["b"]
        assert client.fallbacks == 0
    assert not sessions(point)


def test_by_reference(server: Serving, point: Path) -> None:
    """Large inputs go as paths; outputs whose size is known come as views, each in memory of its own for as long as
    somebody looks at it. The control: without references they are views on what was received."""
    with client_of(point, "echo", by_reference="never") as client:
        assert not client.infer({"x": LARGE})["x"].flags.writeable
        assert not sessions(point)
    with client_of(point, "echo") as client:
        first = client.infer({"x": LARGE})["x"]
        assert not first.flags.writeable, "nobody knew the size of the output"
        kept = [client.infer({"x": LARGE + i})["x"] for i in range(5)]
        assert all(array.flags.writeable for array in kept), "these came inline"
        for i, array in enumerate(kept):
            np.testing.assert_array_equal(array, LARGE + i)
        (session,) = sessions(point)
        files = len(os.listdir(point / "sessions" / session))
        part = kept[0][1, 5:9]
        del kept, array
        gc.collect()
        for i in range(20):
            np.testing.assert_array_equal(client.infer({"x": LARGE + i})["x"], LARGE + i)
        assert len(os.listdir(point / "sessions" / session)) <= files, "regions are not used again"
        np.testing.assert_array_equal(part, LARGE[1, 5:9])
        assert client.fallbacks == 0
        survivor = client.infer({"x": LARGE})["x"]
    np.testing.assert_array_equal(survivor, LARGE)
    assert not sessions(point)


def test_arrays_of_sessions(server: Serving, point: Path) -> None:
    """What lies in a session is named, not copied, be it an input or the place of an output."""
    with modelfs.Session("camera", mount=point) as session, client_of(point, "echo") as client:
        for name in ("frame", "frame.npy"):
            frame = session.create(name, LARGE.shape, np.uint8)
            frame[:] = LARGE
            out = session.create("out-" + name, LARGE.shape, np.uint8)
            result = client.infer({"x": frame}, {"x": out})
            assert result["x"] is out
            np.testing.assert_array_equal(out, LARGE)
            assert not sessions(point), "something was copied"
        for other in (frame[1:], frame.T, frame[:, ::2]):
            np.testing.assert_array_equal(client.infer({"x": other})["x"], other)
        session.create("frame.npy", LARGE.shape, np.uint8)  # another file of the name: the old one is nameless now
        np.testing.assert_array_equal(client.infer({"x": frame})["x"], LARGE)
        counted = session.create("counted", (5,), np.int32)
        result = client.infer({"x": np.int32([[1, 2]])}, {"x": counted})["x"]
        assert result.tolist() == [[1, 2]] and np.shares_memory(result, counted), "another shape, and there is room"
        with pytest.raises(InferenceError, match=r"output 'x' is FP32 of \(4,\): .* array of int32 of \(5,\)"):
            client.infer({"x": np.ones(4, np.float32)}, {"x": counted})
        with pytest.raises(InferenceError):
            client.infer({"x": np.arange(6, dtype=np.int32)}, {"x": counted})
        square = session.create("square", (3, 3), np.uint8)
        for elsewhere in (np.zeros_like(square), square.T):
            with pytest.raises(ValueError, match="array of a session"):
                client.infer({"x": square}, {"x": elsewhere})
        assert client.fallbacks == 0
        session.delete()


def test_outputs_that_grow(server: Serving, point: Path) -> None:
    """An output that does not fit into what an earlier one took comes nevertheless."""
    with client_of(point, "echo") as client:
        for n in (1, 9, 2, 30, 1):
            words = [bytes([n]) * (THRESHOLD // 2), b"y" * (n * THRESHOLD)]
            for _ in range(2):
                assert client.infer({"x": words})["x"].tolist() == words


def test_without_references(binary: Path, server: Serving, point: Path, tmp_path: Path) -> None:
    """Over TCP, and by a server of another mount, the bytes go inline, and that is counted."""
    with modelfs.Client("echo", address=server.tcp, mount=point, timeout=PATIENCE) as client:
        for i in range(3):
            np.testing.assert_array_equal(client.infer({"x": LARGE})["x"], LARGE)
            assert client.fallbacks == i + 1
        client.infer({"x": LARGE[0, :10]})
        assert client.fallbacks == 3
    (tmp_path / "models").mkdir()
    with mounts.mounted(binary, tmp_path / "models") as elsewhere, serving(binary, elsewhere.point, tmp_path) as other:
        with modelfs.Client("echo", address=other.socket, mount=point, timeout=PATIENCE) as client:
            client.wait_ready(PATIENCE)
            for i in range(3):
                np.testing.assert_array_equal(client.infer({"x": LARGE})["x"], LARGE)
                assert client.fallbacks == i + 1
        always = modelfs.Client("echo", address=other.socket, mount=point, by_reference="always", timeout=PATIENCE)
        with always, pytest.raises(InferenceError, match="NOT_FOUND"):
            always.infer({"x": LARGE})
    assert not sessions(point)


def test_stream(server: Serving, point: Path) -> None:
    with client_of(point, "count") as client:
        for n in (0, 1, 50):
            assert [int(r["i"][0]) for r in client.stream({"n": np.int32([n])})] == list(range(n))
        running = client.stream({"n": np.int32([1_000_000])})
        assert int(next(running)["i"][0]) == 0
        running.close()
        with pytest.raises(InferenceError, match="ModelStreamInfer"):
            client.infer({"n": np.int32([1])})
        with pytest.raises(InferenceError):
            list(client.stream({"wrong": np.int32([1])}))


def test_streams_that_fail(server: Serving, point: Path, tmp_path: Path) -> None:
    """As other calls do: with the handler's code; and one that was not answered is made again."""
    with client_of(point, "moodystream") as client:
        died = tmp_path / "died"
        with pytest.raises(InferenceError, match="told to fail") as caught:
            list(client.stream({"what": ["fail"], "file": [str(died)]}))
        assert caught.value.code == "INVALID_ARGUMENT"
        assert len(list(client.stream({"what": ["die"], "file": [str(died)]}))) == 1 and died.exists()


def test_errors(server: Serving, point: Path) -> None:
    """Each comes at once, with a code and a reason; none hangs."""
    with client_of(point, "moody", timeout=None) as client:
        with pytest.raises(InferenceError, match="told to fail"):
            client.infer({"what": ["fail"]})
        with pytest.raises(InferenceError) as caught:
            client.infer({"what": [b"x"]}, model="nobody")
        assert caught.value.code == "NOT_FOUND"
        with pytest.raises(TypeError, match="complex64"):
            client.infer({"what": np.zeros(3, np.complex64)})
    with (
        modelfs.Client("nobody", address=server.socket) as client,
        pytest.raises(InferenceError, match="no model 'nobody'"),
    ):
        client.infer({"x": LARGE})
    with client_of(point, "echo", by_reference="never") as client, pytest.raises(InferenceTimeout):
        client.infer({"x": np.zeros(64 << 20, np.uint8)}, timeout=1e-6)
    with pytest.raises(NoServer), modelfs.Client("nobody", mount=point, timeout=0.3) as client:
        client.metadata()
    with pytest.raises(ValueError, match="which"), modelfs.Client(mount=point) as client:
        client.infer({"x": LARGE})


def test_a_call_that_kills_handlers(server: Serving, point: Path) -> None:
    """It is made again once, and others are answered soon."""

    def ended(what: str, number: int) -> None:
        mounts.eventually(what, lambda: server.log.read_text().count("handler failed") - before == number)
        with client_of(point, "moody") as client:
            client.wait_ready(PATIENCE)
            assert client.infer({"what": [b"live"]})["pid"][0] > 0

    before = server.log.read_text().count("handler failed")
    with client_of(point, "moody") as client, pytest.raises(InferenceError) as died:
        client.infer({"what": [b"die"]})
    assert died.value.code == "UNAVAILABLE" and died.value.final
    ended("two have died", 2)

    async def call() -> None:
        async with modelfs.AsyncClient("moody", mount=point, timeout=PATIENCE) as client:
            await client.infer({"what": [b"die"]})

    with pytest.raises(InferenceError) as died:
        asyncio.run(call())
    assert died.value.code == "UNAVAILABLE" and died.value.final
    ended("two more have died", 4)


def test_repository(server: Serving, point: Path) -> None:
    with client_of(point, "sum") as client:
        assert {m.name for m in client.models()} == {name.lower() for name in MODELS}
        assert client.metadata().inputs[0].datatype == "UINT8"
        assert client.config().name == "sum" and client.server().name
        client.infer({"data": LARGE.ravel()})
        assert client.statistics()[0].inference_count >= 1
        client.unload()
        assert not client.ready()
        with pytest.raises(InferenceError, match="unloaded"):
            client.infer({"data": LARGE.ravel()})
        with pytest.raises(InferenceError, match="unloaded"):
            client.wait_ready(PATIENCE)
        client.load()
        client.wait_ready(PATIENCE)
        assert client.infer({"data": np.ones(4096, np.uint8)})["sum"][0] == 1


def test_async(server: Serving, point: Path) -> None:
    async def main() -> None:
        async with modelfs.AsyncClient("echo", mount=point, timeout=PATIENCE) as client:
            await client.wait_ready(PATIENCE)
            assert await client.ready()
            for _ in range(2):
                results = await asyncio.gather(*(client.infer({"x": LARGE + i}) for i in range(8)))
                for i, result in enumerate(results):
                    np.testing.assert_array_equal(result["x"], LARGE + i)
            assert results[0]["x"].flags.writeable and client.fallbacks == 0
            assert (await client.metadata()).name == "echo" and len(await client.models()) == len(MODELS)
        async with modelfs.AsyncClient("count", mount=point, timeout=PATIENCE) as client:
            assert [int(r["i"][0]) async for r in client.stream({"n": np.int32([20])})] == list(range(20))
        async with modelfs.AsyncClient("nobody", address=server.socket) as client:
            with pytest.raises(InferenceError, match="no model 'nobody'"):
                await client.infer({"x": LARGE})

    asyncio.run(main())
    assert not sessions(point)


@pytest.mark.parametrize("how", ["socket", "mount", "async"])
def test_server_that_is_killed(binary: Path, point: Path, tmp_path: Path, how: str) -> None:
    """A server that is killed and comes back costs time, and no call: small ones, and large ones by reference both
    ways."""
    with serving(binary, point, tmp_path) as server:
        address = {} if how == "mount" else {"address": server.socket}
        options: dict[str, Any] = {"mount": point, "timeout": PATIENCE, **address}
        stop, done, failed = threading.Event(), [0, 0], []

        def run(large: bool) -> None:
            array = LARGE if large else LARGE[:1, :9]
            with modelfs.Client("echo", **options) as client:
                while not stop.is_set():
                    i = done[large] % 100
                    np.testing.assert_array_equal(client.infer({"x": array + i})["x"], array + i)
                    done[large] += 1

        async def run_async(large: bool) -> None:
            array = LARGE if large else LARGE[:1, :9]
            async with modelfs.AsyncClient("echo", **options) as client:
                while not stop.is_set():
                    i = done[large] % 100
                    np.testing.assert_array_equal((await client.infer({"x": array + i}))["x"], array + i)
                    done[large] += 1

        def watched(large: bool) -> None:
            try:
                asyncio.run(run_async(large)) if how == "async" else run(large)
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        with modelfs.Client("echo", **options) as client:
            client.wait_ready(PATIENCE)
        threads = [threading.Thread(target=watched, args=(large,)) for large in (False, True)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                before = list(done)
                mounts.eventually(
                    "calls are answered",
                    lambda b=before: all(d > n + 5 for d, n in zip(done, b, strict=True)) or bool(failed),
                )
                server.kill()
                time.sleep(0.25)  # what an operator's restart takes
                server.start()
            before = list(done)
            mounts.eventually(
                "calls are answered again",
                lambda: all(d > n + 5 for d, n in zip(done, before, strict=True)) or bool(failed),
            )
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert not failed
