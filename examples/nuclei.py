"""From pictures and mask PNGs of nuclei to a table of how many there are and how large.

    python examples/nuclei.py --train stage1_train/ --val stage1_val/

Each folder holds `images/` and `masks/`: `masks/a.png`, whose pixels number the nuclei of
`images/a.png`, or a folder `masks/a/` with a PNG for each. Any other format that `open_dataset`
knows does as well, with its pictures where it says. The weights that ship with the package are
fine-tuned on the first set; of each picture of the second the nuclei are found, counted and
measured. Everything lies in `runs/nuclei/`:

- `nuclei.csv`: a line for each picture, how many nuclei were found and annotated, their areas;
- `sizes.csv`: a line for each nucleus, its area and diameter in pixels;
- `pictures/`: what was found, drawn;
- `m.keras`, `results.json`: the model and COCO's figures.
"""

import argparse
import csv
import pathlib

import keras
import numpy as np
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.cli.run_folder import write_results
from keras_maskrcnn.evaluation.coco import results_table
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import warmup_cosine

BATCH_SIZE, LEARNING_RATE, WARMUP_STEPS = 4, 1e-3, 100
SIDES = (288, 448)  # of the shorter side in training; nuclei of 256 pixel pictures are small
SIDE = 384
MEASURED = 100  # pictures that say from which score on something counts
PICTURES = 8


def main(arguments: list[str] | None = None) -> None:
    """Train, evaluate, count, and draw, as the command line says."""
    args = parse(arguments)
    keras.utils.set_random_seed(0)
    train = km.data.open_dataset(args.train, args.train_images, class_names=["nucleus"])
    val = km.data.open_dataset(args.val, args.val_images, class_names=["nucleus"])
    args.output.mkdir(parents=True, exist_ok=True)

    model = fine_tune(train, args.epochs)
    model.save(args.output / "m.keras")
    results = km.evaluate(model, val, batch_size=BATCH_SIZE)
    write_results(results, args.output / "results.json")
    Console().print(results_table(results))

    least = least_score(model, train)
    print(f"what scores {least:.2f} or more counts: so the counts of the first set are right")
    counts = count(model, val, least, args.output)
    found, annotated = (np.array([row[name] for row in counts]) for name in ("found", "annotated"))
    print(f"{found.sum()} nuclei found in {len(counts)} pictures, {annotated.sum()} annotated;")
    print(
        f"in half of the pictures the count is off by {np.median(abs(found - annotated)):g} or less"
    )
    print(f"tables and pictures: {args.output}")


def fine_tune(train: km.data.Dataset, epochs: int) -> km.MaskRCNN:
    """The embedded weights on nuclei: small objects, and many in a picture."""
    model = km.MaskRCNN.from_preset(
        "demo_shapes",
        num_classes=1,
        class_names=train.class_names,
        norm="frozen_batch_norm",  # pictures of several stains have no common statistics
        image_min_size=SIDE,
        image_max_size=2 * SIDE,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=500,
        box_batch_size_per_image=128,
        box_detections_per_image=300,
        max_gt_boxes=200,
    )
    augmentation = km.data.Augmentation(
        horizontal_flip=0.5,
        crop=0.6,
        short_side=SIDES,
        brightness=0.15,
        contrast=0.2,
        saturation=0.3,
    )
    batches = train.batches(model.config, BATCH_SIZE, training=True, augmentation=augmentation)
    steps = epochs * (len(train) // BATCH_SIZE)
    schedule = warmup_cosine(LEARNING_RATE, steps, WARMUP_STEPS)
    model.compile(make_optimizer("adamw", schedule, global_clipnorm=10.0))
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
    return model


def least_score(model: km.MaskRCNN, dataset: km.data.Dataset) -> float:
    """The score from which as many nuclei are found in these pictures as are annotated."""
    records = dataset.records[:MEASURED]
    found = model.predict([record.path for record in records], batch_size=BATCH_SIZE, verbose=0)
    scores = np.sort(np.concatenate([detections.scores for detections in found]))[::-1]
    annotated = sum(len(record.instances) for record in records)
    return float(scores[:annotated].min(initial=1.0))


def count(
    model: km.MaskRCNN, dataset: km.data.Dataset, least: float, folder: pathlib.Path
) -> list[dict]:
    """Finds the nuclei of each picture, writes the tables and some pictures, returns the counts."""
    (folder / "pictures").mkdir(exist_ok=True)
    counts, sizes = [], []
    paths = [record.path for record in dataset.records]
    detections = model.predict(paths, batch_size=BATCH_SIZE, verbose=0)
    for number, (record, found) in enumerate(zip(dataset.records, detections, strict=True)):
        found, name = found[found.scores >= least], pathlib.Path(record.path).name
        areas = found.masks.sum(axis=(1, 2))
        diameters = 2 * np.sqrt(areas / np.pi)
        counts.append(
            {
                "picture": name,
                "found": len(found),
                "annotated": sum(not instance.crowd for instance in record.instances),
                "mean_area": round(float(areas.mean()), 1) if len(found) else "",
                "median_diameter": round(float(np.median(diameters)), 1) if len(found) else "",
            }
        )
        sizes += [
            {"picture": name, "area": int(area), "diameter": round(float(diameter), 1)}
            for area, diameter in zip(areas, diameters, strict=True)
        ]
        if number < PICTURES:
            found.save(folder / "pictures" / f"{pathlib.Path(name).stem}.png", record.path)
    write_table(folder / "nuclei.csv", counts)
    write_table(folder / "sizes.csv", sizes)
    return counts


def write_table(path: pathlib.Path, rows: list[dict]) -> None:
    """Rows of the same columns as CSV; nothing but an empty file if there are none."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, help="pictures and masks to train on")
    parser.add_argument("--val", required=True, help="those to count and measure in")
    parser.add_argument("--train-images", help="folder of the pictures, where it is not found")
    parser.add_argument("--val-images", help="folder of the pictures, where it is not found")
    parser.add_argument("--epochs", type=int, default=20, help="%(default)s, 70 steps each of 280")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/nuclei"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
