"""The whole way once, in minutes: a model that finds shapes learns new ones, and is served.

    python examples/demo.py            # or: make demo

Predicts with the weights that ship with the package, fine-tunes them on synthetic pictures of
classes that they do not know, evaluates the result on pictures that it never saw, draws what it
finds, saves it, and runs its export in TensorFlow alone.
"""

import pathlib
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.cli.run_folder import write_results
from keras_maskrcnn.evaluation.coco import results_table
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import warmup_cosine

FOLDER = pathlib.Path("runs/demo")
KNOWN, NEW = km.data.shapes.CLASS_NAMES, ("heart", "moon", "arrow")
TRAIN_IMAGES, MONITOR_IMAGES, VAL_IMAGES, SIZE = 720, 40, 200, 192
BATCH_SIZE, EPOCHS = 4, 4
LEARNING_RATE, WARMUP_STEPS = 1e-3, 80
SEED = 0
PICTURES, PAIRS_A_ROW, ZOOM = 12, 3, 2
SCORE_THRESHOLD = 0.5
PLAN = f"""\
This demo, which takes some minutes of two cores:
  1. predicts with the weights that ship with the package: {", ".join(KNOWN)}
  2. fine-tunes them on {TRAIN_IMAGES} pictures of new classes: {", ".join(NEW)}
  3. evaluates on {VAL_IMAGES} pictures that the model never saw, and draws what it finds
  4. exports the model and serves it with TensorFlow alone
"""

console = Console(highlight=False)


def main() -> None:
    """Run the demo; everything it makes lies under `FOLDER`."""
    durations: dict[str, float] = {}
    keras.utils.set_random_seed(SEED)
    shutil.rmtree(FOLDER, ignore_errors=True)
    console.print(PLAN, soft_wrap=True)
    with timed(durations, "predict with the embedded weights"):
        known = generate("known", KNOWN, PICTURES)
        draw_predictions(km.MaskRCNN.from_preset("demo_shapes"), known, FOLDER / "known")
        console.print(
            f"{FOLDER / 'known/grid.png'}: on the left what is there, on the right found",
            soft_wrap=True,
        )
    with timed(durations, "draw pictures of new classes"):
        train = generate("train", NEW, TRAIN_IMAGES)
        monitor = generate("monitor", NEW, MONITOR_IMAGES)
        val = generate("val", NEW, VAL_IMAGES)
    with timed(durations, "fine-tune"):
        model = fine_tune(train, monitor)
    with timed(durations, "evaluate"):
        numbers = km.report(model, val, FOLDER / "report", batch_size=BATCH_SIZE, verbose=1)
        results = numbers.figures
        write_results(results, FOLDER / "results.json")
    with timed(durations, "draw"):
        draw_predictions(model, val, FOLDER / "pictures")
    with timed(durations, "save and export"):
        model.save(FOLDER / "m.keras")
        model.save_to_preset(FOLDER / "preset", results=results)
        model.export(FOLDER / "saved_model", verbose=False)
    with timed(durations, "serve"):
        found = run_export(FOLDER / "saved_model", val.records[0].path)
    report(results, found, durations)


@contextmanager
def timed(durations: dict[str, float], name: str) -> Iterator[None]:
    """Announce a part of the demo and note how long it took."""
    console.rule(name)
    start = time.perf_counter()
    yield
    durations[name] = time.perf_counter() - start


def generate(part: str, class_names: tuple[str, ...], count: int) -> km.data.CocoDataset:
    """Pictures of these classes, others for each part of the demo."""
    seed = SEED + ("train", "val", "monitor", "known").index(part)
    folder = FOLDER / "data" / part
    return km.data.shapes.generate(folder, count, SIZE, seed, class_names)


def fine_tune(train: km.data.CocoDataset, monitor: km.data.CocoDataset) -> km.MaskRCNN:
    """The embedded weights with new heads, trained with Keras' own `fit`.

    The batch norms keep their statistics and the first stages of the backbone their weights: edges
    and textures are those of any shape.
    """
    model = km.MaskRCNN.from_preset(
        "demo_shapes",
        num_classes=len(train.class_names),
        class_names=train.class_names,
        norm="frozen_batch_norm",
        freeze_at=3,
    )
    steps = EPOCHS * (len(train) // BATCH_SIZE)
    schedule = warmup_cosine(LEARNING_RATE, steps, WARMUP_STEPS)
    model.compile(make_optimizer("adamw", schedule, global_clipnorm=10.0))
    batches = train.batches(model.config, batch_size=BATCH_SIZE, training=True, seed=SEED)
    callbacks = [
        TimeLeft(steps),
        km.callbacks.CocoEvaluation(monitor, batch_size=BATCH_SIZE, verbose=False),
        keras.callbacks.LambdaCallback(on_epoch_end=print_ap),
        keras.callbacks.CSVLogger(FOLDER / "log.csv"),
    ]
    model.fit(
        batches,
        epochs=EPOCHS,
        callbacks=callbacks,
        shuffle=False,  # the batches are shuffled already
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return model


class TimeLeft(keras.callbacks.Callback):
    """Says how long the training will take, once the first steps show it."""

    first, last = 5, 20  # the first ones build the graph

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.first:
            self.start = time.perf_counter()
        elif self.done == self.last:
            step = (time.perf_counter() - self.start) / (self.last - self.first)
            minutes = step * (self.steps - self.done) / 60
            console.print(
                f"\nA step takes {step:.2f} s: about {minutes:.1f} minutes to train, and less than "
                "one to evaluate, draw and export.",
                soft_wrap=True,
            )


def print_ap(epoch: int, logs: dict[str, float]) -> None:
    """AP while it trains, on pictures that are not among those of the last evaluation."""
    console.print(
        f"\nepoch {epoch + 1}: box AP {100 * logs['val_box_ap']:.1f}, "
        f"mask AP {100 * logs['val_mask_ap']:.1f} on {MONITOR_IMAGES} pictures"
    )


def draw_predictions(
    model: km.MaskRCNN, dataset: km.data.CocoDataset, folder: pathlib.Path
) -> None:
    """What is annotated beside what the model finds, one by one and in a grid."""
    folder.mkdir(parents=True)
    paths = [record.path for record in dataset.records[:PICTURES]]
    pairs = []
    for index, found in enumerate(model.predict(paths, batch_size=BATCH_SIZE, verbose=0)):
        example = dataset.example(index)
        found = found[found.scores >= SCORE_THRESHOLD]
        truth = annotated(example, dataset.class_names)
        pair = np.hstack([zoomed_plot(example["image"], one) for one in (truth, found)])
        write_picture(folder / f"{index:02}.png", pair)
        pairs.append(np.pad(pair, [(4, 4), (4, 4), (0, 0)], constant_values=255))
    rows = [np.hstack(pairs[i : i + PAIRS_A_ROW]) for i in range(0, PICTURES, PAIRS_A_ROW)]
    write_picture(folder / "grid.png", np.vstack(rows))


def annotated(example: dict[str, np.ndarray], class_names: tuple[str, ...]) -> km.Detections:
    """What is annotated, in the form of what is found, so that both are drawn alike."""
    boxes, class_ids, masks = (example[name] for name in ("boxes", "class_ids", "masks"))
    box_masks = km.data.crop_masks(masks, boxes)
    scores = np.ones(len(boxes))
    return km.Detections(boxes, scores, class_ids, box_masks, masks.shape[1:], class_names)


def zoomed_plot(image: np.ndarray, found: km.Detections) -> np.ndarray:
    """The picture enlarged, so that labels find room on it, and the detections drawn."""
    image = cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    boxes, names = found.boxes * ZOOM, found.all_class_names
    size = image.shape[:2]
    zoomed = km.Detections(boxes, found.scores, found.class_ids, found.box_masks, size, names)
    return zoomed.plot(image)


def write_picture(path: pathlib.Path, image: np.ndarray) -> None:
    """Write an RGB image."""
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def run_export(folder: pathlib.Path, picture: str | pathlib.Path) -> int:
    """The number of objects that the exported model finds; TensorFlow alone runs it."""
    image = tf.io.decode_image(tf.io.read_file(str(picture)), channels=3, expand_animations=False)
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    outputs = serve(images=image[None])
    return int(outputs["num_detections"][0])


def report(results: dict[str, float], found: int, durations: dict[str, float]) -> None:
    """Say how well the model does, how long each part took and where everything lies."""
    console.rule("results")
    console.print(f"{VAL_IMAGES} pictures that the model never saw:")
    console.print(results_table(results))
    console.print(f"The exported model found {found} objects in the first of them.")
    for name, seconds in durations.items():
        console.print(f"{name:<34}{seconds:7.1f} s")
    console.print(f"{'all':<34}{sum(durations.values()):7.1f} s")
    for name, what in (
        ("known/", "what the embedded weights find; grid.png shows all"),
        ("pictures/", "what is annotated beside what the new model found; grid.png shows all"),
        ("m.keras", "the model, for keras.models.load_model"),
        ("preset/", "the model for others, for MaskRCNN.from_preset"),
        ("saved_model/", "its export, for TensorFlow Serving"),
        ("report/", "what it does well and what not: open index.html in a browser"),
        ("results.json", "COCO's figures"),
        ("log.csv", "the losses"),
        ("data/", "the pictures and their COCO annotations"),
    ):
        console.print(f"{FOLDER / name!s:<28}{what}", soft_wrap=True)


if __name__ == "__main__":
    main()
