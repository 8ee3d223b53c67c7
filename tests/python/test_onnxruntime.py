# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""onnxruntime runs silero-vad from the mount as from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from library import SILERO, SILERO_ONNX, Library
from mounts import Mount

RATE = 16_000  # Hz
CHUNK, CONTEXT = 512, 64  # samples, as silero-vad wants them at this rate


def voice(seconds: float, pitch: float, formants: tuple[float, ...]) -> np.ndarray:
    """A vowel: pulses of a gliding pitch, through one resonance for each formant."""
    n = int(seconds * RATE)
    phase = np.cumsum(pitch * (1 + 0.1 * np.sin(np.arange(n) * 2 * np.pi * 3 / RATE)) / RATE)
    sound = np.diff(np.floor(phase), prepend=0.0)
    for formant in formants:
        sound = resonance(sound, formant, bandwidth=80)
    return 0.3 * np.hanning(n) * sound / np.abs(sound).max()


def resonance(sound: np.ndarray, frequency: float, bandwidth: float) -> np.ndarray:
    t = np.arange(1024) / RATE
    response = np.exp(-np.pi * bandwidth * t) * np.sin(2 * np.pi * frequency * t)
    return np.convolve(sound, response)[: len(sound)]


def audio() -> np.ndarray:
    """Vowels with pauses between them, over a little noise."""
    pause = np.zeros(RATE // 3)
    vowels = [(120, (730, 1090, 2440)), (140, (270, 2290, 3010)), (110, (300, 870, 2240))]
    parts = [part for pitch, formants in vowels for part in (pause, voice(0.6, pitch, formants))]
    sound = np.concatenate([*parts, pause])
    sound += np.random.default_rng(3).normal(0, 0.001, len(sound))
    return sound[: len(sound) // CHUNK * CHUNK].astype(np.float32)


def session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same order of sums each time
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: Path, sound: np.ndarray, stateful: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The probability of speech in each chunk, and the state after the last one."""
    vad, context = session(model), np.zeros(CONTEXT, np.float32)
    state = start = np.zeros((2, 1, 128), np.float32)
    found = []
    for chunk in sound.reshape(-1, CHUNK):
        given = {"input": np.concatenate([context, chunk])[None], "state": state, "sr": np.array(RATE)}
        probability, state = vad.run(None, given)
        found.append(probability.item())
        context = chunk[-CONTEXT:]
        if not stateful:
            state = start
    return np.array(found), state


@pytest.fixture(scope="module")
def from_disk(library: Library) -> tuple[np.ndarray, np.ndarray]:
    return run(library.folder / SILERO / SILERO_ONNX, audio())


def test_the_sound_means_something(library: Library, from_disk: tuple[np.ndarray, np.ndarray]) -> None:
    """The control: it has speech and silence, and the steps depend on each other."""
    probabilities, _ = from_disk
    assert len(probabilities) > 50 and probabilities.max() > 0.5 and probabilities.min() < 0.1
    without_state, _ = run(library.folder / SILERO / SILERO_ONNX, audio(), stateful=False)
    assert np.abs(without_state - probabilities).max() > 0.1


def test_same_output(mount: Mount, from_disk: tuple[np.ndarray, np.ndarray]) -> None:
    opened = opens(mount)
    probabilities, state = run(mount.models / SILERO / SILERO_ONNX, audio())
    assert np.array_equal(probabilities, from_disk[0]) and np.array_equal(state, from_disk[1])
    assert opens(mount) > opened, "onnxruntime did not read from the mount"


def opens(mount: Mount) -> int:
    counters = mount.status()["counters"]
    return counters["hits"] + counters["misses"]
