# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of the client that need no server: what is sent and what is made of an answer."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("grpc")

from google.protobuf.message import DecodeError

import modelfs
from modelfs.client_channel import Tls, service_config
from modelfs.client_errors import NoServer
from modelfs.client_messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse, set_parameters
from modelfs.client_regions import _size_for
from modelfs.client_tensors import Tensor, array_of, array_of_contents, decode_strings, encode_strings
from modelfs.client_wire import SMALL, Request, Response

PACKAGE = Path(__file__).resolve().parents[1]


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_import_without_grpc() -> None:
    assert (
        python("import sys, modelfs; print('grpc' in sys.modules, 'google.protobuf' in sys.modules)") == "False False"
    )
    missing = (
        "import sys; sys.modules['grpc'] = None; import modelfs\ntry: modelfs.Client\nexcept ImportError as e: print(e)"
    )
    assert "pip install 'modelfs[client]'" in python(missing)


def test_names_of_the_package() -> None:
    """What README.md speaks of is there, and only imported when it is asked for."""
    for name in ("Client", "AsyncClient", "InferenceError", "InferenceTimeout", "NoServer", "Result", "Tls"):
        assert name in modelfs.__all__ and getattr(modelfs, name).__name__ == name
    assert modelfs.NoServer is NoServer and all(hasattr(modelfs, name) for name in modelfs.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        modelfs.nothing  # noqa: B018


@pytest.mark.parametrize("first", ["tritonclient.grpc", "modelfs.client"])
def test_with_tritonclient(first: str) -> None:
    """Both have messages of the same names, and live in one process."""
    pytest.importorskip("tritonclient.grpc")
    second = {"tritonclient.grpc": "modelfs.client", "modelfs.client": "tritonclient.grpc"}[first]
    code = f"""
import {first}, {second}, numpy as np
import tritonclient.grpc as triton
from modelfs.client_errors import NoServer
from modelfs.client_messages import ModelInferRequest
theirs = triton.InferInput("a", [2], "FP32"); theirs.set_data_from_numpy(np.zeros(2, np.float32))
ours = ModelInferRequest(model_name="m"); ours.inputs.add(name="a", datatype="FP32", shape=[2])
read = triton.service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
print(read.model_name, read.inputs[0].name, type(read) is ModelInferRequest)
"""
    assert python(code) == "m a False"


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        ("BOOL", "?"), ("UINT8", "u1"), ("UINT16", "<u2"), ("UINT32", "<u4"), ("UINT64", "<u8"), ("INT8", "i1"),
        ("INT16", "<i2"), ("INT32", "<i4"), ("INT64", "<i8"), ("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8"),
    ],
)  # fmt: skip
def test_datatypes(datatype: str, dtype: str) -> None:
    want = np.arange(12).reshape(3, 4).astype(dtype)
    for value in (want, want.astype(want.dtype.newbyteorder(">")), np.asfortranarray(want), want[::1]):
        tensor = Tensor("a", value)
        assert (tensor.datatype, tensor.shape) == (datatype, (3, 4))
        np.testing.assert_array_equal(array_of(datatype, [3, 4], bytes(tensor.data)), want)
    for empty in (np.zeros((0, 4), dtype), np.zeros((), dtype)):
        tensor = Tensor("a", empty)
        assert array_of(datatype, empty.shape, bytes(tensor.data)).shape == empty.shape


def test_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    want = np.array([1.5, -2.0, 3.0], ml_dtypes.bfloat16)
    tensor = Tensor("a", want)
    assert tensor.datatype == "BF16" and tensor.nbytes == 6
    assert array_of("BF16", [3], tensor.data).dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array_of("BF16", [3], tensor.data), want)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ([b"a", "ü", b""], [b"a", "ü".encode(), b""]),
        (np.array(["ab", "c"]), [b"ab", b"c"]),
        (np.array([b"ab", b"c"]), [b"ab", b"c"]),
        (np.array([["a", b"b"], ["c", "d"]], object), [b"a", b"b", b"c", b"d"]),
        ("one", [b"one"]),
    ],
)
def test_strings(value: Any, want: list[bytes]) -> None:  # noqa: ANN401
    tensor = Tensor("a", value)
    assert tensor.datatype == "BYTES" and decode_strings(tensor.data, len(want)).tolist() == want


def test_refused_arrays() -> None:
    for value in (np.zeros(2, np.complex64), np.zeros(2, "M8[s]"), np.zeros(2, "f4,f4"), np.array([1, None], object)):
        with pytest.raises(TypeError):
            Tensor("a", value)


def test_malformed_answers() -> None:
    good = encode_strings([b"abc", b"d"])
    for data, count in ((good[:-1], 2), (good, 1), (good, 3), (b"\xff\xff\xff\xff", 1)):
        with pytest.raises(ValueError, match="BYTES|left|bytes"):
            decode_strings(data, count)
    with pytest.raises(ValueError, match="has 8 bytes, not 7"):
        array_of("FP32", [2], b"1234567")


def test_contents() -> None:
    contents = ModelInferResponse.InferOutputTensor().contents
    contents.fp32_contents.extend([1, 2])
    contents.bytes_contents.extend([b"a", b"b"])
    assert array_of_contents("FP32", [2, 1], contents).tolist() == [[1], [2]]
    assert array_of_contents("BYTES", [2], contents).tolist() == [b"a", b"b"]


def test_request_bytes() -> None:
    message = ModelInferRequest(model_name="m", id="7")
    set_parameters(message.parameters, {"a": True, "b": -1, "c": 1 << 63, "d": 0.5, "e": "x"})
    raw = [b"", b"x" * 300, memoryview(np.arange(100_000, dtype=np.uint8))]
    got = ModelInferRequest.FromString(Request(message, raw).serialize())
    message.raw_input_contents.extend(bytes(b) for b in raw)
    assert got == message


def test_response_bytes() -> None:
    """What is split by hand is what protobuf reads; no byte of a large tensor is copied."""
    for sizes in ((), (0,), (10, 20), (SMALL, 1, SMALL + 1), (1 << 20,)):
        message = ModelInferResponse(model_name="m", raw_output_contents=[bytes([i]) * n for i, n in enumerate(sizes)])
        for n in sizes:
            message.outputs.add(name="o", shape=[n])
        data = message.SerializeToString()
        got = Response.parse(data)
        assert [bytes(r) for r in got.raw] == list(message.raw_output_contents)
        assert list(got.message.outputs) == list(message.outputs)
        if len(data) > SMALL:
            assert all(isinstance(r, memoryview) and r.obj is data for r in got.raw)
        streamed = ModelStreamInferResponse(error_message="e", infer_response=message).SerializeToString()
        error, response = Response.parse_streamed(streamed)
        assert error == "e" and response is not None
        assert [bytes(r) for r in response.raw] == list(message.raw_output_contents)
    assert Response.parse_streamed(ModelStreamInferResponse(error_message="e").SerializeToString()) == ("e", None)


def test_damaged_response() -> None:
    """Bytes that protobuf refuses are refused, and what it reads is the same, whatever they are."""
    whole = ModelInferResponse(model_name="m", raw_output_contents=[bytes(SMALL), b"abc"])
    whole.outputs.add(name="o", shape=[1])
    data = whole.SerializeToString()
    r = random.Random(1)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(r.randint(1, 3)):
            at = r.choice([r.randrange(20), len(data) - 1 - r.randrange(8)])
            damaged[at] = r.randrange(256)
        try:
            got = Response.parse(bytes(damaged))
        except (DecodeError, ValueError):
            continue  # also what only protobuf reads: groups
        want = ModelInferResponse.FromString(bytes(damaged))
        assert [bytes(b) for b in got.raw] == list(want.raw_output_contents) and list(got.message.outputs) == list(
            want.outputs
        )


def test_sizes_of_regions() -> None:
    for n in (1, 4096, 65536, 65537, 100_000, 1 << 20, (1 << 20) + 1, 100_000_000):
        size = _size_for(n)
        assert n <= size <= max(n * 1.13 + 4096, 65536) and _size_for(size) == size and size % 4096 == 0


def test_service_config() -> None:
    assert '"healthCheckConfig": {"serviceName": "m"}' in service_config("m", healthy=True)
    assert "healthCheckConfig" not in service_config("m", healthy=False)


def test_tls_without_half_of_it() -> None:
    """gRPC would end the process."""
    for given, lacks in (("cert", "key"), ("key", "cert")):
        with pytest.raises(ValueError, match=f"a {given} and no {lacks}"):
            Tls(ca="ca.pem", **{given: "mine.pem"})
    assert Tls(cert="c", key="k").key == "k" and Tls(ca="c").cert is None
