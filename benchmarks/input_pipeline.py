"""Times the input pipeline on one core, against torchvision's on the same photos.

    python benchmarks/input_pipeline.py                              # ours alone
    python benchmarks/input_pipeline.py --peer ../peer/bin/python    # and the ratio to torchvision

The 49 annotated training photos of `../shared/data/coco_tiny`: decoded, resized to 800 pixels,
flipped, masks cut out, float32 batches of one; from JPEG files and a COCO JSON, and from TFRecords.
All runs on one core, the peer's too, turn by turn; each figure is the median of the turns.

Then what must not grow: the time of an image, from 100 records to 100,000 that name the same
photos, and the memory of a process that reads TFRecords. The 100,000 are the same file under
many names. Last, the share of a batch that is padding.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import cv2
import numpy as np

import keras_maskrcnn as km

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
NUMBERS = (100, 1_000, 10_000, 100_000)
IMAGES = 200


def photos(split="train2017"):
    """The photos with objects in them."""
    folder = SHARED / "data/coco_tiny"
    dataset = km.data.CocoDataset(folder / f"annotations/instances_{split}.json", folder / split)
    dataset.records = [r for r in dataset.records if any(not i.crowd for i in r.instances)]
    return dataset


def repeated(dataset, number):
    """The dataset with `number` records of the same photos."""
    some = photos()
    records = dataset.records
    some.records = [
        dataclasses.replace(records[i % len(records)], image_id=i) for i in range(number)
    ]
    return some


def linked(folder, stored, number):
    """A TFRecord dataset of `number` records, the only file of `stored` under many names."""
    folder.mkdir()
    (source, count), *_ = stored.shards.items()
    index = json.loads((pathlib.Path(stored.source) / "index.json").read_text())
    (counts,) = index["shards"].values()
    index["shards"] = {}
    for i in range(-(-number // count)):
        os.link(source, folder / f"{i}.tfrecord")
        index["shards"][f"{i}.tfrecord"] = {**counts, "images": min(count, number - i * count)}
    (folder / "index.json").write_text(json.dumps(index))
    return km.data.TFRecordDataset(folder)


def seconds_an_image(dataset, images=IMAGES):
    """Seconds up to the first image, and then for each of the following."""
    start = time.perf_counter()
    batches = iter(dataset.batches(km.MaskRCNNConfig(), training=True).repeat())
    next(batches)
    first = time.perf_counter()
    for _ in range(images):
        next(batches)
    return first - start, (time.perf_counter() - first) / images


def peer_seconds(python):
    command = [python, SHARED / "bench/peer.py", "data", "--runs", "3", "--threads", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures["median_s"] / figures["images"]


def print_speed(peer, turns, sources):
    times = {name: [] for name in (*sources, *(["torchvision"] if peer else []))}
    for _ in range(turns):
        for name, dataset in sources.items():
            times[name].append(seconds_an_image(dataset)[1])
        if peer:
            times["torchvision"].append(peer_seconds(peer))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        ratio = f"   {medians['torchvision'] / seconds:.1f} times torchvision" if peer else ""
        print(f"{name:<22}{1 / seconds:8.1f} images/s{ratio}", flush=True)


def print_growth(name, datasets):
    for number, dataset in datasets.items():
        first, each = seconds_an_image(dataset)
        print(
            f"{name:<22}{number:8,} records   {1e3 * each:6.2f} ms an image, "
            f"the first after {first:.2f} s",
            flush=True,
        )


def memory_after(folder, images):
    """MiB that this process came to hold at most while it read so many images."""
    seconds_an_image(km.data.TFRecordDataset(folder), images)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_memory(datasets):
    context = multiprocessing.get_context("spawn")
    for number, dataset in datasets.items():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            peak = pool.submit(memory_after, dataset.source, 2000).result()
        print(f"{'TFRecords':<22}{number:8,} records   {peak:6.0f} MiB at most", flush=True)


def print_padding(dataset):
    """The share of the pixels of batches that is padding, grouped by shape and not."""
    sizes = np.array(
        [
            km.data.images.resized_shape(record.height, record.width, 800, 1333)
            for record in dataset.records
        ]
    )
    order = np.random.default_rng(0).permutation(len(sizes))
    for batch_size in (2, 4, 8, 16):
        whole = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
        config = km.MaskRCNNConfig(mask=False)
        batches = dataset.batches(config, batch_size, training=True)
        grouped = padding([x["image_sizes"].numpy() for x, _ in batches])
        print(
            f"batches of {batch_size:<11}{grouped:8.1%} padding, "
            f"{padding(sizes[whole]):.1%} if not grouped",
            flush=True,
        )


def padding(batches):
    padded = sum(len(sizes) * sizes.max(axis=0).prod() for sizes in batches)
    return 1 - sum(sizes.prod(axis=1).sum() for sizes in batches) / padded


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="a Python with torchvision, to time it as well")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the peer inherits it
    cv2.setNumThreads(1)
    dataset = photos()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        stored = km.data.write_tfrecords(dataset, folder / "photos")
        print_speed(args.peer, args.turns, {"JPEG and COCO JSON": dataset, "TFRecords": stored})
        print_growth("JPEG and COCO JSON", {n: repeated(dataset, n) for n in NUMBERS})
        thousand = km.data.write_tfrecords(repeated(dataset, 1000), folder / "many", shards=1)
        many = {n: linked(folder / str(n), thousand, n) for n in NUMBERS}
        print_growth("TFRecords", many)
        print_memory({n: many[n] for n in (1_000, 100_000)})
    both = photos()
    both.records = 5 * (both.records + photos("val2017").records)
    print_padding(both)


if __name__ == "__main__":
    main()
