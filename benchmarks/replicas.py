"""Trains the demo's model on two replicas of this machine's CPU; its AP is to be the demo's.

    python benchmarks/replicas.py                # two replicas of 4 images a step
    python benchmarks/replicas.py --replicas 1   # one of 8, for comparison
    python benchmarks/replicas.py --steps 50     # only to see it run

Everything but the replicas is that of `examples/demo.py`. It says nothing of speed: the replicas
share the cores.
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
import demo  # noqa: E402


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
    parser.add_argument("--steps", type=int, help="those of the demo if absent")
    args = parser.parse_args()
    strategy = make_strategy(args.replicas)
    demo.FOLDER = pathlib.Path(f"runs/replicas-{args.replicas}")
    if args.steps:
        demo.EPOCHS, demo.TRAIN_IMAGES = 1, args.steps * demo.BATCH_SIZE
        demo.VAL_IMAGES = min(demo.VAL_IMAGES, args.steps)
    data, size = demo.FOLDER / "data", demo.SIZE
    keras.utils.set_random_seed(demo.SEED)
    train = km.data.shapes.generate(data / "train", demo.TRAIN_IMAGES, size, demo.SEED)
    val = km.data.shapes.generate(data / "val", demo.VAL_IMAGES, size, demo.SEED + 1)
    losses, start = FirstAndLastLoss(), time.perf_counter()
    with strategy.scope():
        model = demo.train_model(train, [losses])
    seconds = time.perf_counter() - start
    results = km.evaluate(model, val, batch_size=demo.BATCH_SIZE, verbose=0)
    figures = {name: round(results[name], 4) for name in ("box_ap", "mask_ap")}
    losses = {"first_loss": round(losses.first, 3), "last_loss": round(losses.last, 3)}
    print(json.dumps({**vars(args), "seconds": round(seconds), **losses, **figures}))


if __name__ == "__main__":
    main()
