"""A folder of 50 photos of 50 sizes through `predict`, the first time and again.

    python benchmarks/folder.py
    python benchmarks/folder.py --dtype mixed_bfloat16

What the first time costs more than the times after it is tracing, and kernels that are made for
shapes not met before. Sizes are from 300 to 1,300 pixels a side, aspect ratios from 1:2 to 2:1; the
model, R50-FPN of 80 classes, looks at them at 800 to 1,333 pixels. 2 threads.
"""

import argparse
import pathlib
import tempfile
import time

import cv2
import numpy as np
import tensorflow as tf

import keras_maskrcnn as km

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_tiny/train2017"
NUMBER, THREADS = 50, 2


def write_photos(folder):
    """Paths of photos of sizes that all differ."""
    rng = np.random.default_rng(0)
    sources = sorted(PHOTOS.glob("*.jpg"))
    paths = []
    for i in range(NUMBER):
        side, aspect = rng.uniform(450, 900), np.exp(rng.uniform(-0.69, 0.69))
        size = round(side * aspect**0.5), round(side / aspect**0.5)
        photo = cv2.resize(cv2.imread(str(sources[i % len(sources)])), size)
        paths.append(folder / f"{i:02}.png")
        cv2.imwrite(str(paths[-1]), photo)
    assert len({cv2.imread(str(path)).shape for path in paths}) == NUMBER
    return paths


class Traced(km.MaskRCNN):
    """A model that counts how often it is traced."""

    traces = 0

    def stages(self, *args, **kwargs):
        Traced.traces += 1
        return super().stages(*args, **kwargs)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--again", type=int, default=2, help="times after the first")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = Traced("mask_rcnn_resnet50_fpn", num_classes=80, dtype=args.dtype)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(pathlib.Path(folder))
        seconds = []
        for _ in range(1 + args.again):
            start = time.perf_counter()
            model.predict(paths, verbose=0)
            seconds.append(time.perf_counter() - start)
    first, steady = seconds[0], float(np.median(seconds[1:]))
    print(f"{NUMBER} photos: {first:.1f} s the first time, {steady:.1f} s after it")
    print(f"ratio {first / steady:.2f}, {Traced.traces} traces")


if __name__ == "__main__":
    main()
