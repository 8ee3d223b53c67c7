# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The examples run, small, and what they print is so. Each mounts for itself, and leaves no mount."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import required

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(binary: Path, name: str, *args: object, needs: tuple[str, ...] = ()) -> str:
    """Runs one as a user does, and returns what it prints. What it needs of Python and is not there skips."""
    for package in needs:
        if importlib.util.find_spec(package) is None:
            required.lacking(package, f"{name} needs {package}, which is not installed")
    environment = {k: v for k, v in os.environ.items() if k != "MODELFS_MOUNT"} | {"MODELFS": str(binary)}
    said = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert said.returncode == 0, f"{said.stdout}\n{said.stderr}"
    mounts = Path("/proc/self/mountinfo").read_text()
    for point in re.findall(r"ready: (\S+)", said.stderr):
        assert point not in mounts, "its mount is left"
    return said.stdout


def figures(pattern: str, text: str) -> list[float]:
    """The numbers of the only line that is so."""
    (found,) = re.findall(pattern, text)
    return [float(n) for n in (found if isinstance(found, tuple) else (found,))]


def test_vision(binary: Path) -> None:
    out = run_example(binary, "vision.py", "--megabytes", 4, "--frames", 40)
    (times,) = figures(r"the stream is ([\d.]+) times as fast", out)
    assert times > 1.5, out  # 10 on an idle machine


def test_budget(binary: Path) -> None:
    out = run_example(binary, "budget.py", "--megabytes", 8, needs=("torch", "safetensors"))
    assert "eyes is in use. In memory: ears and eyes" in out
    assert "voice came. In memory: eyes and voice" in out, "what is in use stays, the other goes"
    assert re.search(r"evicted: ears/ears.safetensors, 8 MB: room: last used .* voice needs", out), out
    assert "no room: " in out, "nothing is taken from under a reader"
    assert "it has what it had: True. In memory: ears and voice" in out
    assert re.search(r"evicted: eyes/eyes.npz: room: last used .* ears needs", out), out


def test_web_workers(binary: Path) -> None:
    out = run_example(binary, "web_workers.py", "--workers", 3, "--megabytes", 128, needs=("torch", "gunicorn"))
    assert "the same answer of all: True" in out
    size, shared, own, models = figures(
        r"one model of (\d+) MB[\s\S]*sum of PSS, model: (\d+) MB shared \+ ([\d.]+) MB own = ([\d.]+) models", out
    )
    assert shared >= 0.98 * size and own >= 0 and models <= 1.1, out
    took, imports, attach = figures(r"back after ([\d.]+) s: ([\d.]+) s of it are imports, ([\d.]+) ms the model", out)
    assert imports < took and attach < 250, out  # 3 ms on an idle machine; a load takes a second


def test_voice_agent(binary: Path) -> None:
    out = run_example(binary, "voice_agent.py", "--pipelines", 2, "--seconds", 1, needs=("torch", "transformers"))
    assert "random weights" in out and "all pipelines say the same: True" in out
    (times,) = figures(r"all shares together: ([\d.]+) times", out)
    assert 0.9 <= times <= 1.1, out
    first, second = (float(n) for n in re.findall(r"whisper-base in ([\d.]+) ms", out))
    assert second < first / 5, "it was made once"
    grown = [float(n) for n in re.findall(r"own memory \+(-?[\d.]+) MB attached", out)]
    assert grown[1] < 0.03 * 292, out
    assert re.findall(r"copied ([\d.]+) MB", out) == ["0.0", "0.0"]


SILERO_NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    "decoder.decoder.2": "final_conv",
    "decoder.rnn": "lstm_cell",
    **{f"encoder.{i}.reparam_conv": f"conv{i + 1}" for i in range(4)},
}


def test_the_voice_activity_model_is_silero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's module computes what that of the package silero-vad does. The package's TorchScript form has
    other weights than its safetensors form: the module gets those of the former for this."""
    torch = pytest.importorskip("torch")
    silero = pytest.importorskip("silero_vad")
    safetensors = pytest.importorskip("safetensors.torch")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import voice_agent

    original, module = silero.load_silero_vad(), voice_agent.silero_vad()
    state = {}
    for name, tensor in original.state_dict().items():
        if name.startswith("_model."):
            old = next(n for n in SILERO_NAMES if name.removeprefix("_model.").startswith(n))
            state[name.removeprefix("_model.").replace(old, SILERO_NAMES[old])] = tensor
    module.load_state_dict(state, assign=True)
    audio = voice_agent.listen(1)
    windows = [torch.from_numpy(audio[at : at + 512]) for at in range(0, len(audio) - 511, 512)]
    expected = [original(window, voice_agent.RATE).item() for window in windows]
    assert np.allclose(voice_agent.voice_probabilities(module, audio), expected, atol=1e-4)

    module.load_state_dict(safetensors.load_file(voice_agent.SILERO), assign=True)
    said = voice_agent.voice_probabilities(module, audio)
    assert max(said[:15]) < 0.2 and max(said) > 0.8, "noise and voice are told apart"
