"""Images per second that `km.data.Augmentation` makes of real photos, on one core.

    python benchmarks/augmentation.py annotations.json images/

Photos and masks are read before the clock starts. Each row is the best of a few goes.
"""

import argparse
import time

import tensorflow as tf
from rich.console import Console
from rich.table import Table

import keras_maskrcnn as km

RESIZE = {"short_side": (640, 800)}
COLOUR = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}
OPTIONS = {
    "flip, multi-scale": {"horizontal_flip": 0.5, **RESIZE},
    "flip, multi-scale, colour": {"horizontal_flip": 0.5, **RESIZE, **COLOUR},
    "flip, large-scale jitter": {"horizontal_flip": 0.5, "scale_jitter": (0.1, 2.0)},
    "flip, multi-scale, rotation": {"horizontal_flip": 0.5, "rotation": 15, **RESIZE},
    "all": {"horizontal_flip": 0.5, "rotation": 15, "crop": 0.5, **RESIZE, **COLOUR},
}


def elements(dataset: km.data.CocoDataset, number: int) -> tf.data.Dataset:
    """The first records of a dataset, at the size of their files."""

    def read():
        for index in range(min(number, len(dataset))):
            example = dataset.example(index)
            masks = km.data.crop_masks(example["masks"], example["boxes"])
            classes = example["class_ids"]
            element = {"image": example["image"], "boxes": example["boxes"], "classes": classes}
            yield {**element, "masks": masks}

    signature = {
        "image": tf.TensorSpec((None, None, 3), tf.uint8),
        "boxes": tf.TensorSpec((None, 4)),
        "classes": tf.TensorSpec((None,), tf.int32),
        "masks": tf.TensorSpec((None, 112, 112), tf.uint8),
    }
    return tf.data.Dataset.from_generator(read, output_signature=signature).cache()


def images_per_second(photos: tf.data.Dataset, options: dict, goes: int) -> float:
    """The best of some goes over all photos, in CPU seconds: other jobs do not count."""
    augment = km.data.Augmentation(**options)
    seeds = tf.data.Dataset.counter().map(lambda i: tf.cast(tf.stack([i, 0]), tf.int32))
    augmented = tf.data.Dataset.zip(photos, seeds).map(augment)
    rates = []
    for _ in range(goes):
        start, number = time.process_time(), 0
        for _ in augmented:
            number += 1
        rates.append(number / (time.process_time() - start))
    return max(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", help="COCO JSON file")
    parser.add_argument("images", help="folder of its pictures")
    parser.add_argument("--number", type=int, default=50, help="of photos (default: 50)")
    parser.add_argument("--goes", type=int, default=4, help="default: 4")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    photos = elements(km.data.CocoDataset(args.annotations, args.images), args.number)
    table = Table("augmentation", "images/s on one core")
    for name, options in {"none": {}, **OPTIONS}.items():
        table.add_row(name, f"{images_per_second(photos, options, args.goes):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
