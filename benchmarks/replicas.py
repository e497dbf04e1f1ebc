"""Trains the demo's weights on two replicas of this machine's CPU; the AP is to be that of one.

    python benchmarks/replicas.py                # two replicas of 4 images a step
    python benchmarks/replicas.py --replicas 1   # one of 8, for comparison
    python benchmarks/replicas.py --steps 50     # only to see it run

Everything but the replicas and the number of pictures is that of `examples/demo_weights.py`. It
says nothing of speed: the replicas share the cores.
"""

import argparse
import json
import pathlib
import sys
import time

import keras
import tensorflow as tf

import keras_maskrcnn as km

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
import demo_weights  # noqa: E402


class FirstAndLastLoss(keras.callbacks.Callback):
    """The loss of the first step, and the mean of the last epoch."""

    first = last = None

    def on_train_batch_end(self, batch, logs=None):
        self.first = self.first or float(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.last = float(logs["loss"])


def make_strategy(replicas):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    strategy = make_strategy(args.replicas)
    output, epochs = pathlib.Path(f"runs/replicas-{args.replicas}"), min(args.steps, 5)
    images = args.steps // epochs * demo_weights.BATCH_SIZE
    keras.utils.set_random_seed(0)
    train = km.data.shapes.generate(output / "data/train", images, seed=0)
    val = km.data.shapes.generate(output / "data/val", min(args.steps, 200), seed=1)
    losses, start = FirstAndLastLoss(), time.perf_counter()
    options = argparse.Namespace(output=output, images=images, epochs=epochs, seed=0)
    with strategy.scope():
        model = demo_weights.train_model(train, options, [losses])
    seconds = time.perf_counter() - start
    results = km.evaluate(model, val, batch_size=demo_weights.BATCH_SIZE, verbose=0)
    figures = {name: round(results[name], 4) for name in ("box_ap", "mask_ap")}
    losses = {"first_loss": round(losses.first, 3), "last_loss": round(losses.last, 3)}
    print(json.dumps({**vars(args), "seconds": round(seconds), **losses, **figures}))


if __name__ == "__main__":
    main()
