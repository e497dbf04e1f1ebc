"""Where the time of a photo, or of a training step, goes: TensorFlow's profiler, summed up by part.

    python benchmarks/time_by_part.py inference
    python benchmarks/time_by_part.py train

The work and the model are those of `speed.py`. One operation at a time, on 2 threads, so that the
times of the parts add up. A part's own are the operations under its layer's name, forward and
backward; what has no layer (targets, losses, proposals, the final suppression) is the rest.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import keras
import speed
import tensorflow as tf

import keras_maskrcnn  # noqa: F401, for the classes of the model

RUNS = 3
PARTS = {
    "res_net": "backbone",
    "fpn": "FPN",
    "rpn_head": "RPN head",
    "ro_i_align": "RoIAlign",
    "box_head": "box head",
    "mask_head": "mask head",
    "sgd": "optimizer",
}


def profile(run, folder):
    """Milliseconds a run by operation's name and type, and of a run as a whole."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    tf.profiler.experimental.start(folder)
    start = time.perf_counter()
    for _ in range(RUNS):
        run()
    whole = 1e3 * (time.perf_counter() - start) / RUNS
    tf.profiler.experimental.stop()
    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    milliseconds = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            # An operation is "name:type"; other events hold operations, or the input pipeline's.
            if re.fullmatch(r"[\w./>-]+:[\w>]+", name) and not name.startswith("Iterator"):
                milliseconds[name] += event.duration_ps / 1e9 / RUNS
    return milliseconds, whole


def part_of(name):
    """The part, and whether it is its gradients."""
    path, _ = name.split(":")
    backward = path.startswith("gradient_tape/")
    path = re.sub(r"^(gradient_tape/|mask_rcnn(_\d+)?/)+", "", path)
    layer = re.sub(r"(_\d+)*$", "", path.split("/")[0])
    return PARTS.get(layer, "rest") + (", backward" if backward else "")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=["inference", "train"])
    parser.add_argument("--operations", type=int, default=12, help="how many of the longest")
    args = parser.parse_args()
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(speed.THREADS)
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "m.keras"
        command = [sys.executable, speed.__file__, args.work, "--model", model]
        subprocess.run(command, check=True, capture_output=True)
        run, _ = getattr(speed, args.work)(keras.models.load_model(model))
        run()
        run()
        milliseconds, whole = profile(run, folder)
    parts = collections.Counter()
    for name, each in milliseconds.items():
        parts[part_of(name)] += each
    print(f"{whole:8.0f} ms a run, {sum(parts.values()):.0f} of them in operations")
    for name, each in parts.most_common():
        print(f"{each:8.1f} ms {name}")
    print("the longest operations")
    for name, each in milliseconds.most_common(args.operations):
        print(f"{each:8.1f} ms {name}")


if __name__ == "__main__":
    main()
