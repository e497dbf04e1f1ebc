"""A server under load: 4 threads, 200 requests of different sizes and batch sizes."""

import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("concurrent_load.py")


def encoded(images):
    """The files of a batch, JPEG and PNG by turns; padded, since numpy drops zeros at an end."""
    files = [cv2.imencode((".jpg", ".png")[i % 2], image)[1] for i, image in enumerate(images)]
    return np.array([file.tobytes() + b"\n" for file in files])


@pytest.fixture(scope="module")
def reports(served, tmp_path_factory):
    """What happened to each signature, one after the other in one process."""
    folder, rng = tmp_path_factory.mktemp("load"), np.random.default_rng(0)
    sizes = [(batch, *rng.integers(40, 120, 2)) for batch in (1, 2, 3) for _ in range(7)]
    requests = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    np.savez(folder / "serving_default.npz", *requests)
    np.savez(folder / "serve_bytes.npz", *(encoded(images) for images in requests))
    command = [sys.executable, SCRIPT, served[1], "serving_default", "serve_bytes"]
    subprocess.run([str(part) for part in command], cwd=folder, check=True)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["serving_default", "serve_bytes"])
def test_answers_stay_right_and_memory_does_not_grow(reports, signature):
    report = reports[signature]
    assert report["different"] == 0
    # After the first 60. From the first to the last three readings are 100 requests: one that kept
    # its pixels in float32, 150 kB, would add 15 MB. Buffers of the moment come and go: 2 MB.
    memory = np.array(report["memory"][2:])
    assert memory[-3:].mean() - memory[:3].mean() < 6, report["memory"]
