# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an .onnx file by ONNX Runtime: no code is needed.

Its weights are the mount's, of which all workers share the one copy: those within the file are given to ONNX
Runtime as they lie there, those beside it (external data) it maps itself. Unless it packs them anew for its
kernels, each worker for itself: see docs/decisions/0006-onnxruntime.md for what is chosen, and with which figures.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfs.worker import InvalidArgument, tensors
from modelfs.worker.finding import Options, Unusable

if TYPE_CHECKING:
    import onnxruntime

    from modelfs.model import Model

logger = logging.getLogger("modelfs.worker")

# 1: weights are packed for speed, by each worker in memory of its own; 0: they are shared; else by their size.
PREPACKING = "MODELFS_ONNX_PREPACKING"
THREADS = "MODELFS_ONNX_THREADS"  # of one call; the cores divided by the workers, unless given
MAX_BATCH = 1024  # the model has no limit of its own
SMALL = 16 << 20  # bytes of a model whose weights each worker may as well have packed
SHARED = 4096  # bytes of a weight that is worth sharing

_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

# Names of index.json: the numbers of ONNX's enum DataType.
_ELEMENTS = {"F32": 1, "U8": 2, "I8": 3, "U16": 4, "I16": 5, "I32": 6, "I64": 7, "F16": 10, "F64": 11}


class OnnxRuntime:
    """A handler of whatever the file takes and gives."""

    platform = "onnxruntime_onnx"
    exact = False  # a file may be wrong about what comes out, or not say how many dimensions: ONNX Runtime lets it

    def __init__(self) -> None:
        self._options = Options("", None, None, 1)
        self.inputs: list[tuple[str, str, tuple[int, ...]]] = []
        self.outputs: list[tuple[str, str, tuple[int, ...]]] = []
        self.max_batch = 0

    def configure(self, options: Options) -> None:
        self._options = options

    def load(self, model: object) -> None:
        import onnxruntime

        path = _path(self._options)
        self._session, self._weights = _session(path, self._options.workers, model)
        self._invalid: tuple[type[Exception], ...] = tuple(
            getattr(onnxruntime.capi.onnxruntime_pybind11_state, name) for name in ("InvalidArgument", "InvalidGraph")
        )
        self._declare(self._session.get_inputs(), self._session.get_outputs())
        self._names = [name for name, _, _ in self.outputs]
        self._texts = [name for name, datatype, _ in self.inputs if datatype == "BYTES"]

    def _declare(self, inputs: list[Any], outputs: list[Any]) -> None:
        firsts = {_first(node) for node in [*inputs, *outputs]}
        batched = len(firsts) == 1 and None not in firsts
        self.max_batch = MAX_BATCH if batched else 0
        self.inputs = [_declared(node, batched) for node in inputs]
        self.outputs = [_declared(node, batched) for node in outputs]

    def infer(self, inputs: dict[str, Any]) -> dict[str, Any]:
        for name in self._texts:
            if name in inputs:
                inputs[name] = _texts(inputs[name])
        try:
            return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))
        except self._invalid as error:
            raise InvalidArgument(" ".join(str(error).split())) from error
        except ValueError as error:  # an input is missing, or is none of the model's
            raise InvalidArgument(" ".join(str(error).split())) from error


def _path(options: Options) -> str:
    if options.file is None:
        raise Unusable(f"{options.model}: ONNX Runtime needs a file: --model {options.model}=FILE.onnx")
    path = options.file
    if not os.path.isabs(path):
        from modelfs.mountpoint import Mount

        path = Mount.find(options.mount).path("models", options.model, path)
    if not os.path.isfile(path):
        raise Unusable(f"{options.model} has no file {path}")
    return path


def _session(path: str, workers: int, model: object) -> tuple[onnxruntime.InferenceSession, list[Any]]:
    """A session, and what has to live as long as it does."""
    import modelfs

    def made(options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        import onnxruntime

        while True:
            try:
                return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            except onnxruntime.capi.onnxruntime_pybind11_state.EPFail as error:
                # It opens external data with O_NONBLOCK, which has the mount load the file and answer EAGAIN
                # until it is there. Whoever started this process limits how long that may take.
                if f"SystemError : {errno.EAGAIN}" not in str(error):
                    raise
                time.sleep(0.02)

    packed = _prepacking(path)
    if isinstance(model, modelfs.Model) and not packed:
        options = _session_options(workers, packed)
        try:
            weights = _share(options, model, path)
            return made(options), weights
        except Exception as error:  # noqa: BLE001 - a version that cannot, or a model that is not as it seems
            logger.warning("the weights of %s are not shared between its workers: %s", path, error)
    return made(_session_options(workers, packed)), []


def _share(options: onnxruntime.SessionOptions, model: Model, path: str) -> list[Any]:
    """Gives the weights that lie in the file to the session, as they lie there. Names that it does not have, as
    those of constants and of subgraphs, mean nothing to it."""
    import onnxruntime

    weights = []
    index = model._current().index
    for i, (name, tensor) in enumerate(model.items()):
        onnx_type = _ELEMENTS.get(tensor.dtype)
        file = index.file[i]
        if onnx_type is None or file is None or tensor.nbytes < SHARED:
            continue
        if not path.endswith("/" + index.files[file]):
            continue
        value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(tensor.numpy(), onnx_type)
        options.add_initializer(name, value)
        weights.append(value)
    return weights


def _prepacking(path: str) -> bool:
    """Whether weights are packed. What lies beside the file counts, as that is where its external data would."""
    said = os.environ.get(PREPACKING)
    if said in ("0", "1"):
        return said == "1"
    with os.scandir(os.path.dirname(path)) as beside:
        others = sum(entry.stat().st_size for entry in beside if entry.is_file() and not entry.name.endswith(".onnx"))
    return os.path.getsize(path) + others < SMALL


def _session_options(workers: int, packed: bool) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    cores = len(os.sched_getaffinity(0))
    options.intra_op_num_threads = int(os.environ.get(THREADS) or max(1, cores // max(1, workers)))
    options.inter_op_num_threads = 1
    # Threads that spin while they wait for work take the cores from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _first(node: Any) -> str | None:  # noqa: ANN401 - a NodeArg
    """The name of a tensor's first dimension; None if it has none, or it is a number."""
    return node.shape[0] if node.shape and isinstance(node.shape[0], str) else None


def _declared(node: Any, batched: bool) -> tuple[str, str, tuple[int, ...]]:  # noqa: ANN401 - a NodeArg
    datatype = _TYPES.get(node.type)
    if datatype is None:
        raise Unusable(f"{node.name} is a {node.type}, which no tensor of the protocol is")
    shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
    return node.name, datatype, shape[1:] if batched else shape


def _texts(array: tensors.Array) -> tensors.Array:
    """BYTES as ONNX has them: texts."""
    texts = np.empty(array.size, object)
    try:
        texts[:] = [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"a text is not UTF-8: {error}") from error
    return texts.reshape(array.shape)
