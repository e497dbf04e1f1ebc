"""The example as a user starts it: two processes on loopback."""

import csv
import os
import pathlib
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_workers_train_one_model(tmp_path):
    options = "--local 2 --images 8 --size 64 --images-per-replica 1 --epochs 1"
    run = subprocess.run(
        [sys.executable, ROOT / "examples/multi_worker.py", *options.split(), "--output", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "4/4" in run.stdout  # steps of two images, one on each worker
    rows = []
    for folder in (tmp_path / "worker0", tmp_path / "worker1"):
        with open(folder / "log.csv") as file:
            rows.append(next(csv.DictReader(file)))
    same = rows[0].keys() - {"images_per_second"}
    assert {name: rows[0][name] for name in same} == {name: rows[1][name] for name in same}
    assert keras.models.load_model(tmp_path / "worker1/best.keras").config.num_classes == 6
