"""Two replicas train as one model: on two devices of a process, and in two processes."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_maskrcnn as km

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(__file__).with_name("replicas_run.py")
ROOT = pathlib.Path(km.__file__).parents[1]
TIMEOUT = 600


def start(out, kind, options, tf_config=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, SCRIPT, out, kind, json.dumps(options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    """Waits for all of them; if one fails, the others are ended, who would wait for it."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def train(tmp_path, kind, **options):
    """The weights and logs of a run in a process of its own."""
    out = tmp_path / "out.npz"
    finish(start(out, kind, options))
    return dict(np.load(out))


def train_workers(tmp_path, **options):
    """Those of each of two workers on loopback."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    outs = [tmp_path / f"{i}.npz" for i in range(2)]
    finish(
        *(
            start(
                out,
                "workers",
                options,
                {"cluster": cluster, "task": {"type": "worker", "index": i}},
            )
            for i, out in enumerate(outs)
        )
    )
    return [dict(np.load(out)) for out in outs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One replica that has the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    run = train(folder, "none", folder=str(folder))
    assert run["moved"]
    assert run["replicas"] == 1
    return run


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """A run on two devices, and its folder."""
    folder = tmp_path_factory.mktemp("devices")
    return folder, train(folder, "mirrored", steps_per_execution=2, folder=str(folder))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """The run in each of two processes, and its folder."""
    folder = tmp_path_factory.mktemp("workers")
    return folder, train_workers(folder, steps_per_execution=2, folder=str(folder))


def assert_same(one, other):
    """Weights and losses; figures of AP jump where a score differs in its last digit."""
    assert one.keys() == other.keys()
    figures = {name for name in one if re.match("log val_(box|mask)_a[pr]", name)}
    assert figures
    for name in one.keys() - {"replicas"} - figures:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_two_devices_train_as_one(alone, devices):
    _, run = devices
    assert run["replicas"] == 2
    assert_same(run, alone)


def test_two_processes_train_as_one(alone, workers):
    _, runs = workers
    for run in runs:
        assert run["replicas"] == 2
        assert_same(run, alone)


def test_callbacks_on_two_devices(devices, tmp_path):
    folder, history = devices
    assert_checkpoint_is(folder / "0/1.keras", history)
    resumed = train(tmp_path, "mirrored", folder=str(folder), epochs=2)
    assert resumed["log val_box_ar"].shape == (1,)  # of the second epoch
    assert (folder / "0/2.keras").is_file()


def test_callbacks_in_two_processes(workers):
    folder, (first, second) = workers
    assert first["log val_box_ar"] == second["log val_box_ar"]
    alone = keras.models.load_model(folder / "0/1.keras")
    val = km.data.open_dataset(folder / "0/data")
    for name, value in km.evaluate(alone, val, verbose=0).items():
        np.testing.assert_allclose(first[f"log val_{name}"], [value], rtol=1e-5, err_msg=name)
    for i, run in enumerate((first, second)):
        assert_checkpoint_is(folder / f"{i}/1.keras", run)


def assert_checkpoint_is(path, run):
    """A checkpoint that loads without a strategy and has the weights that the run had."""
    assert np.isfinite(run["log val_box_ar"]).all()
    model = keras.models.load_model(path)
    for i, weight in enumerate(model.weights):
        np.testing.assert_array_equal(weight.numpy(), run[f"weight {i}"], err_msg=weight.path)


def test_a_batch_with_fewer_images_than_replicas(tmp_path):
    process = start(tmp_path / "out.npz", "mirrored", {"batch_size": 1})
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    assert "A replica has no image" in output
