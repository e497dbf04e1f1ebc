"""Times inference and a training step against torchvision's, turn by turn, in one go.

    python benchmarks/speed.py inference                                 # ours alone
    python benchmarks/speed.py inference --peer ../peer/bin/python       # and the ratios
    python benchmarks/speed.py inference --dtype bfloat16 --peer ../peer/bin/python
    python benchmarks/speed.py train --peer ../peer/bin/python
    python benchmarks/speed.py inference --golden detectron2_mask_rcnn_r101_fpn

Inference takes one photo of 1275x800, uint8 pixels, and ends with full-size masks of all its
detections. A training step is forward, backward and SGD on one photo at 800 pixels, stages 3 to 5
and all that follows trained, batch norm in training mode, as the peer has it. Weights and photos
are those of `../shared/bench/peer.py`; 2 threads. Each run is a process of its own, the two sides
take turns, and the figures are medians over the turns of a turn's median; memory is the peak of a
process. Ours loads its weights from a `.keras` file that was made before.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
THREADS = 2
GOLDEN = "torchvision_mask_rcnn_r50_fpn"
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def save_model(path, work, golden, dtype):
    """Writes the model with the golden's weights."""
    from parity import GOLDENS, Golden

    trained = {"norm": "batch_norm", "freeze_at": 2} if work == "train" else {}
    Golden(GOLDENS, golden).model(dtype=dtype, **trained).save(path)


def inference(model):
    """A function that finds the objects in the photo, and what it found."""
    import cv2

    photo = cv2.imread(str(SHARED / "goldens/images/crowd_800.png"))[:, :, ::-1]
    found = {}

    def run():
        detections = model.predict([photo], verbose=0)[0]
        found.update(detections=len(detections), mask_pixels=int(detections.masks.sum()))

    return run, found


def train(model):
    """A function that takes a training step, and its losses."""
    import keras

    import keras_maskrcnn as km

    folder = SHARED / "data/coco_tiny"
    photos = km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )
    photos.records = [record for record in photos.records if record.image_id == 318219]
    batches = photos.batches(model.config, training=True).repeat()
    model.compile(optimizer=keras.optimizers.SGD(1e-5, momentum=0.9, weight_decay=1e-4))
    batch = iter(batches)
    losses = {}

    def run():
        losses.update(model.train_on_batch(*next(batch), return_dict=True))

    return run, losses


def measure(work, path, runs):
    """The figures of this process: median seconds of the runs after the first, and peak memory."""
    import keras
    import tensorflow as tf

    import keras_maskrcnn  # noqa: F401, for the classes of the model

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    start = time.perf_counter()
    run, result = {"inference": inference, "train": train}[work](keras.models.load_model(path))
    built = time.perf_counter()
    run()
    first = time.perf_counter()
    seconds, peak = timed(run, runs)
    return {
        "median_s": seconds,
        "peak_mib": peak,
        "build_s": built - start,
        "first_s": first - built,
        **{name: float(value) for name, value in result.items()},
    }


def timed(run, runs):
    """Median seconds, and the peak memory of this process in MiB."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return statistics.median(times), peak


def in_a_process(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(commands, turns):
    """Median seconds and largest peak of each side."""
    results = {side: [] for side in commands}
    for _ in range(turns):
        for side, command in commands.items():
            results[side].append(in_a_process(command))
            print(side, json.dumps(results[side][-1]), flush=True)
    return {
        side: (
            statistics.median(result["median_s"] for result in values),
            max(result["peak_mib"] for result in values),
        )
        for side, values in results.items()
    }


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=["inference", "train"])
    parser.add_argument("--peer", help="a Python with torchvision, to time it as well")
    parser.add_argument("--golden", default=GOLDEN, help="whose architecture and weights")
    parser.add_argument("--dtype", default="float32", choices=POLICIES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--model", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(work, dtype="float32", golden=GOLDEN, peer=None, runs=5, turns=1):
    """Median seconds and largest peak, by side."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.keras"
        ours = [sys.executable, __file__, work, "--dtype", dtype, "--golden", golden]
        ours += ["--runs", runs, "--model", path]
        in_a_process(ours)
        commands = {"keras_maskrcnn": ours}
        if peer:
            theirs = [peer, SHARED / "bench/peer.py", {"inference": "infer"}.get(work, work)]
            half = ["--bf16"] if dtype == "bfloat16" else []
            commands["torchvision"] = [*theirs, "--runs", runs, *half]
        return take_turns(commands, turns)


def main():
    args = parse_arguments()
    if args.model and args.model.exists():
        print(json.dumps(measure(args.work, args.model, args.runs)))
        return
    if args.model:
        save_model(args.model, args.work, args.golden, POLICIES[args.dtype])
        print(json.dumps({"saved": str(args.model)}))
        return
    figures = compare(args.work, args.dtype, args.golden, args.peer, args.runs, args.turns)
    for side, (seconds, peak) in figures.items():
        ratio = f", {seconds / figures['torchvision'][0]:.2f} of torchvision" if args.peer else ""
        print(f"{args.work} {args.dtype} {side:<16}{seconds:7.2f} s{ratio}, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
