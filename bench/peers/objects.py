# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""whisper-base (its exact shape, random weights) into a process that has imported all it needs, in several ways.

objects.py --version
objects.py make FOLDER FILE.pt     save_pretrained and torch.save of it
objects.py METHOD PLACE            time one of METHODS
objects.py serve                   do such commands, one a line with tabs, each in a forked process

A load's proof is a sum over all bytes of its tensors, which is the same for all."""

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable

import pages
from measure import own_memory

KEY = "bench-whisper-base"
HITS = 2000


def missing() -> list[str]:
    return [name for name in ("torch", "transformers", "safetensors") if importlib.util.find_spec(name) is None]


if gone := missing():
    raise SystemExit(f"{sys.executable} has no {', '.join(gone)}")

import modelfs
import safetensors.torch
import torch
import transformers
from transformers import WhisperConfig, WhisperForConditionalGeneration

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def whisper_base() -> torch.nn.Module:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51865,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
    )
    return WhisperForConditionalGeneration(config).eval()


def shared(mount: str) -> torch.nn.Module:
    return modelfs.get_or_load(KEY, whisper_base, mount=mount, required=True)


METHODS: dict[str, Callable[[str], object]] = {
    "get_or_load": shared,
    "state_dict": lambda mount: modelfs.open("whisper-base", mount=mount).state_dict(),
    "from_pretrained": lambda folder: WhisperForConditionalGeneration.from_pretrained(folder),
    "load_file": safetensors.torch.load_file,
    "torch_load": lambda file: torch.load(file, weights_only=True),
    "torch_load_mmap": lambda file: torch.load(file, weights_only=True, mmap=True),
}


def tensors_of(loaded: object) -> Iterable[torch.Tensor]:
    named = loaded.state_dict() if isinstance(loaded, torch.nn.Module) else dict(loaded)
    return {t.data_ptr(): t for t in named.values()}.values()  # tied ones once


def proof(loaded: object) -> tuple[int, int]:
    """The bytes, and a sum of them."""
    size = total = 0
    for t in tensors_of(loaded):
        size += t.nbytes
        total += int(t.detach().contiguous().view(torch.int32).sum(dtype=torch.int64))
    return size, total % (1 << 32)


def make(folder: str, file: str) -> dict:
    model = whisper_base()
    model.save_pretrained(folder)
    torch.save(model.state_dict(), file)
    size, total = proof(model)
    return {"seconds": 0, "bytes": size, "sum": total}


def hit(mount: str) -> dict:
    """get_or_load of what the process has."""
    model = shared(mount)
    samples = []
    for _ in range(HITS):
        began = time.perf_counter()
        again = modelfs.get_or_load(KEY, whisper_base, mount=mount, required=True)
        samples.append(time.perf_counter() - began)
        assert again is model
    return {"seconds": sorted(samples)[HITS // 2], "count": HITS}


def load(method: str, place: str) -> dict:
    before = own_memory()
    began = time.perf_counter()
    loaded = METHODS[method](place)
    seconds = time.perf_counter() - began
    rss = own_memory() - before
    size, total = proof(loaded)
    return {"seconds": seconds, "bytes": size, "sum": total, "rss": max(rss, 0)}


def answer(words: list[str]) -> dict:
    match words:
        case ["--version"]:
            versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
            return {"seconds": 0, "version": f"{versions}, safetensors {safetensors.__version__}"}
        case ["make", folder, file]:
            return make(folder, file)
        case ["hit", mount]:
            return hit(mount)
        case [method, place]:
            return load(method, place)
    raise SystemExit(__doc__)


def serve() -> None:
    """Imports take longer than all that is measured. This process does nothing itself: its children begin with
    what it imported, and without a thread; and with its memory, as if they had imported it themselves."""
    imported = pages.present()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                pages.take(imported)
                print(json.dumps(answer(line.rstrip("\n").split("\t"))), flush=True)
                status = 0
            except Exception:  # noqa: BLE001 - whatever it is, the child ends here
                traceback.print_exc()
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{line.strip()} failed")


if sys.argv[1:] == ["serve"]:
    serve()
else:
    print(json.dumps(answer(sys.argv[1:])))
