"""How time and memory grow with batch, image, objects and classes.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --only classes

R50-FPN with random weights; each figure is the median of a few runs in a process of its own, with
2 threads. Inference has no threshold for scores, so that 100 detections are kept of each image
whatever the number of classes, and suppression sees every class of every region, which is the worst
case. A training step moves all weights from stage 3 on, batch norms frozen.
"""

import argparse
import json
import sys

from speed import in_a_process, timed

THREADS, RUNS, SIDE = 2, 5, 512
# What grows, and what is measured of it: inference, a training step, or both.
GROWTH = {
    "batch": ((1, 2, 4, 8), ("inference", "train")),
    "side": ((400, 800, 1200, 1600), ("inference", "train")),
    "objects": ((1, 10, 100, 300), ("train",)),
    "classes": ((1, 20, 80, 365, 1203), ("inference", "train")),
}


def make(work, batch=1, side=SIDE, objects=10, classes=80):
    """A function that runs once."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_maskrcnn as km

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(
        "mask_rcnn_resnet50_fpn", num_classes=classes, max_gt_boxes=300, box_score_threshold=0.0
    )
    for block in model.backbone.blocks:  # random weights would else overflow
        block.conv3.norm.gamma.assign(tf.fill(block.filters, 0.1))
    sizes = np.full((batch, 2), side, np.int32)
    images = tf.constant(rng.uniform(0, 255, (batch, side, side, 3)), tf.float32)
    x = {"images": images, "image_sizes": tf.constant(sizes)}
    if work == "inference":
        return lambda: model.predict(x, verbose=0)
    corners = np.sort(rng.uniform(0, side, (batch, objects, 2, 2)), axis=2)
    boxes = corners.reshape(batch, objects, 4) + [0, 0, 8, 8]
    y = {
        "boxes": tf.constant(boxes, tf.float32),
        "classes": tf.constant(rng.integers(0, classes, (batch, objects)), tf.int32),
        "masks": tf.ones((batch, objects, 112, 112), tf.uint8),
    }
    model.compile(optimizer=keras.optimizers.SGD(1e-6, momentum=0.9))
    return lambda: model.train_on_batch(x, y)


def measured(work, name, value):
    """Median seconds and peak MiB of a process of its own."""
    command = [sys.executable, __file__, "--measure", work, name, value]
    return in_a_process(command).values()


def print_growth(work, name, values):
    first = None
    for value in values:
        seconds, peak = measured(work, name, value)
        seconds /= value if name == "batch" else 1
        first = first or seconds
        row = f"| {work}, {name} | {value} | {seconds:.3f} "
        print(f"{row}| {seconds / first:.2f} | {peak:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=GROWTH, nargs="+", default=list(GROWTH))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        work, name, value = args.measure
        run = make(work, **{name: int(value)})
        run()
        print(json.dumps(dict(zip(("seconds", "peak"), timed(run, RUNS), strict=True))))
        return
    print("| | | seconds an image | to the first | peak MiB |\n| --- | --- | --- | --- | --- |")
    for name in args.only:
        values, works = GROWTH[name]
        for work in works:
            print_growth(work, name, values)


if __name__ == "__main__":
    main()
