"""Train the weights that ship with the package: `MaskRCNN.from_preset("demo_shapes")`.

    python examples/demo_weights.py --output runs/demo_weights

Draws pictures of the six shapes of `km.data.shapes`, trains the model of `configs/demo_shapes.yaml`
on them from random weights, evaluates it on pictures that it never saw, and writes a preset in half
precision with its card, which says how well it does and how long it took.
"""

import argparse
import pathlib
import platform
import resource
from collections.abc import Iterable

import keras
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.evaluation.coco import results_table

VAL_IMAGES, SIZE, BATCH_SIZE = 200, 192, 8
LEARNING_RATE, WEIGHT_DECAY, WARMUP_STEPS = 1e-3, 0.05, 200
TRAIN_SEED, VAL_SEED = 1_000_000, 1_000_001  # of no picture that a demo or a test draws
LICENCE = "apache-2.0"
CARD = """\
A small model that ships with the package. It finds the six shapes of `km.data.shapes` in synthetic
pictures of 192x192, and is a start for fine-tuning on other shapes.

`examples/demo_weights.py` trained it from random weights, {steps} steps of {batch_size} pictures
out of {images}, in {cpu_minutes:.0f} minutes of processor time, all cores together ({processor}).
The figures are those of {val_images} pictures that it never saw, with the weights in half
precision, as they are here.
"""


def main(arguments: list[str] | None = None) -> None:
    """Train, evaluate and write the preset, as the command line says."""
    args = parse(arguments)
    keras.utils.set_random_seed(args.seed)
    data = args.output / "data"
    train = km.data.shapes.generate(data / "train", args.images, size=SIZE, seed=TRAIN_SEED)
    val = km.data.shapes.generate(data / "val", VAL_IMAGES, size=SIZE, seed=VAL_SEED)
    model = train_model(train, args)
    card = CARD.format(
        steps=args.epochs * (args.images // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        images=args.images,
        cpu_minutes=cpu_seconds() / 60,
        processor=processor(),
        val_images=VAL_IMAGES,
    )
    half = in_half_precision(model)
    results = km.evaluate(model, val, batch_size=BATCH_SIZE, verbose=0)
    folder = args.output / "demo_shapes"
    half.save_to_preset(folder, results=results, licence=LICENCE, description=card)
    Console().print(card, results_table(results), sep="\n", highlight=False)


def train_model(
    train: km.data.CocoDataset,
    args: argparse.Namespace,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> km.MaskRCNN:
    """The model, trained; `model.keras` keeps it after each epoch."""
    model = km.MaskRCNN("demo_shapes", class_names=train.class_names)
    steps = args.epochs * (args.images // BATCH_SIZE)
    warmup_steps = min(WARMUP_STEPS, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 100,
        decay_steps=steps - warmup_steps,
        warmup_target=LEARNING_RATE,
        warmup_steps=warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, global_clipnorm=10.0)
    model.compile(optimizer=optimizer)
    batches = train.batches(model.config, batch_size=BATCH_SIZE, training=True, seed=args.seed)
    kept = [
        keras.callbacks.CSVLogger(args.output / "log.csv"),
        keras.callbacks.ModelCheckpoint(args.output / "model.keras"),
        *callbacks,
    ]
    model.fit(batches, epochs=args.epochs, callbacks=kept, shuffle=False, verbose=2)
    return model


def in_half_precision(model: km.MaskRCNN) -> km.MaskRCNN:
    """A copy whose weights are float16; those of `model` are rounded alike."""
    half = km.MaskRCNN(model.config, dtype="float16")
    half.set_weights(model.get_weights())
    model.set_weights(half.get_weights())
    return half


def cpu_seconds() -> float:
    """What this process has used of all cores."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def processor() -> str:
    """The processor's name."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6400, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/demo_weights"))
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    return args


if __name__ == "__main__":
    main()
