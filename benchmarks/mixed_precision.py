"""Trains on photos of COCO in float32 and in half precision, and compares the losses.

    python benchmarks/mixed_precision.py

The first table is of each precision trained by itself, with the same first weights, batches and
sampling seeds. For each loss: how far its mean over the steps is from that of float32, and how
far its running mean is at most after the first ten steps. The control shows what chance does:
float32 from first weights that were rounded to bfloat16. Steps are skipped where float16 overflows.

The second leaves chance out: at each step of the float32 run the losses are computed in half
precision too, with its weights, its batch and its samples. Which proposals are sampled turns on
their last digits; with `--regions 2000` all of them are.

The photos are those of `../shared/data/coco_tiny`.
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import keras_maskrcnn as km
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import WarmupMultiStep

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_tiny"
RUNS = ("float32", "mixed_bfloat16", "mixed_float16", "control")
SETTLED = 10  # steps after which a running mean is compared


def make_model(policy: str, photos: km.data.CocoDataset, args: argparse.Namespace) -> km.MaskRCNN:
    """The demo's model for the classes of the photos."""
    return km.MaskRCNN(
        "demo_shapes",
        num_classes=len(photos.class_names),
        class_names=photos.class_names,
        image_min_size=args.side * 3 // 4,
        image_max_size=args.side,
        dtype=policy,
        **({"box_batch_size_per_image": args.regions} if args.regions else {}),
    )


def losses(run: str, args: argparse.Namespace, followers=()) -> dict[str, dict[str, np.ndarray]]:
    """Each loss at each step of a short training, of which `run` is the dtype policy.

    Also what they are in the dtype policies `followers` at the same weights.
    """
    keras.utils.set_random_seed(args.seed)
    photos = km.data.CocoDataset(DATA / "annotations/instances_train2017.json", DATA / "train2017")
    model = make_model("float32" if run == "control" else run, photos, args)
    if run == "control":
        for weight in model.trainable_weights:
            weight.assign(tf.cast(tf.cast(weight, tf.bfloat16), tf.float32))
    schedule = WarmupMultiStep(args.learning_rate, warmup_steps=args.steps // 2)
    model.compile(make_optimizer(args.optimizer, schedule, global_clipnorm=10.0))
    batches = photos.batches(
        model.config, batch_size=args.batch_size, training=True, seed=args.seed
    ).repeat()
    following = {policy: make_model(policy, photos, args) for policy in followers}
    functions = {policy: tf.function(other.training_losses) for policy, other in following.items()}
    rows = {name: [] for name in (run, *followers)}
    for x, y in batches.take(args.steps):
        for policy, other in following.items():
            other.set_weights(model.get_weights())
            parts = {k: float(v) for k, v in functions[policy](x, y).items()}
            rows[policy].append({**parts, "loss": sum(parts.values())})
        model.reset_metrics()
        rows[run].append(model.train_on_batch(x, y, return_dict=True))
    print(f"{run}: {args.steps - int(model.optimizer.iterations)} steps skipped")
    return {
        side: {name: np.array([row[name] for row in values]) for name in values[0]}
        for side, values in rows.items()
    }


def compared(half: np.ndarray, full: np.ndarray) -> tuple[float, float]:
    """How far, relatively, the mean of all steps and the running mean at most are from `full`."""
    count = np.arange(1, len(full) + 1)
    running = np.abs(np.cumsum(half) / count / (np.cumsum(full) / count) - 1)
    return half.mean() / full.mean() - 1, running[SETTLED:].max()


def print_table(
    title: str, full: dict[str, np.ndarray], others: dict[str, dict[str, np.ndarray]]
) -> None:
    """A row a loss, a column a precision."""
    table = Table("loss", "float32", title=title)
    for run in others:
        table.add_column(run, justify="right")
    for name in full:
        cells = []
        for values in others.values():
            mean, running = compared(values[name], full[name])
            cells.append(f"{mean:+.2%}, {running:.2%}")
        table.add_row(name, f"{full[name].mean():.4f}", *cells)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--side", type=int, default=256, help="longest side of an image, pixels")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument(
        "--regions", type=int, help="sampled an image (default: the config's); 2000 takes them all"
    )
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument("--learning-rate", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    together = losses("float32", args, followers=RUNS[1:3])
    full = together["float32"]
    alone = {run: losses(run, args)[run] for run in RUNS[1:]}
    print_table(f"{args.steps} steps, mean and running mean at most", full, alone)
    halves = {run: together[run] for run in RUNS[1:3]}
    print_table("the same at the weights of float32", full, halves)


if __name__ == "__main__":
    main()
