# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Objects of every type that is shared, each with what must hold of what comes back."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any

import numpy as np

Case = tuple[Callable[[], Any], Callable[[Any], bool]]
NUMPY: dict[str, Case] = {}
TORCH: dict[str, Case] = {}
OTHERS: dict[str, Case] = {}


def case(table: dict[str, Case], make: Callable[[], Any]) -> Callable[[Callable[[Any], bool]], None]:
    def add(check: Callable[[Any], bool]) -> None:
        table[check.__name__] = (make, check)

    return add


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides and a.tobytes() == b.tobytes()


def arrays() -> dict[str, np.ndarray]:
    readonly = np.ones(3)
    readonly.flags.writeable = False
    return {
        "c": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        "big_endian": np.arange(4, dtype=">i4"),
        "empty": np.empty((0, 3), np.float32),
        "scalar": np.array(3, np.int16),
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "text": np.array(["ab", "c"]),
        "nothing": np.array(["", ""]),
        "bool": np.array([True, False]),
        "half": np.ones(3, np.float16),
        "complex": np.ones(3, np.complex128),
        "readonly": readonly,
    }


@case(NUMPY, arrays)
def every_kind(o: dict[str, np.ndarray]) -> bool:
    assert all(equal(o[k], a) for k, a in arrays().items()), {k for k, a in arrays().items() if not equal(o[k], a)}
    assert all(a.flags.writeable == (k != "readonly") for k, a in o.items())
    return True


@case(NUMPY, lambda: {"step": np.arange(12)[::2], "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)})
def not_contiguous(o: dict[str, np.ndarray]) -> bool:
    expected = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)
    return o["step"].tolist() == [0, 2, 4, 6, 8, 10] and bool((o["transposed"] == expected).all())


def twice() -> list[Any]:
    array = np.ones(3)
    return [array, array, {"again": array}]


@case(NUMPY, twice)
def one_array_twice(o: list[Any]) -> bool:
    return o[0] is o[1] is o[2]["again"]


@case(
    NUMPY, lambda: {"objects": np.array([{"x": 1}, None], dtype=object), "masked": np.ma.masked_array([1, 2], [0, 1])}
)
def objects_and_masks(o: dict[str, Any]) -> bool:
    return o["objects"][0] == {"x": 1} and o["masked"].mask.tolist() == [False, True]


@case(NUMPY, lambda: [1, "x", None, {"deep": ([{"w": np.zeros(2)}],)}, {1, 2}, datetime.date(2020, 1, 1), b"raw"])
def nested_containers(o: list[Any]) -> bool:
    return o[3]["deep"][0][0]["w"].tolist() == [0, 0] and o[:3] == [1, "x", None] and o[6] == b"raw"


@case(NUMPY, lambda: io.BytesIO(b"kept"))
def memory_files(o: io.BytesIO) -> bool:
    return o.getvalue() == b"kept"


def ml_dtypes_arrays() -> list[np.ndarray]:
    import ml_dtypes

    return [np.arange(100).astype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4)]


@case(OTHERS, ml_dtypes_arrays)
def ml_dtypes(o: list[np.ndarray]) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(o, ml_dtypes_arrays(), strict=True))


def frame() -> Any:  # noqa: ANN401
    import pandas

    return pandas.DataFrame({"a": np.arange(1000.0), "b": np.arange(1000), "s": ["x"] * 1000})


@case(OTHERS, frame)
def pandas(o: Any) -> bool:  # noqa: ANN401
    return bool(o.equals(frame()))


def table() -> Any:  # noqa: ANN401
    import pyarrow

    return pyarrow.table({"a": np.arange(1000.0)})


@case(OTHERS, table)
def pyarrow(o: Any) -> bool:  # noqa: ANN401
    return bool(o.equals(table()))


def estimators() -> list[Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = samples()
    return [RandomForestClassifier(5, random_state=0).fit(x, y), LogisticRegression().fit(x, y)]


def samples() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.RandomState(0).randn(200, 10)
    return x, (x[:, 0] > 0).astype(int)


@case(OTHERS, estimators)
def sklearn(o: list[Any]) -> bool:
    x, _ = samples()
    return all(bool((a.predict_proba(x) == b.predict_proba(x)).all()) for a, b in zip(o, estimators(), strict=True))


def sparse_matrix() -> Any:  # noqa: ANN401
    import scipy.sparse

    return scipy.sparse.random(100, 100, 0.1, "csr", random_state=0)


@case(OTHERS, sparse_matrix)
def scipy(o: Any) -> bool:  # noqa: ANN401
    return abs(o - sparse_matrix()).sum() == 0
