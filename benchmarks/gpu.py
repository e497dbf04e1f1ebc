"""The whole model on a GPU against torchvision's: images a second and memory, one table.

    python benchmarks/gpu.py                  # on a machine with a GPU and TensorFlow
    python benchmarks/gpu.py --cpu --small    # tries the script itself, without a GPU

R50-FPN, inference on one image and a training step on two, float32 (with TF32 where the card has
it, on both sides) and mixed bfloat16. Pixels, objects and weights are random, and every score
counts, so that both sides have 100 detections; both end with masks in their boxes or, torchvision,
pasted. torchvision is left out where it is not installed. Memory is the peak on the card, without
what the framework holds back. Each figure is from a process of its own.

It takes six minutes at most: what has not begun by then, or does not end, is told as such. Exits
with 0 if all ran, losses are finite and the features agree with the CPU's; with 1 if not; with 2
without a GPU.
"""

import argparse
import importlib.util
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import numpy as np

MINUTES = 6
WORKS = {"inference": 1, "train": 2}  # images at a time
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
OBJECTS, CLASSES = 10, 80
LONGEST_SECONDS, RUNS = 10.0, 20
TOLERANCE = 1e-3  # of the largest feature, in float32 without TF32


def make_batch(number, height, width):
    """Random pixels (B, H, W, 3) uint8, boxes (B, N, 4), classes (B, N)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, height, width, 3), np.uint8)
    sides = rng.uniform(0.1, 0.5, (number, OBJECTS, 2)) * (width, height)
    start = rng.uniform(0, 1, sides.shape) * ((width, height) - sides)
    boxes = np.concatenate([start, start + sides], axis=-1).astype(np.float32)
    return images, boxes, rng.integers(0, CLASSES, (number, OBJECTS)).astype(np.int32)


def ours(work, dtype, shape, small, cpu):
    """A function that does the work once, one that tells the peak memory, and what was checked."""
    import keras
    import tensorflow as tf

    import keras_maskrcnn as km

    if not cpu and not tf.config.list_physical_devices("GPU"):
        raise RuntimeError("TensorFlow finds no GPU: pip install 'tensorflow[and-cuda]'")
    keras.utils.set_random_seed(0)
    narrow = {"backbone": "resnet14", "backbone_width": 16, "fpn_channels": 32} if small else {}
    trained = {"norm": "batch_norm", "freeze_at": 0}  # all, as torchvision from random weights
    fields = {"num_classes": CLASSES, "box_score_threshold": 0.0, **trained, **narrow}
    model = km.MaskRCNN("mask_rcnn_resnet50_fpn", dtype=DTYPES[dtype], **fields)
    for block in (block for stage in model.backbone.stages for block in stage):
        gamma = block.conv3.norm.gamma  # random layers would blow the features up
        gamma.assign(0.2 * tf.ones_like(gamma))
    images, boxes, classes = make_batch(*shape)
    checks = {"difference": difference_to_cpu(model)} if dtype == "float32" else {}
    x = {"images": tf.constant(images, tf.float32)}
    if work == "inference":
        detect = tf.function(model)

        def run():
            return {"detections": int(detect(x)["num_detections"].numpy().sum())}
    else:
        masks = np.ones((*classes.shape, model.config.gt_mask_size, model.config.gt_mask_size))
        y = {"boxes": boxes, "classes": classes, "masks": masks.astype(np.uint8)}
        model.compile(keras.optimizers.SGD(1e-4, momentum=0.9))
        x["image_sizes"] = np.tile([shape[1:]], (shape[0], 1)).astype(np.int32)

        def run():
            return {"loss": float(model.train_on_batch(x, y, return_dict=True)["loss"])}

    def peak():
        if cpu:
            return resident_peak()
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20

    return run, peak, {**checks, "roi_align": km.ops.compiled_roi_align.load().description}


def difference_to_cpu(model):
    """Largest difference of the features, over the largest one, between the GPU and the CPU."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    images = tf.constant(make_batch(1, 256, 320)[0], tf.float32)
    sizes = tf.constant([[256, 320]])
    worst, here = 0.0, model.extract_features(images, sizes)
    with tf.device("CPU:0"):
        expected = model.extract_features(images, sizes)
    for level, features in expected.items():
        largest = np.abs(features).max()
        worst = max(worst, float(np.abs(here[level].numpy() - features.numpy()).max() / largest))
    tf.config.experimental.enable_tensor_float_32_execution(True)
    return worst


def torchvisions(work, dtype, shape, small, cpu):
    """The same of torchvision."""
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = "cpu" if cpu else "cuda"
    limits = {"min_size": min(shape[1:]), "max_size": max(shape[1:]), "box_score_thresh": 0.0}
    none = {"weights": None, "weights_backbone": None, "num_classes": CLASSES + 1}
    model = maskrcnn_resnet50_fpn(**none, **limits).to(device).train(work == "train")
    pixels, boxes, classes = make_batch(*shape)
    images = [torch.from_numpy(image).to(device).permute(2, 0, 1) / 255 for image in pixels]
    half = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")
    if work == "inference":

        def run():
            with torch.inference_mode(), half:
                found = model(images)
            return {"detections": sum(len(image["boxes"].cpu()) for image in found)}
    else:
        targets = [
            {
                "boxes": torch.from_numpy(b).to(device),
                "labels": torch.from_numpy(c).long().to(device) + 1,
                "masks": torch.ones((OBJECTS, *shape[1:]), dtype=torch.uint8, device=device),
            }
            for b, c in zip(boxes, classes, strict=True)
        ]
        sgd = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

        def run():
            with half:
                loss = sum(model(images, targets).values())
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            return {"loss": loss.item()}

    def peak():
        return resident_peak() if cpu else torch.cuda.max_memory_allocated() / 2**20

    return run, peak, {}


SIDES = {"keras_maskrcnn": ours, "torchvision": torchvisions}


def resident_peak():
    """The most memory that this process had resident, in MiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def measure(side, work, dtype, height, width, small, cpu):
    """The figures of this process."""
    shape = WORKS[work], height, width
    run, peak, checks = SIDES[side](work, dtype, shape, small, cpu)
    for _ in range(3):  # tracing, and the choice of algorithms
        run()
    times, end = [], time.perf_counter() + LONGEST_SECONDS
    while len(times) < RUNS and (time.perf_counter() < end or len(times) < 3):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return {**checks, **result, "rate": shape[0] / statistics.median(times), "peak": peak()}


def card():
    """Name of the GPU as its driver tells it, or None."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()[0] if done.stdout.strip() else None


def in_a_process(arguments, side, work, dtype, seconds):
    """Figures of a side, or `{"failed": reason}`."""
    if seconds <= 0:
        return {"failed": "no time left"}
    command = [sys.executable, __file__, *arguments, "--measure", side, work, dtype]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if "--cpu" in arguments else {})}
    pipes = {"capture_output": True, "text": True, "env": environment}
    try:
        done = subprocess.run(command, timeout=seconds, **pipes)
    except subprocess.TimeoutExpired:
        return {"failed": "no time left"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def is_right(figures):
    """Whether a side of ours ran and what it computed can be meant."""
    finite = all(np.isfinite(v) for v in figures.values() if isinstance(v, float))
    close = figures.get("difference", 0.0) <= TOLERANCE
    found = figures.get("detections", 100) == 100
    return "failed" not in figures and finite and close and found


def print_table(figures):
    """A row a work, type and side."""
    print(f"{'work':11}{'type':10}{'side':16}{'images/s':>10}{'ratio':>8}{'peak MiB':>10}  checks")
    for (work, dtype, side), row in figures.items():
        if "failed" in row:
            print(f"{work:11}{dtype:10}{side:16}  {row['failed']}")
            continue
        peer = figures.get((work, dtype, "torchvision"), {}).get("rate")
        ratio = f"{row['rate'] / peer:.2f}" if peer else ""
        checks = {k: row[k] for k in ("detections", "loss", "difference") if k in row}
        told = ", ".join(f"{name} {value:.4g}" for name, value in checks.items())
        line = f"{work:11}{dtype:10}{side:16}{row['rate']:10.2f}{ratio:>8}{row['peak']:10.0f}"
        print(f"{line}  {told}")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", action="store_true", help="do without a GPU")
    parser.add_argument("--small", action="store_true", help="a narrow model on small images")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    end = time.monotonic() + 60 * MINUTES - 10
    args = parse_arguments()
    size = (192, 256) if args.small else (800, 1344)
    if args.measure:
        print(json.dumps(measure(*args.measure, *size, args.small, args.cpu)))
        return 0
    name = "the CPU" if args.cpu else card()
    if name is None:
        print("No GPU: nvidia-smi finds none, nothing was measured.", file=sys.stderr)
        return 2
    sides = [side for side in SIDES if side == "keras_maskrcnn" or has_torchvision()]
    options = [option for option in sys.argv[1:] if option in ("--cpu", "--small")]
    figures = {}
    for side, work, dtype in itertools.product(sides, WORKS, DTYPES):
        left = end - time.monotonic()
        figures[work, dtype, side] = in_a_process(options, side, work, dtype, left)
    roi_align = {row["roi_align"] for row in figures.values() if "roi_align" in row}
    print(f"{name}, {size[0]}x{size[1]}, RoIAlign: {', '.join(sorted(roi_align))}")
    print_table(dict(sorted(figures.items())))
    return int(not all(is_right(row) for key, row in figures.items() if key[2] == sides[0]))


def has_torchvision():
    return importlib.util.find_spec("torchvision") is not None


if __name__ == "__main__":
    sys.exit(main())
