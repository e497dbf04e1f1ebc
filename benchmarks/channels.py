"""Learns the same shapes from RGB of 8 bits, and from one and four channels of 16 bits.

    python benchmarks/channels.py
    python benchmarks/channels.py --steps 3 --images 8 --seeds 0    # only to see it run

The weights that ship with the package learn classes that they do not know, from the same pictures
in the same order: `rgb`, as JPEG files; `four`, RGB and grey, uint16 in the pages of TIFFs; `grey`,
as PNGs of 8 bits, which are read as RGB; and `one`, the same grey, uint16 in `.npy` files. Prints
box and mask AP on other pictures, by seed and in the mean, and how far a kind's seeds lie apart.
Four channels are to learn as well as `rgb` does within that, and one as well as `grey` does, from
which the colours are missing too.
"""

import argparse
import json
import pathlib
import warnings

import cv2
import keras
import numpy as np
import tifffile

import keras_maskrcnn as km
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import warmup_cosine

FOLDER = pathlib.Path("runs/channels-benchmark")
CLASSES = ("heart", "moon", "arrow")
BATCH_SIZE, LEARNING_RATE, WARMUP_STEPS = 4, 1e-3, 40
FIELDS = {
    "rgb": {},
    "four": {"channels": 4, "pixel_range": (0, 65535)},
    "grey": {},
    "one": {"channels": 1, "pixel_range": (0, 65535)},
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument(
        "--images", type=int, default=400, help="to train on; a quarter to evaluate"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    train_sets = datasets("train", args.images, seed=1)
    val_sets = datasets("val", max(args.images // 4, 1), seed=2)
    figures = {kind: [] for kind in FIELDS}
    for seed in args.seeds:
        for kind in FIELDS:
            model = train(train_sets[kind], FIELDS[kind], args.steps, seed)
            results = km.evaluate(model, val_sets[kind], batch_size=BATCH_SIZE, verbose=0)
            figures[kind].append([results["box_ap"], results["mask_ap"]])
            print(
                json.dumps({"kind": kind, "seed": seed, **rounded(figures[kind][-1])}), flush=True
            )
    for kind, of_seeds in figures.items():
        mean, spread = np.mean(of_seeds, axis=0), np.ptp(of_seeds, axis=0)
        print(json.dumps({"kind": kind, "mean": rounded(mean), "spread": rounded(spread)}))


def rounded(values):
    return dict(zip(("box_ap", "mask_ap"), np.round(values, 4).tolist(), strict=True))


def datasets(name, count, seed):
    """The same pictures and annotations of each kind."""
    shapes = km.data.shapes.generate(FOLDER / name, count, seed=seed, class_names=CLASSES)
    sets = {"rgb": shapes}
    for kind, ending in (("four", ".tif"), ("grey", ".png"), ("one", ".npy")):
        folder = FOLDER / f"{name}-{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        content = shapes.to_coco()
        for record, entry in zip(shapes.records, content["images"], strict=True):
            entry["file_name"] = pathlib.Path(record.path).stem + ending
            write(folder / entry["file_name"], record.read_image(), kind)
        annotations = folder / "annotations.json"
        annotations.write_text(json.dumps(content), encoding="utf-8")
        sets[kind] = km.data.CocoDataset(annotations, folder)
    return sets


def write(path, rgb, kind):
    grey = rgb.mean(axis=2, keepdims=True).round().astype(np.uint16)
    if kind == "grey":
        cv2.imwrite(str(path), grey.astype(np.uint8))
    elif kind == "one":
        np.save(path, 257 * grey)
    else:
        pages = np.moveaxis(257 * np.dstack([rgb, grey]), 2, 0)
        tifffile.imwrite(path, pages, photometric="minisblack")


def train(dataset, fields, steps, seed):
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*the stem's kernel is spread")
        model = km.MaskRCNN.from_preset(
            "demo_shapes",
            num_classes=len(CLASSES),
            class_names=CLASSES,
            norm="frozen_batch_norm",
            **fields,
        )
    schedule = warmup_cosine(LEARNING_RATE, steps, min(WARMUP_STEPS, steps // 2))
    model.compile(make_optimizer("adamw", schedule, global_clipnorm=10.0))
    batches = dataset.batches(model.config, BATCH_SIZE, training=True, seed=seed).repeat()
    model.fit(batches, steps_per_epoch=steps, verbose=2, shuffle=False)
    return model


if __name__ == "__main__":
    main()
