"""Images a second of `predict --input-list`, against `predict` on the same photos in memory.

    python benchmarks/input_list.py
    python benchmarks/input_list.py --config mask_rcnn_resnet50_fpn --number 12
    python benchmarks/input_list.py --saved-model    # and of the Beam pipeline's model handler

The list takes photos of COCO from files, as often as it needs them, and ends with COCO results on
disk; `predict` takes them as arrays and ends with `Detections`, none of which is looked at, so the
list does more. Each run has a model of its own, which it traces, as a process would. Sides take
turns, of which the fastest counts. 2 threads.
"""

import argparse
import itertools
import pathlib
import tempfile
import time

import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.prediction.file_lists import predict_files

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_tiny/train2017"
THREADS = 2


def make_sides(files):
    """Functions with which a model finds the objects of the first so many files, by name."""
    arrays = [read_image(file) for file in files[: len(set(files))]]

    def in_memory(batch_size):
        def run(model, number):
            photos = list(itertools.islice(itertools.cycle(arrays), number))
            model.predict(photos, batch_size=batch_size, verbose=0)

        return run

    def listed(batch_size):
        def run(model, number):
            with tempfile.TemporaryDirectory() as folder:
                output = pathlib.Path(folder) / "results.json"
                done = predict_files(model, files[:number], output, batch_size=batch_size)
            if done.failures:
                raise RuntimeError(f"{done.failures} photos could not be read.")

        return run

    sides = {f"in memory, batch {size}": in_memory(size) for size in (1, 4)}
    sides |= {f"list, batch {size}": listed(size) for size in (1, 4)}
    return sides


def make_model(config):
    return km.MaskRCNN(config) if config else km.MaskRCNN.from_preset("demo_shapes")


def beam_handler(model, files):
    """The same through `ServeBytes`, as a worker of Beam calls it."""
    from keras_maskrcnn.export.beam import ServeBytes

    with tempfile.TemporaryDirectory() as folder:
        model.export(pathlib.Path(folder) / "1", roi_align="custom", verbose=False)
        handler = ServeBytes(str(pathlib.Path(folder) / "1"))
        served = handler.load_model()

    def run(_, number):
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
    photos = sorted(str(path) for path in PHOTOS.glob("*.jpg"))
    files = list(itertools.islice(itertools.cycle(photos), args.number))
    sides = make_sides(files)
    if args.saved_model:
        sides["Beam's handler, batch 1"] = beam_handler(make_model(args.config), files)
    seconds = {name: [] for name in sides}
    for _ in range(args.turns):
        for name, run in sides.items():
            model = make_model(args.config)
            start = time.perf_counter(), time.process_time()
            run(model, args.number)
            seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    whole = min(seconds["in memory, batch 1"])[0]
    for name, times in seconds.items():
        wall, cpu = (min(column) for column in zip(*times, strict=True))
        rate = f"{args.number / wall:7.2f} images/s, {whole / wall:.2f} of the first"
        print(f"{name:<24}{rate}, {1e3 * cpu / args.number:7.1f} ms of processor an image")


if __name__ == "__main__":
    main()
