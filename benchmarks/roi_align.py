"""Times RoIAlign, compiled and portable, against torchvision's on the same regions.

    python benchmarks/roi_align.py                              # ours alone
    python benchmarks/roi_align.py --peer ../peer/bin/python    # and the ratio to torchvision

1000 regions of 16 to 600 pixels on P2..P5 of an 800x1344 image, 7x7 bins, 256 channels, float32,
two samples a bin and axis, 2 threads. The bytes are those that have to move at least once: all
maps and boxes read and the output written; backward, the output's gradient read and the maps'
written. The memory copy moves as many a second as two threads of numpy read and write.
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import time

import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops.roi_align import roi_align

PEER = pathlib.Path(__file__).resolve().parents[2] / "shared/bench/peer.py"
SHAPES = ((200, 336), (100, 168), (50, 84), (25, 42))
STRIDES, CHANNELS, REGIONS, THREADS = (4, 8, 16, 32), 256, 1000, 2


def regions(number=REGIONS, seed=0):
    """The peer's boxes (number, 4): the same draws in the same order."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(16), np.log(600), number))
    aspect = np.sqrt(np.exp(rng.normal(0, 0.5, number)))
    width, height = np.minimum(size * aspect, 1300), np.minimum(size / aspect, 780)
    left, top = rng.uniform(0, 1333 - width), rng.uniform(0, 800 - height)
    return np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)


def median_seconds(run, runs):
    """The median of the runs after one that does not count."""
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def passes(implementation, dtype):
    """Functions that run forward, and forward and backward; and the bytes that each moves."""
    rng = np.random.default_rng(1)
    maps = [tf.cast(rng.standard_normal((1, *s, CHANNELS), np.float32), dtype) for s in SHAPES]
    boxes = tf.constant(regions()[None])
    upstream = tf.cast(rng.standard_normal((1, REGIONS, 7, 7, CHANNELS), np.float32), dtype)

    @tf.function
    def forward():
        return roi_align(maps, boxes, STRIDES, 7, 2, False, implementation=implementation)

    @tf.function
    def both():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = roi_align(maps, boxes, STRIDES, 7, 2, False, implementation=implementation)
        return pooled, tape.gradient(pooled, maps, upstream)

    width = maps[0].dtype.size
    read = sum(int(tf.size(level)) for level in maps) * width
    written = int(tf.size(upstream)) * width
    return forward, both, (read + written, 2 * (read + written))


def copied_bytes_a_second(size=2**28, runs=5):
    """What THREADS threads read and write together."""
    sources = [np.ones(size, np.uint8) for _ in range(THREADS)]
    targets = [np.zeros(size, np.uint8) for _ in range(THREADS)]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        seconds = median_seconds(lambda: list(pool.map(np.copyto, targets, sources)), runs)
    return 2 * THREADS * size / seconds


def peer_seconds(python, runs, *options):
    command = [python, PEER, "roi_align", "--threads", str(THREADS), "--runs", str(runs), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["median_s"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="a Python with torchvision, to time it as well")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    peers = (None, None)
    if args.peer:
        peers = [peer_seconds(args.peer, args.runs, *extra) for extra in ((), ("--backward",))]
        for name, seconds in zip(("forward", "both"), peers, strict=True):
            print(f"{'torchvision':<12}{name:<10}{1e3 * seconds:8.1f} ms")
    copied = copied_bytes_a_second()
    print(f"memory copy           {copied / 1e9:8.1f} GB/s")
    for implementation in ("compiled", "portable"):
        *runs, moved = passes(implementation, args.dtype)
        for name, run, size, peer in zip(("forward", "both"), runs, moved, peers, strict=True):
            seconds = median_seconds(run, args.runs if implementation == "compiled" else 3)
            ratio = f"   1/{peer / seconds:.1f} of torchvision" if peer else ""
            share = size / seconds / copied
            print(
                f"{implementation:<12}{name:<10}{1e3 * seconds:8.1f} ms"
                f"{size / seconds / 1e9:8.1f} GB/s, {share:.0%} of the copy{ratio}"
            )


if __name__ == "__main__":
    main()
