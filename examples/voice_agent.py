# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A voice agent's two models, shared by three pipelines in three processes.

- silero-vad, which says whether somebody speaks: a real model (16 kHz, MIT licence), from its safetensors file.
  ``modelfs.open`` maps the file and ``load_into`` gives the module its tensors, without a copy. Its TorchScript
  form would be a private copy in each process.
- whisper-base, which says what was spoken: of its exact shape (246 tensors, 290 MB), but with RANDOM WEIGHTS, so that
  the example needs no download. What it says is therefore nonsense, and the same nonsense everywhere.
  ``modelfs.get_or_load`` has one process make it, and gives the others the same module over the same memory.

    python examples/voice_agent.py [--pipelines 3] [--seconds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from common import MB, REPOSITORY, mapped_from, modelfs, mounted, publish, settled_memory

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

RATE, WINDOW, CONTEXT = 16_000, 512, 64
SILERO = REPOSITORY / "cmd/modelfs/demo/silero_vad/silero_vad_16k.safetensors"


def silero_vad() -> Module:
    """The network of silero-vad for 16 kHz, without weights: on the meta device it takes no memory."""
    import torch
    from torch import nn

    class SileroVAD(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
            self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
            self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
            self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
            self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
            self.lstm_cell = nn.LSTMCell(128, 128)
            self.final_conv = nn.Conv1d(128, 1, 1)

        def forward(
            self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            """A window of 512 samples with the 64 before it -> the probability of speech, and what to give next time."""
            x = nn.functional.pad(x, (0, CONTEXT), "reflect").unsqueeze(1)
            spectrum = self.stft_conv(x)
            x = (spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2).sqrt()
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
                x = conv(x).relu()
            state = self.lstm_cell(x.squeeze(-1), state)
            return self.final_conv(state[0].unsqueeze(-1).relu()).sigmoid().squeeze(-1), state

    with torch.device("meta"):
        return SileroVAD().eval()


def whisper_base() -> Module:
    """whisper-base as `openai/whisper-base` has it, but for the numbers in it."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

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


def voice_probabilities(vad: Module, audio: np.ndarray) -> list[float]:
    """The probability of speech in each window of 32 ms."""
    import torch

    samples = torch.nn.functional.pad(torch.from_numpy(audio), (CONTEXT, 0))
    said, state = [], None
    with torch.inference_mode():
        for at in range(CONTEXT, len(samples) - WINDOW + 1, WINDOW):
            p, state = vad(samples[None, at - CONTEXT : at + WINDOW], state)
            said.append(float(p))
    return said


def listen(seconds: float) -> np.ndarray:
    """A microphone: a second of noise, then something with the pitch and the formants of a vowel."""
    t = np.arange(int(seconds * RATE)) / RATE
    vowel = sum(np.sin(2 * np.pi * 120 * k * t) * np.exp(-(((120 * k - 700) / 400) ** 2)) for k in range(1, 25))
    noise = np.random.default_rng(0).standard_normal(t.size) * 0.003
    return (noise + 0.2 * np.asarray(vowel) * (t > seconds / 2)).astype(np.float32)


def pipeline(mount: str, seconds: float) -> None:
    """One process: it attaches to both models, hears something, and says as JSON what that took."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration  # noqa: F401 - imports are not timed

    torch.set_num_threads(1)
    before = settled_memory()
    began = time.perf_counter()
    with modelfs.open("silero-vad") as weights:
        vad = weights.load_into(silero_vad())
    opened = time.perf_counter()
    whisper = modelfs.get_or_load("whisper-base-random", whisper_base, required=True)
    loaded = time.perf_counter()
    attached = settled_memory() - before

    audio = listen(seconds)
    heard = voice_probabilities(vad, audio)
    features = WhisperFeatureExtractor()(audio, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        words = whisper.generate(features, max_new_tokens=4, do_sample=False, num_beams=1)
    del features
    print(
        json.dumps(
            {
                "vad_ms": (opened - began) * 1e3,
                "whisper_ms": (loaded - opened) * 1e3,
                "model_bytes": sum(p.nbytes for p in whisper.parameters()) + sum(p.nbytes for p in vad.parameters()),
                "attached": attached,  # own memory more than before, once both are there
                "after": settled_memory() - before,  # and after they have been used
                "copied": mapped_from(mount, "Anonymous"),  # of the models' own pages
                "voice": max(heard),
                "words": words.tolist(),
            }
        ),
        flush=True,
    )
    sys.stdin.read()  # the models stay until all have been looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of audio")
    parser.add_argument("--pipeline", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pipeline:
        pipeline(os.environ["MODELFS_MOUNT"], args.seconds)
        return
    with mounted() as mount:
        os.environ["MODELFS_MOUNT"] = mount
        publish(mount, "silero-vad", SILERO)
        command = [sys.executable, __file__, "--pipeline", "--seconds", str(args.seconds)]
        running = []
        said = []
        for _ in range(args.pipelines):  # one after the other: the times are of one that has a processor
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.append(process)
            assert process.stdout is not None
            said.append(json.loads(process.stdout.readline() or "null") or sys.exit("a pipeline failed"))
        shares = [mapped_from(mount, "Pss", p.pid) for p in running]
        for process in running:
            process.communicate("")
    print(
        f"silero-vad (its weights) and whisper-base (random weights): {said[0]['model_bytes'] / MB:.0f} MB of tensors"
    )
    for i, (s, share) in enumerate(zip(said, shares, strict=True), 1):
        first = ", which made it" if i == 1 else ""
        print(
            f"pipeline {i}: silero-vad in {s['vad_ms']:.1f} ms, whisper-base in {s['whisper_ms']:.1f} ms{first}; "
            f"own memory +{s['attached'] / MB:.1f} MB attached, +{s['after'] / MB:.1f} MB after use; "
            f"copied {s['copied'] / MB:.1f} MB; its share of the models {share / MB:.0f} MB"
        )
    print(f"all shares together: {sum(shares) / said[0]['model_bytes']:.2f} times the tensors")
    same = all(s["words"] == said[0]["words"] and s["voice"] == said[0]["voice"] for s in said)
    print(f"voice {said[0]['voice']:.2f}; tokens {said[0]['words'][0]}; all pipelines say the same: {same}")


if __name__ == "__main__":
    main()
