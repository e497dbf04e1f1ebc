"""What replicas have to agree on, on two devices, in a process of its own: devices are set once."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

import keras_maskrcnn
from keras_maskrcnn.ops import replicas

SCRIPT = """
import json
import tensorflow as tf
from keras_maskrcnn.ops import replicas

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@tf.function
def run():
    value = 1.0 + tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(value)
        total = replicas.sum_over_replicas({"value": value})["value"]
        loss = value * total  # the sum of both replicas' is total squared
    return {
        "replicas": replicas.num_replicas(),
        "total": total,
        "gradient": tape.gradient(loss, value),
        "max": replicas.max_over_replicas(tf.cast(value, tf.int32)),
        "seed": replicas.replica_seed(tf.constant([3, 4])),
    }


results = {
    name: [value.numpy().tolist() for value in strategy.experimental_local_results(values)]
    for name, values in strategy.run(run).items()
}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def two():
    environment = {
        **os.environ,
        "PYTHONPATH": str(pathlib.Path(keras_maskrcnn.__file__).parents[1]),
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_values_are_those_of_all_replicas(two):
    assert two["replicas"] == [2]
    assert two["total"] == [3.0, 3.0]
    assert two["max"] == [2, 2]


def test_gradients_flow_through_the_sum(two):
    assert two["gradient"] == [6.0, 6.0]


def test_seeds_differ(two):
    first, second = two["seed"]
    assert first != second
    assert [3, 4] not in (first, second)


def test_without_a_strategy_nothing_changes():
    seed, value = tf.constant([3, 4]), tf.constant(2)
    assert replicas.num_replicas() == 1
    assert replicas.sum_over_replicas(value) is value
    assert replicas.max_over_replicas(value) is value
    assert replicas.replica_seed(seed) is seed
