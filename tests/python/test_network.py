# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One network, saved by its frameworks in every format, is the same tensors in each."""

from __future__ import annotations

import pytest
from index import read_index
from library import NETWORKS, Library, marked
from mounts import Mount
from test_index import row_major

Content = dict[str, tuple[str, tuple[int, ...], bytes]]

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def network() -> Content:
    """The network in memory: type, shape and bytes of every name."""
    import network
    from reference_torch import of_tensor

    tensors = [of_tensor(*item) for item in network.state().items()]
    return {t.name: (t.dtype, t.shape, t.data) for t in tensors}


def test_it_has_something_of_everything(network: Content) -> None:
    """The control: else the same in every format would not say much."""
    assert {dtype for dtype, _, _ in network.values()} == {"F32", "F16", "I64"}
    assert {len(shape) for _, shape, _ in network.values()} == {0, 1, 2, 3, 4}
    assert network["head.weight"] == network["embedding.weight"]
    assert len({data for _, _, data in network.values()}) > 8


@pytest.mark.parametrize("model", marked(*NETWORKS))
def test_same_tensors(mount: Mount, library: Library, network: Content, model: str) -> None:
    """Every name of the network, and no other, has its type, its shape and its bytes."""
    folder = mount.tensors / model
    index = read_index(folder)
    assert index.error is None
    shown = {e.name: (e.dtype, tuple(e.shape), (folder / e.path).read_bytes()) for e in index.tensors}
    assert shown == network
    reread = {t.name: (t.dtype, t.shape, t.data) for t in library.tensors(model).values()}
    assert reread == network, "the control: the framework does not read what it wrote"


PICKLED = [f"network/{name}" for name in ("state-dict", "module", "legacy", "script", "shards")]


@pytest.mark.parametrize("model", marked(*PICKLED))
def test_torch_keeps_ties_and_strides(mount: Mount, model: str) -> None:
    """Two names of one tensor lie in one place, and a turned one lies turned."""
    entries = {e.name: e for e in read_index(mount.tensors / model).tensors}
    tied = [(entries[n].file, entries[n].offset) for n in ("embedding.weight", "head.weight")]
    assert tied[0] == tied[1]
    turned = entries["turned"]
    assert (turned.shape, turned.strides, turned.contiguous) == ([6, 4], [1, 6], False)


@pytest.mark.parametrize("model", marked(*(n for n in NETWORKS if n not in PICKLED)))
def test_others_are_row_major(mount: Mount, model: str) -> None:
    """The control: as these formats have no strides."""
    for entry in read_index(mount.tensors / model).tensors:
        assert entry.contiguous and entry.strides == list(row_major(tuple(entry.shape))), entry.name
