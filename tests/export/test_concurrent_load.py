"""A server under load: 4 threads, 200 requests of different sizes and batch sizes."""

import json
import pathlib
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest

import keras_maskrcnn as km

SCRIPT = pathlib.Path(__file__).with_name("concurrent_load.py")


@pytest.fixture(scope="module")
def exported(small_config, tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, box_score_threshold=0.0)
    folder = tmp_path_factory.mktemp("serving") / "1"
    model.export(folder, verbose=False)
    return folder


def encoded(images):
    """The files of a batch, JPEG and PNG by turns; padded, since numpy drops zeros at an end."""
    files = [cv2.imencode((".jpg", ".png")[i % 2], image)[1] for i, image in enumerate(images)]
    return np.array([file.tobytes() + b"\n" for file in files])


@pytest.mark.parametrize("signature", ["serving_default", "serve_bytes"])
def test_answers_stay_right_and_memory_does_not_grow(exported, tmp_path, signature):
    rng = np.random.default_rng(0)
    sizes = [(batch, *rng.integers(40, 120, 2)) for batch in (1, 2, 3) for _ in range(7)]
    requests = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    if signature == "serve_bytes":
        requests = [encoded(images) for images in requests]
    np.savez(tmp_path / "requests.npz", *requests)
    command = [sys.executable, SCRIPT, exported, signature, "requests.npz", "report.json"]
    subprocess.run([str(part) for part in command], cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["different"] == 0
    # After the first 60. From the first to the last three readings are 100 requests: one that kept
    # its pixels in float32, 150 kB, would add 15 MB. Buffers of the moment come and go: 2 MB.
    memory = np.array(report["memory"][2:])
    assert memory[-3:].mean() - memory[:3].mean() < 6, report["memory"]
