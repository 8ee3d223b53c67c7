# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Gives a module other memory for its parameters and buffers."""

from __future__ import annotations

from collections import defaultdict

import torch

from modelfs.errors import ModelError

Slot = tuple[torch.nn.Module, str]


def assign(tensors: dict[str, torch.Tensor], module: torch.nn.Module, *, strict: bool, name: str) -> None:
    """Assigns tensors by name without a copy, and ties again what was tied.

    ``load_state_dict(assign=True)`` gives each name its own tensor: of two tied names, of which files hold
    but one, the other would keep the old memory.
    """
    tied = _tied(module)
    result = module.load_state_dict(tensors, strict=False, assign=True)
    missing = set(result.missing_keys)
    for names in tied:
        have = next((n for n in names if n in tensors), None)
        if have is None:
            continue
        owner, leaf = _slot(module, have)
        for other in names:
            if other != have:
                holder, attribute = _slot(module, other)
                (holder._parameters if leaf in owner._parameters else holder._buffers)[attribute] = getattr(owner, leaf)
                missing.discard(other)
    if strict and (missing or result.unexpected_keys):
        raise ModelError(
            f"{name} is not what the module holds: it lacks {_some(sorted(missing))}; "
            f"the module has no {_some(result.unexpected_keys)} (strict=False passes over that)"
        )


def _tied(module: torch.nn.Module) -> list[list[str]]:
    groups: dict[int, list[str]] = defaultdict(list)
    for key, value in module.named_parameters(remove_duplicate=False):
        groups[id(value)].append(key)
    for key, buffer in module.named_buffers(remove_duplicate=False):
        groups[id(buffer)].append(key)
    return [names for names in groups.values() if len(names) > 1]


def _slot(module: torch.nn.Module, name: str) -> Slot:
    owner, _, leaf = name.rpartition(".")
    return module.get_submodule(owner), leaf


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
