# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as a handler: .onnx files of a mount, served without code, give what they give in process."""

from __future__ import annotations

import shutil
from pathlib import Path

import mounts
import numpy as np
import pytest
import required
from worker_server import Failed, Worker


@pytest.fixture
def silero() -> Path:
    required.package("onnxruntime")
    return required.package_folder("silero_vad") / "data" / "silero_vad.onnx"


def probabilities(run, frames: int = 40) -> list[float]:  # noqa: ANN001 - a function of three arrays
    """What a model says of frames of noise, its state handed on from each to the next."""
    rng = np.random.default_rng(7)
    state, found = np.zeros((2, 1, 128), np.float32), []
    for i in range(frames):
        frame = (rng.standard_normal((1, 576)) * (i % 5) / 10).astype(np.float32)
        output, state = run(frame, state, np.array(16000, np.int64))
        found.append(float(output[0, 0]))
    return found


def in_process(path: Path) -> list[float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return probabilities(
        lambda *a: session.run(["output", "stateN"], dict(zip(("input", "state", "sr"), a, strict=True)))
    )


def served(worker: Worker) -> list[float]:
    def run(frame: np.ndarray, state: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (out,) = worker.infer({"input": frame, "state": state, "sr": rate})
        return out["output"], out["stateN"].copy()

    return probabilities(run)


def test_silero(silero: Path) -> None:
    with Worker("--model", "vad", "--file", silero) as worker:
        assert worker.hello["platform"] == "onnxruntime_onnx" and worker.hello["max_batch"] == 0
        assert [(t["name"], t["datatype"]) for t in worker.hello["inputs"]] == [
            ("input", "FP32"),
            ("state", "FP32"),
            ("sr", "INT64"),
        ]
        assert served(worker) == in_process(silero)
        with pytest.raises(Failed, match="input") as refused:
            worker.infer({"state": np.zeros((2, 1, 128), np.float32)})
        assert refused.value.code == 3


def test_silero_from_a_mount(binary: Path, silero: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "vad").mkdir()
    shutil.copy(silero, tmp_path / "vad")
    with (
        mounts.mounted(binary, tmp_path) as mount,
        Worker("--model", "vad", "--mount", mount.point, "--file", silero.name) as worker,
    ):
        assert served(worker) == in_process(silero)


def write_matmul(path: Path, n: int, external: bool) -> None:
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(1)
    weights = [(rng.standard_normal((n, n)) / np.sqrt(n)).astype(np.float32) for _ in range(2)]
    value, f32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w0"], ["h"]),
        onnx.helper.make_node("MatMul", ["h", "w1"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [value("x", f32, ["batch", n])],
        [value("y", f32, ["batch", n])],
        [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path), save_as_external_data=external, location=path.name + ".data" if external else None)


def own_and_mapped(pid: int, place: Path) -> tuple[int, int]:
    """Bytes of a process that are its own, and what it has of files below a folder."""
    own = mapped = 0
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            inside = len(words) > 5 and words[5].startswith(str(place))
        elif words[0] == "Anonymous:":
            own += int(words[1]) << 10
        elif words[0] == "Rss:" and inside:
            mapped += int(words[1]) << 10
    return own, mapped


@pytest.mark.parametrize("external", [False, True], ids=["within", "beside"])
def test_weights_are_shared(binary: Path, tmp_path: Path, external: bool) -> None:
    """The weights are no worker's own, unless they are packed, which is the control."""
    required.package("onnxruntime")
    tmp_path.chmod(0o755)
    (tmp_path / "two").mkdir()
    n = 2048
    size = 2 * n * n * 4
    write_matmul(tmp_path / "two" / "two.onnx", n, external)
    x = np.random.default_rng(0).standard_normal((3, n)).astype(np.float32)
    own = {}
    answers = {}
    with mounts.mounted(binary, tmp_path) as mount:
        for packed in ("", "1"):
            flags = ("--model", "two", "--mount", mount.point, "--file", "two.onnx")
            with Worker(*flags, env={"MODELFS_ONNX_PREPACKING": packed}) as worker:
                assert worker.hello["max_batch"] > 1, "the first dimension is the batch's"
                assert worker.hello["inputs"][0]["shape"] == [n]
                (out,) = worker.infer({"x": x}, rows=3)
                own[packed], mapped = own_and_mapped(worker.process.pid, mount.point)
                if not packed:
                    assert mapped >= size * 0.9, f"{mapped} of {size} bytes are mapped from the mount"
                answers[packed] = out["y"]
    assert own["1"] - own[""] > size * 0.8, f"{own} bytes are the workers' own, of weights of {size}"
    np.testing.assert_allclose(answers[""], answers["1"], rtol=1e-4, atol=1e-4)


def test_no_such_file() -> None:
    required.package("onnxruntime")
    with Worker("--model", "vad", "--file", "/there/is/none.onnx") as worker:
        assert worker.hello["error"] == "vad has no file /there/is/none.onnx"
