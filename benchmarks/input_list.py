"""Images a second of `predict --input-list`, against `predict` on the same photos in memory.

    python benchmarks/input_list.py
    python benchmarks/input_list.py --config mask_rcnn_resnet50_fpn --number 12
    python benchmarks/input_list.py --saved-model    # and of the Beam pipeline's model handler

The list takes photos of COCO from files, as often as it needs them, and ends with COCO results on
disk; `predict` takes them as arrays and ends with `Detections`, none of which is looked at, so the
list does more. Sides take turns, a first round over twenty photos does not count. 2 threads.
"""

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time

import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.prediction.file_lists import predict_files

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_tiny/train2017"
THREADS, WARM_UP = 2, 20


def make_sides(model, files, saved_model):
    """Functions that find the objects of the first so many of the files, by name."""
    arrays = [read_image(file) for file in files[: len(set(files))]]

    def in_memory(batch_size):
        def run(number):
            photos = list(itertools.islice(itertools.cycle(arrays), number))
            model.predict_function = None  # traced anew, as lists are and a process is
            model.predict(photos, batch_size=batch_size, verbose=0)

        return run

    def listed(batch_size):
        def run(number):
            with tempfile.TemporaryDirectory() as folder:
                output = pathlib.Path(folder) / "results.json"
                done = predict_files(model, files[:number], output, batch_size=batch_size)
            if done.failures:
                raise RuntimeError(f"{done.failures} photos could not be read.")

        return run

    sides = {f"in memory, batch {size}": in_memory(size) for size in (1, 4)}
    sides |= {f"list, batch {size}": listed(size) for size in (1, 4)}
    if saved_model:
        sides["Beam's handler, batch 1"] = beam_handler(model, files)
    return sides


def beam_handler(model, files):
    """The same through `ServeBytes`, as a worker of Beam calls it."""
    from keras_maskrcnn.export.beam import ServeBytes

    with tempfile.TemporaryDirectory() as folder:
        model.export(pathlib.Path(folder) / "1", roi_align="custom", verbose=False)
        handler = ServeBytes(str(pathlib.Path(folder) / "1"))
        served = handler.load_model()

    def run(number):
        for file in files[:number]:
            handler.run_inference([pathlib.Path(file).read_bytes()], served)

    return run


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="random weights of it, not the preset demo_shapes")
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--saved-model", action="store_true")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = km.MaskRCNN(args.config) if args.config else km.MaskRCNN.from_preset("demo_shapes")
    photos = sorted(str(path) for path in PHOTOS.glob("*.jpg"))
    files = list(itertools.islice(itertools.cycle(photos), args.number))
    sides = make_sides(model, files, args.saved_model)
    for run in sides.values():
        run(min(WARM_UP, args.number))
    seconds = {name: [] for name in sides}
    for _ in range(args.turns):
        for name, run in sides.items():
            start = time.perf_counter(), time.process_time()
            run(args.number)
            seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    whole = statistics.median(wall for wall, _ in seconds["in memory, batch 1"])
    for name, times in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        rate = f"{args.number / wall:7.2f} images/s, {whole / wall:.2f} of the first"
        print(f"{name:<24}{rate}, {1e3 * cpu / args.number:7.1f} ms of processor an image")


if __name__ == "__main__":
    main()
