"""Runs of `keras-maskrcnn train`: what its options do, and that a killed run goes on."""

import csv
import json
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn import cli_parser, training_run
from keras_maskrcnn.cli import main
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.training.schedules import WarmupMultiStep

NARROW = [
    *("--backbone", "resnet14", "--norm", "batch_norm", "--freeze-at", "0"),
    *("--backbone-width", "8", "--fpn-channels", "16", "--box-head-units", "[16]"),
    *("--mask-head-channels", "[16]", "--mask-deconv-channels", "16"),
    *("--image-min-size", "64", "--image-max-size", "64", "--roi-sampling-ratio", "2"),
    *("--rpn-pre-nms-top-n-train", "50", "--rpn-post-nms-top-n-train", "20"),
    *("--rpn-pre-nms-top-n-test", "50", "--rpn-post-nms-top-n-test", "20"),
    *("--anchor-sizes", "[[8], [16], [32], [64], [128]]", "--box-batch-size-per-image", "8"),
]
# All that keeps a state of its own.
STATEFUL = [
    *("--epochs", "3", "--backup-every", "6", "--optimizer", "adamw", "--learning-rate", "0.001"),
    *("--accumulate", "2", "--ema", "0.9", "--patience", "3", "--evaluate-every", "2"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The options that name the data: forty pictures to train on, two to evaluate on."""
    folder = tmp_path_factory.mktemp("data")
    options = []
    for seed, (name, count) in enumerate((("train", 40), ("val", 2))):
        km.data.shapes.generate(folder / name, count, size=64, seed=seed)
        options += [f"--{name}-annotations", str(folder / name / "annotations.json")]
        options += [f"--{name}-images", str(folder / name / "images")]
    return options


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert start(data, folder).wait() == 0
    return folder


def start(data, folder):
    return command("train", *data, *NARROW, *STATEFUL, "--output", str(folder))


def command(*options):
    """A process of the command line."""
    program = [sys.executable, "-m", "keras_maskrcnn", *options]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_after_a_backup(process, folder, rng):
    """SIGKILL at a random moment after one more backup; whether the process still ran then."""
    before = set(folder.glob("backup/step-*"))
    while process.poll() is None and not set(folder.glob("backup/step-*")) - before:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_a_killed_run_ends_as_one_left_alone(data, alone, tmp_path):
    rng, folder = random.Random(), tmp_path / "killed"
    assert kill_after_a_backup(start(data, folder), folder, rng)
    assert kill_after_a_backup(command("train", "--resume", str(folder)), folder, rng)
    assert command("train", "--resume", str(folder)).wait() == 0
    for name in ("last.keras", "best.keras"):
        killed, whole = (keras.models.load_model(run / name) for run in (folder, alone))
        for ours, theirs in zip(
            [*killed.weights, *killed.optimizer.variables],
            [*whole.weights, *whole.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    assert rows_of(folder) == rows_of(alone)
    assert (folder / "results.json").read_text() == (alone / "results.json").read_text()
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}


def rows_of(folder):
    with open(folder / "log.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
