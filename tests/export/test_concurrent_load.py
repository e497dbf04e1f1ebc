"""A server under load: 4 threads, 200 requests of different sizes and batch sizes."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np

import keras_maskrcnn as km

SCRIPT = pathlib.Path(__file__).with_name("concurrent_load.py")


def test_answers_stay_right_and_memory_does_not_grow(small_config, tmp_path):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, box_score_threshold=0.0)
    model.export(tmp_path / "1", verbose=False)
    rng = np.random.default_rng(0)
    sizes = [(batch, *rng.integers(40, 120, 2)) for batch in (1, 2, 3) for _ in range(7)]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    np.savez(tmp_path / "requests.npz", *images)
    command = [sys.executable, SCRIPT, "1", "requests.npz", "report.json"]
    subprocess.run([str(part) for part in command], cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["different"] == 0
    # After the first 50; each thread may hold the buffers of another size at the time.
    memory = report["memory"][2:]
    assert max(memory) - memory[0] < 30, report["memory"]
