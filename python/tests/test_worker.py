# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Handlers of all kinds in a real process, and what it says of those that cannot serve."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import required
from worker_server import FAIL, FILES, HELLO, INFER, LOG, ROOM, STOP, Encoded, Failed, Worker

PYTHON = sys.executable


def write(folder: Path, code: str) -> str:
    """A module with a class H, by the name that --handler takes."""
    path = folder / "handlers.py"
    path.write_text("import numpy as np\nfrom modelfs import worker\n" + code)
    return f"{path}:H"


def started(folder: Path, code: str, *flags: object) -> Worker:
    return Worker("--model", "m", "--handler", write(folder, code), *flags)


EVERYTHING = """
class H:
    def infer(self, inputs, parameters):
        return eval(parameters["do"], {"np": np, "i": inputs, "worker": worker, "sys": sys})
import sys
"""


def test_outputs(tmp_path: Path) -> None:
    with started(tmp_path, EVERYTHING) as worker:
        x = np.arange(12, dtype=np.float32).reshape(3, 4)

        def does(do: str, **more: Any) -> Any:  # noqa: ANN401 - what the handler gives
            return worker.infer({"x": x, "t": [["a", ""], ["ü", "d" * 300]]}, parameters={"do": do}, **more)[0]

        for name in ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"):
            out = does(f"{{'y': i['x'].astype('{name}')}}")["y"]
            assert out.dtype == np.dtype(name) and out.tolist() == x.astype(name).tolist()
        assert does("{'y': i['x'].T}")["y"].tolist() == x.T.tolist()
        assert does("{'y': i['x'][:, ::-2]}")["y"].tolist() == x[:, ::-2].tolist()
        assert does("{'y': np.asfortranarray(i['x'])}")["y"].tolist() == x.tolist()
        assert does("{'y': i['x'].astype('>f4')}")["y"].tolist() == x.tolist()
        assert does("{'y': np.broadcast_to(np.float64(3), (2, 2))}")["y"].tolist() == [[3, 3], [3, 3]]
        assert does("{'y': 3.5}")["y"].shape == () and does("{'y': [1, 2]}")["y"].dtype == np.int64
        assert does("{'y': np.empty((0, 3), 'f4')}")["y"].shape == (0, 3)
        assert does("{'y': i['t']}")["y"] == [b"a", b"", "ü".encode(), b"d" * 300]
        assert does("{'y': 'text', 'z': np.array(['x', 'yy']), 'w': np.array([b'a'])}") == {
            "y": [b"text"],
            "z": [b"x", b"yy"],
            "w": [b"a"],
        }
        assert does("{'y': i['x'].flags.writeable, 'z': i['x'].flags.owndata, 'u': i['t'].flags.writeable}") == {
            "y": False,
            "z": False,
            "u": False,
        }
        assert does("{'y': list(i), 'z': len(i), 'a': i.get('no', 5)}") == {"y": [b"x", b"t"], "z": 2, "a": 5}
        for whole in (
            "dict(i)",
            "{**i}",
            "i.copy()",
            "i | {}",
            "{} | i",
            "dict(i.items())",
            "dict(zip(i, i.values()))",
        ):
            assert does(whole)["t"] == [b"a", b"", "ü".encode(), b"d" * 300], whole
        assert list(does("{'b': 2, 'a': 1, 'c': 3}", asked=("c", "a"))) == ["c", "a"]
        assert worker.rooms == []
        assert does("{'y': i['x'], 'z': i['x']}", room=64)["z"].tolist() == x.tolist()
        assert does("{'y': i['x'], 'z': i['x']}", room=200, offset=3)["z"].tolist() == x.tolist()
        assert len(worker.rooms) == 1 and worker.rooms[0] <= 256
        assert "torch" not in does("{'y': list(sys.modules)}")["y"], "torch is imported without need"


def test_wrong_outputs(tmp_path: Path) -> None:
    with started(tmp_path, EVERYTHING) as worker:
        for do, code, text, more in (
            ("3", 13, "infer returned a int, not a dict of arrays by name", {}),
            ("{'y': {}['k']}", 13, "KeyError: 'k'", {}),
            ("{1: 2}", 13, "infer returned an output of the name 1", {}),
            ("{'': 2}", 13, "infer returned an output of the name ''", {}),
            ("{'y': np.longdouble(2)}", 13, "output 'y' is an array of", {}),
            ("{'y': np.zeros(3, 'c8')}", 13, "output 'y' is an array of complex64", {}),
            (
                "{'y': np.array([3], object)}",
                13,
                "TypeError: an element of a BYTES tensor is bytes or str, not int",
                {},
            ),
            ("{'y': np.zeros((2, 3))}", 13, "output 'y' of a batch of 3 rows has shape [2, 3]", {"rows": 3}),
            ("{'y': 1}", 13, "infer returned no 'z', which was asked for, but y", {"asked": ("z",)}),
            ("(_ for _ in ()).throw(worker.InvalidArgument('not so'))", 3, "not so", {}),
            ("(_ for _ in ()).throw(worker.Unavailable('later'))", 14, "later", {}),
            ("(x for x in [1])", 13, "infer returned a generator: a handler that streams is a generator function", {}),
            ("i['x'].__setitem__(0, 1)", 13, "ValueError: assignment destination is read-only", {}),
            ("i['t']", 13, "infer returned a ndarray, not a dict of arrays by name", {}),
        ):
            with pytest.raises(Failed) as failed:
                worker.infer({"x": np.zeros(2), "t": ["a"]}, parameters={"do": do}, **more)
            assert (failed.value.code, str(failed.value)[: len(text)]) == (code, text)
        assert any("KeyError" in line and "Traceback" in line for line in worker.log)
        assert worker.infer({}, parameters={"do": "{'y': 1}"})[0]["y"] == 1


def test_declared(tmp_path: Path) -> None:
    code = """
class H:
    inputs = [("x", "FP32", [-1, 3]), ("n", "int64", [None])]
    outputs = [("y", np.float32, [3]), ("b", "BF16", [])]
    max_batch = 4
    async def load(self, model): self.model = model
    def infer(self, inputs):
        y = [[1, 2, 3], [4, 5, 6]] if len(inputs) else np.zeros((2, 3))
        return {"y": y, "b": np.array([16256, 16384], np.uint16)}
"""
    with started(tmp_path, code) as worker:
        assert worker.hello == {
            "platform": "python",
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "n", "datatype": "INT64", "shape": [-1]},
            ],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [3]},
                {"name": "b", "datatype": "BF16", "shape": []},
            ],
            "max_batch": 4,
            "decoupled": False,
            "concurrency": 1,
        }
        (out,) = worker.infer({"x": np.zeros((2, 3), np.float32)}, rows=2)
        assert out["y"].dtype == np.float32 and out["b"].tolist() == [16256, 16384]
        with pytest.raises(Failed, match="output 'y' is FP64, and the model says FP32"):
            worker.infer({}, rows=2)


def test_declared_shapes(tmp_path: Path) -> None:
    code = """
class H:
    outputs = [("one", "FP32", [1]), ("any", "FP32", [-1, 2]), ("none", "FP32", [])]
    def infer(self, inputs, parameters):
        return {n: np.zeros(parameters["shape"], np.float32) for n in parameters["names"].split()}
"""
    batched = code.replace("def infer", "max_batch = 8\n    def infer")
    for source, rows in ((code, 0), (batched, 3)):
        first = [rows] if rows else []
        with started(tmp_path, source) as worker:

            def shaped(
                name: str, *shape: int, worker: Worker = worker, first: list[int] = first, rows: int = rows
            ) -> list[int]:
                parameters = {"names": name, "shape": [*first, *shape]}
                (out,) = worker.infer({}, parameters=parameters, rows=rows, asked=(name,))
                return list(out[name].shape)[len(first) :]

            for _ in range(2):
                assert shaped("one", 1) == [1]
                assert shaped("any", 0, 2) == [0, 2] and shaped("any", 7, 2) == [7, 2]
                assert shaped("none") == []
                for name, shape, says in (
                    ("one", (3,), [1]),
                    ("one", (), [1]),
                    ("one", (1, 1), [1]),
                    ("any", (2, 3), [-1, 2]),
                    ("none", (1,), []),
                ):
                    of, want = [*first, *shape], [-1, *says] if rows else says
                    with pytest.raises(Failed) as failed:
                        shaped(name, *shape)
                    assert failed.value.code == 13
                    assert f"output {name!r} has shape {of}, and the model says {want} (-1: any)" == str(failed.value)


def test_torch(tmp_path: Path) -> None:
    required.package("torch", "torch")
    code = """
import torch
class H:
    def infer(self, inputs):
        x = torch.arange(6, dtype=torch.float32).reshape(2, 3).requires_grad_()
        return {"y": x.T, "b": torch.tensor([1.0, 2.0]).bfloat16(), "h": x.half()}
"""
    with started(tmp_path, code) as worker:
        (out,) = worker.infer({})
        assert out["y"].tolist() == [[0, 3], [1, 4], [2, 5]]
        assert out["b"].tolist() == [0x3F80, 0x4000] and out["h"].dtype == np.float16


def test_streams(tmp_path: Path) -> None:
    for kind in ("def", "async def"):
        code = f"""
class H:
    {kind} infer(self, inputs):
        for k in range(3):
            yield {{"k": np.full(k, k)}}
"""
        with started(tmp_path, code) as worker:
            assert worker.hello["decoupled"]
            responses = worker.infer({}, room=0)
            assert [r["k"].tolist() for r in responses] == [[], [1], [2, 2]]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_package_at_all\nclass H: pass", f":H needs the package no_such_package_at_all: {PYTHON} -m pip install no_such_package_at_all"),
        ("class G: pass", "has no H"),
        ("class H: pass", ":H has no method infer(self, inputs)"),
        ("class H:\n inputs = [('x', 'FP31', [])]\n def infer(self, i): pass", ":H.inputs: x has no datatype 'FP31'"),
        ("class H:\n outputs = ['x']\n def infer(self, i): pass", ":H.outputs has 'x', and is a list of (name, datatype, shape)"),
        ("class H:\n max_batch = -1\n def infer(self, i): pass", ":H.max_batch is -1"),
        ("class H:\n def load(self, m): raise OSError(2, 'no ' + m)\n def infer(self, i): pass", "cannot load m: FileNotFoundError: [Errno 2] no m"),
        ("class H:\n def load(self, m): from numpy import nonsense\n def infer(self, i): pass", "cannot be imported in"),
    ],
)  # fmt: skip
def test_unusable(tmp_path: Path, code: str, says: str) -> None:
    with started(tmp_path, code) as worker:
        assert says in worker.hello["error"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_sigterm(tmp_path: Path, kind: str) -> None:
    """It ends when what runs is done, and at once when nothing does. SIGINT means nothing to it."""
    code = f"""
import logging, time
class H:
    {kind} infer(self, inputs):
        logging.warning("it runs")
        time.sleep(1)
        return {{"y": 1}}
"""
    with started(tmp_path, code) as worker:
        worker.process.send_signal(signal.SIGINT)
        id = worker.begin({})
        worker.process.send_signal(signal.SIGINT)
        assert b"it runs" in worker.socket.recv(1 << 17)
        worker.process.send_signal(signal.SIGTERM)
        kind_, _, count, answered, _ = worker.receive()
        assert (answered, count) == (id, 1) and kind_ != FAIL
        assert worker.process.wait(30) == 0
    with started(tmp_path, code) as worker:
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0


@pytest.mark.parametrize("kind", ["def", "async def", "concurrency = 2\n    def"])
def test_sigterm_while_it_closes(tmp_path: Path, kind: str) -> None:
    """close() comes to its end, and nothing is raised in it."""
    code = f"""
import logging, time
class H:
    {kind} infer(self, inputs): pass
    def close(self):
        logging.warning("closing")
        try:
            time.sleep(1)
            logging.warning("closed")
        except BaseException as error:
            logging.warning("%r", error)
"""
    with started(tmp_path, code) as worker:
        worker.socket.send(struct.pack("<HHIQ", STOP, 0, 0, 0))
        assert b"closing" in worker.socket.recv(1 << 17)
        worker.process.send_signal(signal.SIGTERM)
        assert b"closed" in worker.socket.recv(1 << 17)
        assert worker.process.wait(30) == 0


def test_numbers() -> None:
    """The records' types are the same here and there."""
    from modelfs.worker import records

    assert (HELLO, FILES, INFER, FAIL, ROOM, STOP, LOG) == (
        records.HELLO,
        records.FILES,
        records.INFER,
        records.FAIL,
        records.ROOM,
        records.STOP,
        records.LOG,
    )


def test_broken_bytes(tmp_path: Path) -> None:
    with started(tmp_path, EVERYTHING) as worker:
        for data, says in (
            (b"abc", "its BYTES elements do not fill their memory"),
            (struct.pack("<I", 9) + b"a", "a BYTES element of 9 bytes where 1 are left"),
            (struct.pack("<I", 1) + b"a", "1 BYTES elements for shape [2]"),
            (b"", "0 BYTES elements for shape [2]"),
        ):
            with pytest.raises(Failed) as failed:
                worker.infer({"t": Encoded(data, (2,))}, parameters={"do": "{'y': i['t']}"})
            assert (failed.value.code, str(failed.value)) == (3, f"input 't': {says}")
        assert not worker.log, "a caller's mistake is logged"


def test_broken_records() -> None:
    """What is no record is refused, whatever is wrong with it."""
    from modelfs.worker import records

    good = struct.pack("<HHIQ QQQ HHI q II", INFER, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    good += struct.pack("<QQQ BBH I q", 1, 0, 4, 11, 1, 1, 0, 1) + b"x" + bytes(7)
    assert records.call(memoryview(good)).inputs[0].shape == (1,)
    for n in range(len(good)):
        with pytest.raises(records.BrokenProtocol):
            records.call(memoryview(good[:n]))
    rng = np.random.default_rng(1)
    for _ in range(2000):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), 3):
            bad[at] = rng.integers(0, 256)
        try:
            call = records.call(memoryview(bytes(bad)))
        except records.BrokenProtocol:
            continue
        assert len(call.inputs) + len(call.outputs) <= 1
    for make in (records.files, records.keys):
        with pytest.raises(records.BrokenProtocol):
            make(memoryview(good), 1000)
    with pytest.raises(records.BrokenProtocol):
        records.region(memoryview(good))


def test_end_of_the_server(tmp_path: Path) -> None:
    """A handler whose server is gone ends."""
    with started(tmp_path, EVERYTHING) as worker:
        worker.socket.shutdown(socket.SHUT_RDWR)
        assert worker.process.wait(30) == 0


def test_nothing_is_kept(tmp_path: Path) -> None:
    """Descriptors that are handed over are closed once they are mapped."""
    with started(tmp_path, EVERYTHING) as worker:
        worker.infer({"x": np.zeros(3)}, parameters={"do": "{'y': 1}"})
        before = len(os.listdir(f"/proc/{worker.process.pid}/fd"))
        for _ in range(20):
            worker.send_file(worker.inputs, False)
            worker.infer({"x": np.zeros(3)}, parameters={"do": "{'y': i['x']}"})
        assert len(os.listdir(f"/proc/{worker.process.pid}/fd")) == before
        maps = Path(f"/proc/{worker.process.pid}/maps").read_text()
        assert maps.count("modelfs-test") <= 3
