# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""`modelfs serve` as clients see it that know nothing of modelfs: tritonclient and
grpcio-health-checking, unmodified."""

from __future__ import annotations

import queue
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import mounts
import numpy as np
import onnxruntime
import pytest
import serving
import silero_vad
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException, shared_memory

SILERO = Path(silero_vad.__file__).parent / "data" / "silero_vad.onnx"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "silero-vad").mkdir()
    (folder / "silero-vad" / "silero_vad.onnx").write_bytes(SILERO.read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(binary: Path, models: Path) -> Iterator[serving.Server]:
    flags = ["--model", "silero-vad", "--max-batch", "16", "--max-delay", "20ms", "--allow-client-shm"]
    for name in ("Sum", "Echo", "Scale", "Count", "Moody"):
        flags += ["--model", f"{name.lower()}=served_models:{name}"]
    with mounts.mounted(binary, models) as mount, serving.served(binary, mount, *flags) as running:
        client = triton.InferenceServerClient(running.socket)
        mounts.eventually("all models are ready", client.is_server_ready)
        client.close()
        yield running


@pytest.fixture
def client(server: serving.Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.socket) as c:
        yield c


def given(name: str, array: np.ndarray, datatype: str) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def silero_inputs(seed: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(seed)
    return {
        "input": noise.standard_normal((1, 576), dtype=np.float32),
        "state": noise.standard_normal((2, 1, 128), dtype=np.float32),
        "sr": np.array(16000, np.int64),
    }


def test_a_model_without_code_is_what_its_runtime_computes(client: triton.InferenceServerClient) -> None:
    session = onnxruntime.InferenceSession(SILERO, providers=["CPUExecutionProvider"])
    for seed in range(5):
        inputs = silero_inputs(seed)
        want = session.run(None, inputs)
        got = client.infer(
            "silero-vad",
            [
                given("input", inputs["input"], "FP32"),
                given("state", inputs["state"], "FP32"),
                given("sr", inputs["sr"], "INT64"),
            ],
        )
        for out, expected in zip(session.get_outputs(), want, strict=True):
            np.testing.assert_array_equal(got.as_numpy(out.name), expected)


@pytest.mark.parametrize("size", [1, 1000, 1_000_000, 100_000_000])
def test_sizes(client: triton.InferenceServerClient, size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    got = client.infer("sum", [given("data", data, "UINT8")])
    assert got.as_numpy("sum")[0] == data[::4096].sum(dtype=np.int64)


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("BOOL", np.array([[True, False]])),
        ("INT8", np.array([-1], np.int8)),
        ("UINT64", np.array([2**64 - 1], np.uint64)),
        ("FP16", np.array([[1.5], [2.5]], np.float16)),
        ("FP64", np.arange(24.0).reshape(2, 3, 4)),
        ("BYTES", np.array([b"", b"a", "é".encode() * 1000], np.object_)),
        ("FP32", np.empty((0, 4), np.float32)),
        ("FP32", np.array(1.5, np.float32)),
    ],
)
def test_what_goes_in_comes_out(client: triton.InferenceServerClient, datatype: str, array: np.ndarray) -> None:
    got = client.infer("echo", [given("x", array, datatype)]).as_numpy("x")
    assert got.shape == array.shape
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("algorithm", ["gzip"])
def test_compressed(client: triton.InferenceServerClient, algorithm: str) -> None:
    data = np.tile(np.arange(100, dtype=np.float32), 10_000)
    got = client.infer("echo", [given("x", data, "FP32")], compression_algorithm=algorithm)
    np.testing.assert_array_equal(got.as_numpy("x"), data)


def test_typed_contents_are_taken_as_well(server: serving.Server) -> None:
    request = triton.service_pb2.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name="x", datatype="INT16", shape=[2])
    tensor.contents.int_contents.extend([-7, 300])
    with grpc.insecure_channel(server.tcp) as channel:
        got = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert np.frombuffer(got.raw_output_contents[0], np.int16).tolist() == [-7, 300]


def test_a_batch_is_what_its_calls_would_be(client: triton.InferenceServerClient) -> None:
    rows = [np.full((1 + i % 3, 2 + i % 2), i, np.float32) for i in range(60)]
    with ThreadPoolExecutor(30) as pool:
        got = list(pool.map(lambda x: client.infer("scale", [given("x", x, "FP32")]), rows))
    for x, g in zip(rows, got, strict=True):
        np.testing.assert_array_equal(g.as_numpy("y"), x * x.shape[1])
        assert g.as_numpy("batch").shape == (len(x), 1)
    assert max(g.as_numpy("batch").max() for g in got) > 3, "nothing was joined"
    too_many = np.zeros((33, 2), np.float32)
    with pytest.raises(InferenceServerException, match="INVALID_ARGUMENT.*33"):
        client.infer("scale", [given("x", too_many, "FP32")])


def test_streams(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("count", [given("n", np.array([5], np.int32), "INT32")], request_id="a")
    got = [answers.get(timeout=60)[0] for _ in range(5)]
    assert [g.as_numpy("i")[0] for g in got] == list(range(5))
    assert {g.get_response().id for g in got} == {"a"}
    client.async_stream_infer(
        "count", [given("n", np.array([0], np.int32), "INT32")], request_id="b", enable_empty_final_response=True
    )
    last = answers.get(timeout=60)[0].get_response()
    assert last.id == "b" and last.parameters["triton_final_response"].bool_param and not last.outputs
    client.async_stream_infer("moody", [given("what", np.array([b"fail"], np.object_), "BYTES")])
    assert "ValueError: it was told to fail" in str(answers.get(timeout=60)[1])
    client.async_stream_infer("sum", [given("data", np.zeros(9000, np.uint8), "UINT8")])  # the stream goes on
    assert answers.get(timeout=60)[0].as_numpy("sum")[0] == 0
    client.stop_stream()
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.infer("count", [given("n", np.array([1], np.int32), "INT32")])


def test_system_shared_memory(client: triton.InferenceServerClient) -> None:
    data = np.arange(100_000, dtype=np.int32)
    region = shared_memory.create_shared_memory_region("in", "/modelfs-test-in", data.nbytes)
    out = shared_memory.create_shared_memory_region("out", "/modelfs-test-out", data.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [data])
        client.register_system_shared_memory("in", "/modelfs-test-in", data.nbytes)
        client.register_system_shared_memory("out", "/modelfs-test-out", data.nbytes)
        with pytest.raises(InferenceServerException, match="ALREADY_EXISTS"):
            client.register_system_shared_memory("in", "/modelfs-test-in", data.nbytes)
        status = client.get_system_shared_memory_status().regions
        assert {n: r.byte_size for n, r in status.items()} == {"in": data.nbytes, "out": data.nbytes}
        tensor = triton.InferInput("x", list(data.shape), "INT32")
        tensor.set_shared_memory("in", data.nbytes)
        wanted = triton.InferRequestedOutput("x")
        wanted.set_shared_memory("out", data.nbytes)
        got = client.infer("echo", [tensor], outputs=[wanted])
        assert not got.get_response().raw_output_contents[0]
        np.testing.assert_array_equal(shared_memory.get_contents_as_numpy(out, np.int32, data.shape), data)
        tensor.set_shared_memory("in", data.nbytes, offset=4)
        with pytest.raises(InferenceServerException, match=r"OUT_OF_RANGE|INVALID_ARGUMENT"):
            client.infer("echo", [tensor])
        client.unregister_system_shared_memory("nobody's")
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            client.get_system_shared_memory_status("in")
    finally:
        shared_memory.destroy_shared_memory_region(region)
        shared_memory.destroy_shared_memory_region(out)


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient, server: serving.Server) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("silero-vad")
    about = client.get_server_metadata()
    assert about.name == "modelfs" and "system_shared_memory" in about.extensions
    meta = client.get_model_metadata("scale")
    assert [(t.name, t.datatype, list(t.shape)) for t in meta.inputs] == [("x", "FP32", [-1, -1])]
    config = client.get_model_config("scale").config
    assert config.max_batch_size == 16 and config.dynamic_batching.max_queue_delay_microseconds == 20_000
    assert client.get_model_config("count").config.model_transaction_policy.decoupled
    before = client.get_inference_statistics("echo").model_stats[0]
    client.infer("echo", [given("x", np.zeros(3, np.float32), "FP32")])
    after = client.get_inference_statistics("echo").model_stats[0]
    assert after.inference_count == before.inference_count + 1
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert {m.name: m.state for m in client.get_model_repository_index().models}["echo"] == "READY"
    metrics = urllib.request.urlopen(f"{server.http}/metrics").read().decode()
    assert 'modelfs_inference_requests_total{model="echo",result="success"}' in metrics
    assert 'nv_inference_request_success{model="echo",version="1"}' in metrics
    assert urllib.request.urlopen(f"{server.http}/v2/health/ready").status == 200


def test_models_are_loaded_and_unloaded(client: triton.InferenceServerClient, server: serving.Server) -> None:
    client.unload_model("echo")
    assert not client.is_model_ready("echo")
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.infer("echo", [given("x", np.zeros(3, np.float32), "FP32")])
    client.load_model("echo")
    assert client.is_model_ready("echo")
    with pytest.raises(InferenceServerException, match="file:1/model.onnx"):
        client.load_model("echo", files={"file:1/model.onnx": b"anything"}, config="{}")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("nobody")
    with (
        triton.InferenceServerClient(server.tcp) as stranger,
        pytest.raises(InferenceServerException, match="PERMISSION_DENIED"),
    ):
        stranger.unload_model("echo")


def test_health(server: serving.Server, client: triton.InferenceServerClient) -> None:
    with grpc.insecure_channel(server.socket) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving_now = health_pb2.HealthCheckResponse.SERVING
        assert health.Check(health_pb2.HealthCheckRequest()).status == serving_now
        assert health.Check(health_pb2.HealthCheckRequest(service="echo")).status == serving_now
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        seen: queue.Queue[int] = queue.Queue()
        watch = health.Watch(health_pb2.HealthCheckRequest(service="echo"))

        def follow() -> None:
            try:
                for answer in watch:
                    seen.put(answer.status)
            except grpc.RpcError:
                pass  # cancelled, below

        following = threading.Thread(target=follow)
        following.start()
        assert seen.get(timeout=60) == serving_now
        client.unload_model("echo")
        assert seen.get(timeout=60) == health_pb2.HealthCheckResponse.NOT_SERVING
        client.load_model("echo")
        assert seen.get(timeout=60) == serving_now
        watch.cancel()
        following.join()


def test_a_handler_that_fails_dies_or_hangs(binary: Path, models: Path) -> None:
    flags = ("--model", "moody=served_models:Moody", "--timeout", "1s")
    with (
        mounts.mounted(binary, models) as mount,
        serving.served(binary, mount, *flags) as server,
        triton.InferenceServerClient(server.socket) as client,
    ):
        mounts.eventually("it is ready", client.is_server_ready)

        def call(what: bytes) -> int:
            return int(client.infer("moody", [given("what", np.array([what], np.object_), "BYTES")]).as_numpy("pid")[0])

        first = call(b"")
        with pytest.raises(InferenceServerException, match="INTERNAL.*ValueError: it was told to fail"):
            call(b"fail")
        assert call(b"") == first, "a failed call ended the handler"
        for what in (b"die", b"hang"):
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                call(what)
            mounts.eventually("another one serves", client.is_server_ready)
            second = call(b"")
            assert second != first
            first = second
