"""The whole way once, in minutes: pictures and annotations in, a trained Mask R-CNN and masks out.

    python examples/demo.py            # or: make demo

Generates synthetic pictures, trains a small model on them from random weights, evaluates it on
pictures that it never saw, draws what it finds, saves it, and runs its export in TensorFlow alone.
"""

import pathlib
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import cv2
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.cli.run_folder import write_results
from keras_maskrcnn.evaluation.coco import results_table
from keras_maskrcnn.training.schedules import WarmupMultiStep

FOLDER = pathlib.Path("runs/demo")
TRAIN_IMAGES, VAL_IMAGES, SIZE = 1600, 200, 192
BATCH_SIZE, EPOCHS = 8, 5
LEARNING_RATE, WEIGHT_DECAY, WARMUP_STEPS = 1e-3, 0.05, 100
SEED = 0
PICTURES, PAIRS_A_ROW, ZOOM = 12, 3, 2
SCORE_THRESHOLD = 0.5

console = Console(highlight=False)


def main() -> None:
    """Run the demo; everything it makes lies under `FOLDER`."""
    durations: dict[str, float] = {}
    keras.utils.set_random_seed(SEED)
    shutil.rmtree(FOLDER, ignore_errors=True)
    with timed(durations, "generate pictures"):
        train = km.data.shapes.generate(FOLDER / "data/train", TRAIN_IMAGES, size=SIZE, seed=SEED)
        val = km.data.shapes.generate(FOLDER / "data/val", VAL_IMAGES, size=SIZE, seed=SEED + 1)
    with timed(durations, "train"):
        model = train_model(train)
    with timed(durations, "evaluate"):
        results = km.evaluate(model, val, batch_size=BATCH_SIZE, verbose=1)
        write_results(results, FOLDER / "results.json")
    with timed(durations, "draw"):
        draw_predictions(model, val, FOLDER / "pictures")
    with timed(durations, "save and export"):
        model.save(FOLDER / "m.keras")
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


def train_model(
    train: km.data.CocoDataset, callbacks: Iterable[keras.callbacks.Callback] = ()
) -> km.MaskRCNN:
    """A small Mask R-CNN from random weights, trained with Keras' own `fit`."""
    model = km.MaskRCNN(
        "demo_shapes", num_classes=len(train.class_names), class_names=train.class_names
    )
    steps = EPOCHS * (TRAIN_IMAGES // BATCH_SIZE)
    schedule = WarmupMultiStep(LEARNING_RATE, WARMUP_STEPS, milestones=[steps * 3 // 4])
    model.compile(optimizer=keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY))
    batches = train.batches(model.config, batch_size=BATCH_SIZE, training=True, seed=SEED)
    log = keras.callbacks.CSVLogger(FOLDER / "log.csv")
    # The batches are shuffled already.
    model.fit(batches, epochs=EPOCHS, callbacks=[log, *callbacks], shuffle=False)
    return model


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
        console.print(f"{name:<20}{seconds:7.1f} s")
    console.print(f"{'all':<20}{sum(durations.values()):7.1f} s")
    for name, what in (
        ("pictures/", "what is annotated beside what was found; grid.png shows all"),
        ("m.keras", "the model, for keras.models.load_model"),
        ("saved_model/", "its export, for TensorFlow Serving"),
        ("results.json", "COCO's figures"),
        ("log.csv", "the losses"),
        ("data/", "the pictures and their COCO annotations"),
    ):
        console.print(f"{FOLDER / name!s:<28}{what}", soft_wrap=True)


if __name__ == "__main__":
    main()
