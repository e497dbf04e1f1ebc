"""Compares what ONNX Runtime and LiteRT find in photos with what the model itself finds.

    python benchmarks/export_agreement.py                          # a seeded R50-FPN, 6 photos
    python benchmarks/export_agreement.py --model detectron2_mask_rcnn_r50_c4 --proposals 100
    python benchmarks/export_agreement.py --preset mask_rcnn_resnet50_fpn_3x_coco --photos 20

The photos are resized as the config says and padded to one size, and each runs alone.
A detection is found where one of the same class overlaps it with an IoU of 0.95 and the scores
differ by at most 0.005, and nearly where the IoU is 0.5 and the scores differ by at most 0.1.
Prints the worst figures of each format, and exits with 1 if ONNX or LiteRT in float32 find less
than 0.98. What 8 bits find is reported only: it depends on the weights, and seeded ones, whose
scores lie close together, are the hardest.
"""

import argparse
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from parity import GOLDENS, PARTS, Golden
from rich.console import Console
from rich.table import Table

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.data.images import read_image, resize_image, resized_shape

PHOTOS = GOLDENS.parent / "data/coco_tiny/train2017"


def main() -> int:
    args = parse_arguments()
    overrides = {} if args.proposals is None else {"rpn_post_nms_top_n_test": args.proposals}
    if args.preset:
        model = MaskRCNN.from_preset(args.preset, **overrides)
    else:
        model = Golden(GOLDENS, args.model).model(**overrides)
    batches = read_batches(args.folder, args.photos, model.config)
    image_size = batches[0]["images"].shape[1:3]
    keras_call = tf.function(model.call)
    expected, seconds = run(lambda x: tf.nest.map_structure(np.asarray, keras_call(x)), batches)
    table = Table(title=f"{len(batches)} photos in {image_size[0]}x{image_size[1]} pixels")
    for column in ("", "MB", "found", "nearly", "score", "mask cells", "CPU s"):
        table.add_column(column)
    table.add_row("Keras", "", "", "", "", "", f"{seconds:.2f}")
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for name in args.formats:
            path = pathlib.Path(folder) / name
            found, seconds = run(FORMATS[name](model, path, image_size), batches)
            figures = worst_agreement(found, expected)
            size = path.stat().st_size / 1e6
            same &= figures["found"] >= 0.98 or name == "litert int8"
            cells = [f"{figures[name]:.3f}" for name in ("found", "nearly")]
            cells += [f"{figures['score']:.1e}", f"{figures['cells']:.5f}"]
            table.add_row(name, f"{size:.0f}", *cells, f"{seconds:.2f}")
    Console(width=100).print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of all together {peak:.1f} GB")
    return 0 if same else 1


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="detectron2_mask_rcnn_r50_fpn", help="name of a golden")
    parser.add_argument("--preset", help="published weights, instead")
    parser.add_argument("--folder", type=pathlib.Path, default=PHOTOS)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--proposals", type=int, help="proposals an image (default: the model's)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    return parser.parse_args()


def read_batches(folder, number, config):
    """Batches of one photo, all of the size of the largest."""
    batches, limits = [], (config.image_min_size, config.image_max_size)
    paths = sorted(folder.glob("*.jpg"))[:number]
    images = [read_image(path) for path in paths]
    images = [
        resize_image(i, resized_shape(*i.shape[:2], *limits, config.resize_style)) for i in images
    ]
    largest = np.max([image.shape for image in images], axis=0)
    for image in images:
        batch = np.zeros((1, *largest), np.uint8)
        batch[0, : image.shape[0], : image.shape[1]] = image
        batches.append({"images": batch, "image_sizes": np.int32([image.shape[:2]])})
    return batches


def run(detect, batches):
    """What `detect` finds in each batch, and the median of the processor's seconds."""
    outputs, seconds = [], []
    for batch in batches:
        start = time.process_time()
        outputs.append(detect(batch))
        seconds.append(time.process_time() - start)
    return outputs, np.median(seconds)


def with_onnx(model, path, image_size):
    """A function that runs the exported model."""
    import onnxruntime

    model.export(path, format="onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, batch), strict=True))


def with_litert(model, path, image_size, **options):
    """A function that runs the exported model."""
    from ai_edge_litert.interpreter import Interpreter

    model.export(path, format="litert", image_size=image_size, **options)
    runner = Interpreter(str(path), num_threads=1).get_signature_runner()
    return lambda batch: runner(**batch)


FORMATS = {
    "onnx": with_onnx,
    "litert": with_litert,
    "litert int8": lambda *args: with_litert(*args, quantize="dynamic_int8"),
}


def worst_agreement(found, expected):
    """The worst figures of `compare.py` in the goldens over all photos."""
    sys.path.insert(0, str(GOLDENS))
    from compare import agreement

    pairs = [(_valid(o), _valid(t)) for o, t in zip(found, expected, strict=True)]
    results = [agreement(*pair) for pair in pairs]
    loose = [agreement(*pair, box_iou=0.5, score_tolerance=0.1) for pair in pairs]
    return {
        "found": min(result["found"] for result in results),
        "nearly": min(result["found"] for result in loose),
        "score": max(result["score"] for result in results),
        "cells": min(result["mask_cells"] for result in results),
    }


def _valid(outputs):
    return {part: outputs[part][0, : outputs["num_detections"][0]] for part in PARTS}


if __name__ == "__main__":
    sys.exit(main())
