"""Train one model on several machines.

Start the script on each machine, with the same files beside it, and with TF_CONFIG, which says who
takes part and which of them this one is:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
                "task": {"type": "worker", "index": 0}}' python examples/multi_worker.py

`cluster` is the same everywhere: an address of each machine and a free port that the others reach.
`index` is this machine's place in that list, 0, 1 and so on. The workers wait for each other at the
start and after each step; each uses all GPUs that it has. To try it on one machine, two processes:

    python examples/multi_worker.py --local 2

A batch is shared out among the replicas, the losses are those of the whole batch, and batch norms
see all of it: the weights are those that one machine with the same batch size would get. Every
worker writes to a folder of its own, `runs/multi_worker/worker0/` and so on. If one dies all stop:
start all of them again, and they go on after the last epoch that they finished.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import tensorflow as tf

import keras_maskrcnn as km

LEARNING_RATE_PER_IMAGE = 1e-3 / 8


def main(arguments: list[str] | None = None) -> None:
    """Train as one of the workers, or start all of them on this machine."""
    args = parse(arguments)
    if args.local:
        sys.exit(start_workers(args.local, arguments or sys.argv[1:]))
    # Before anything else of TensorFlow is used: it starts the connections.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    worker = strategy.cluster_resolver.task_id or 0
    folder = args.output / f"worker{worker}"
    train, val = datasets(args, folder / "data")
    keras.utils.set_random_seed(0)

    # The global batch grows with the replicas, and the learning rate with it.
    batch_size = args.images_per_replica * strategy.num_replicas_in_sync
    with strategy.scope():  # model and optimizer: their variables lie on all replicas
        model = km.MaskRCNN(
            "demo_shapes",
            num_classes=len(train.class_names),
            class_names=train.class_names,
            image_min_size=args.size,
            image_max_size=args.size,
        )
        model.compile(
            optimizer=keras.optimizers.AdamW(
                LEARNING_RATE_PER_IMAGE * batch_size, weight_decay=0.05
            )
        )
    # The same seed on every worker: each takes its part of the same batches.
    batches = train.batches(model.config, batch_size=batch_size, training=True, seed=0)
    model.fit(
        batches,
        epochs=args.epochs,
        shuffle=False,
        verbose=2 if worker == 0 else 0,
        callbacks=callbacks(folder, val, batch_size, verbose=worker == 0),
    )


def callbacks(folder: pathlib.Path, val: km.data.CocoDataset, batch_size: int, verbose: bool):
    """The same on every worker: they read variables together, so none may leave one out."""
    return [
        km.callbacks.CocoEvaluation(val, batch_size=8, verbose=verbose),
        km.callbacks.NaNGuard(),
        km.callbacks.ImagesPerSecond(batch_size),
        keras.callbacks.ModelCheckpoint(
            folder / "best.keras", monitor="val_mask_ap", mode="max", save_best_only=True
        ),
        keras.callbacks.CSVLogger(folder / "log.csv", append=True),
        keras.callbacks.BackupAndRestore(folder / "backup"),
    ]


def datasets(args: argparse.Namespace, folder: pathlib.Path):
    """Generated pictures, the same on each worker; in earnest, a `CocoDataset` of your files."""
    return (
        km.data.shapes.generate(folder / "train", args.images, size=args.size, seed=0),
        km.data.shapes.generate(folder / "val", max(args.images // 8, 1), size=args.size, seed=1),
    )


def start_workers(number: int, arguments: list[str]) -> int:
    """Run this script `number` times on loopback; the exit status is the first that is not 0."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(number):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, *arguments, "--local", "0"],
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
            )
        )
    return next((code for code in [process.wait() for process in processes] if code), 0)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--local", type=int, default=0, help="start so many workers here")
    parser.add_argument("--images", type=int, default=1600, help="generated pictures")
    parser.add_argument("--size", type=int, default=192, help="their side, in pixels")
    parser.add_argument("--images-per-replica", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/multi_worker"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
