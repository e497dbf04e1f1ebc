"""The paper's ablations at the scale of one machine: which of its claims show with this code.

    pip install 'maskrcnn-keras[examples]'
    python examples/paper_ablations.py                    # on 2 cores in 2.2 hours
    python examples/paper_ablations.py --scale 8 --seeds 0 1 2 3 4 --output runs/ablations8
    python examples/paper_ablations.py --only c5 c5_roi_pool --seeds 0

Pictures of thin, touching and overlapping shapes of many sizes are generated. A Faster R-CNN learns
from random weights on some of them: its backbone is the start of the variants, in the place of
ImageNet's in the paper. They keep its batch norms and first stages frozen and are trained on other
pictures, all on the same ones with the same schedule; runs of one seed see the same batches. One
variant starts from nothing, with group norms. What has run is kept in
`runs/ablations/<variant>/seed<k>/`: config, log, results on pictures that no model was trained on,
and detections. It is not run again; a run that was killed goes on from its last backup. At the end
`paper_ablations_report.py` makes tables and plots of what is there.

`--scale` multiplies the steps and the training pictures. `--parallel` runs go on at a time, each
with its share of the cores; one core a run is the best use of a machine with few. On a machine with
one GPU, use `--parallel 1`.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
from paper_ablations_report import write_report

import keras_maskrcnn as km
from keras_maskrcnn.cli.run_folder import epochs_before
from keras_maskrcnn.evaluation.coco import figures, run_coco_eval
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import WarmupMultiStep

SIZE = 256
CLASSES = ("triangle", "star", "ring", "cross")
SCENE = km.data.shapes.Scene(number=(2, 6), radius=(0.1, 0.38), thickness=0.85, touching=0.5)
STEPS, START_STEPS, EPOCHS = 1000, 3000, 10  # an epoch is a line of the log
BATCH_SIZE, START_BATCH_SIZE = 4, 8  # batch norms that train need more pictures
EVALUATE_EVERY, BACKUP_EVERY = 2, 100
# How many pictures of each set; a set's place here is its seed.
IMAGES = {"train": 1200, "val": 300, "curve": 40, "start": 2400}
SHOWN_IMAGES = 6
LEARNING_RATE = 1e-3
WEIGHT_DECAY, CLIP_NORM = 0.05, 10.0

BASE = {
    "backbone": "resnet14",
    "backbone_width": 32,
    "norm": "frozen_batch_norm",
    "freeze_at": 2,
    "stride_in_1x1": False,
    "num_classes": len(CLASSES),
    "class_names": CLASSES,
    "pixel_std": (58.395, 57.12, 57.375),
    "image_min_size": SIZE,
    "image_max_size": SIZE,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_train": 200,
    "rpn_post_nms_top_n_test": 100,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 64,
    "box_detections_per_image": 50,
    "roi_sampling_ratio": 2,
    "mask_deconv_channels": 64,
    "max_gt_boxes": 16,
    "gt_mask_size": 56,
}
HEADS = {"box_head_units": (256,), "mask_head_channels": (64, 64, 64, 64)}
FPN = {**BASE, **HEADS, "neck": "fpn", "fpn_channels": 64}
FPN["anchor_sizes"] = ((16,), (32,), (64,), (128,), (256,))
ONE_LEVEL = {**BASE, "anchor_sizes": ((16, 32, 64, 128, 256),)}
C4 = {**ONE_LEVEL, "neck": "c4", "box_pool_size": 7}
C5 = {**ONE_LEVEL, **HEADS, "neck": "c5"}
VARIANTS = {
    "c5": C5,
    "c5_roi_pool": {**C5, "roi_transform": "roi_pool"},
    "c4": C4,
    "c4_roi_pool": {**C4, "roi_transform": "roi_pool"},
    "fpn": FPN,
    "fpn_roi_pool": {**FPN, "roi_transform": "roi_pool"},
    "fpn_softmax": {**FPN, "mask_loss": "softmax"},
    "fpn_class_agnostic": {**FPN, "class_agnostic_mask": True},
    "fpn_no_mask": {**FPN, "mask": False},
    "fpn_group_norm": {**FPN, "norm": "group_norm", "freeze_at": 0},
}
START = "start"
FROM_SCRATCH = {"norm": "batch_norm", "freeze_at": 0, "mask": False}
MORE_REGIONS = {"box_batch_size_per_image": 128, "box_positive_fraction": 0.5}
ALL = {START: {**FPN, **FROM_SCRATCH, **MORE_REGIONS}, **VARIANTS}


def main(arguments: list[str] | None = None) -> None:
    """Run what has not run yet, then write the report."""
    args = parse(arguments)
    if args.child:
        train_run(args, args.child, args.seeds[0])
        return
    note_settings(args)
    start = time.perf_counter()
    for name in IMAGES:
        pictures(args, name)
    runs = [(variant, seed) for seed in args.seeds for variant in args.variants]
    missing = [run for run in runs if not is_done(args, *run)]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there already", flush=True)
    cores = os.cpu_count() or 1
    if missing and not is_done(args, START, 0) and spawn(args, START, 0, cores):
        sys.exit(f"the first run failed: see {run_folder(args, START, 0) / 'output.txt'}")
    failed = run_all(args, missing, max(1, cores // args.parallel))
    print(f"took {(time.perf_counter() - start) / 60:.0f} minutes")
    print(f"report: {write_report(args.output, args.report)}")
    if failed:
        sys.exit("failed, see output.txt in " + ", ".join(str(folder) for folder in failed))


def run_all(
    args: argparse.Namespace, runs: list[tuple[str, int]], threads: int
) -> list[pathlib.Path]:
    """Do the runs, some at a time, and return the folders of those that failed."""
    with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        started = [pool.submit(spawn, args, *run, threads) for run in runs]
        try:
            codes = [future.result() for future in started]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return [run_folder(args, *run) for run, code in zip(runs, codes, strict=True) if code]


def spawn(args: argparse.Namespace, name: str, seed: int, threads: int) -> int:
    """One run in a process of its own; its exit code."""
    folder = run_folder(args, name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--seeds", seed, "--scale", args.scale, "--output", args.output]
    command = [sys.executable, __file__, "--child", name, *options]
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    # TensorFlow leaves oneDNN off on processors without AVX-512; these runs are faster with it.
    defaults = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
    environment = {**defaults, **os.environ, **dict.fromkeys(names, str(threads))}
    start = time.perf_counter()
    with open(folder / "output.txt", "a", encoding="utf-8") as output:
        code = subprocess.run(
            [str(part) for part in command], env=environment, stdout=output, stderr=output
        ).returncode
    seconds = time.perf_counter() - start
    print(f"{name} seed {seed}: {f'failed ({code})' if code else f'{seconds:.0f} s'}", flush=True)
    return code


def pictures(args: argparse.Namespace, name: str) -> km.data.CocoDataset:
    """One of the sets of `IMAGES`, drawn if it is not there yet."""
    scale = args.scale if name in ("train", START) else min(args.scale, 1)
    number = max(2 * START_BATCH_SIZE, round(IMAGES[name] * scale))
    folder = args.output / "data" / name
    if (folder / "annotations.json").is_file():
        return km.data.CocoDataset(folder / "annotations.json", folder / "images")
    seed = list(IMAGES).index(name)
    return km.data.shapes.generate(folder, number, SIZE, seed, CLASSES, SCENE)


def train_run(args: argparse.Namespace, name: str, seed: int) -> None:
    """One run: trained, from its last backup if there is one, measured, and written down."""
    folder = run_folder(args, name, seed)
    keras.utils.set_random_seed(seed)
    config = km.MaskRCNNConfig(**ALL[name])
    config.to_yaml(folder / "config.yaml")
    model = km.MaskRCNN(config)
    if config.norm == "frozen_batch_norm":
        start_from(model, run_folder(args, START, 0) / "backbone.npz")
    fit(args, name, seed, model)
    if name == START:
        np.savez(folder / "backbone.npz", *(w.numpy() for w in backbone_weights(model)))
    val = pictures(args, "val")
    write_measurements(run_coco_eval(model, val, BATCH_SIZE, verbose=0), val, folder)
    shutil.rmtree(folder / "backup")


def fit(args: argparse.Namespace, name: str, seed: int, model: km.MaskRCNN) -> None:
    """Train, with a log, learning curves and backups in the folder of the run."""
    folder = run_folder(args, name, seed)
    first = name == START
    steps_per_epoch = epoch_length(args, START_STEPS if first else STEPS)
    steps = EPOCHS * steps_per_epoch
    schedule = WarmupMultiStep(LEARNING_RATE, max(1, steps // 10), [steps * 3 // 4])
    optimizer = make_optimizer("adamw", schedule, WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
    model.compile(optimizer=optimizer)
    backup = km.callbacks.Backup(folder / "backup", steps_per_epoch, BACKUP_EVERY)
    epochs_before(folder / "log.csv", backup.epoch)  # cuts off what will be logged again
    train, curve = pictures(args, START if first else "train"), pictures(args, "curve")
    batch_size = START_BATCH_SIZE if first else BATCH_SIZE
    batches = train.batches(model.config, batch_size, training=True, seed=seed, start=backup.step)
    model.fit(
        batches.repeat(),
        steps_per_epoch=steps_per_epoch,
        epochs=EPOCHS,
        initial_epoch=backup.epoch,
        shuffle=False,
        verbose=2,
        callbacks=[
            backup,
            StopWithParent(),
            km.callbacks.NaNGuard(),
            km.callbacks.CocoEvaluation(curve, EVALUATE_EVERY, BATCH_SIZE, verbose=False),
            keras.callbacks.CSVLogger(folder / "log.csv", append=True),
        ],
    )


def epoch_length(args: argparse.Namespace, steps: int) -> int:
    """Steps an epoch of a run that has so many steps at scale 1."""
    return max(1, round(steps * args.scale / EPOCHS))


def start_from(model: km.MaskRCNN, path: pathlib.Path) -> None:
    """Set the stem and the stages of the model, stage 5 in its head too, to what was learned."""
    with np.load(path) as file:
        for variable, name in zip(backbone_weights(model), file.files, strict=True):
            variable.assign(file[name])


def backbone_weights(model: km.MaskRCNN) -> list[keras.Variable]:
    """The weights of the stem and of stages 2 to 5, in their order."""
    res5 = model.res5.blocks if model.config.neck == "c4" else []
    layers = [model.backbone.stem, *model.backbone.blocks, *res5]
    return [variable for layer in layers for variable in layer.weights]


def write_measurements(evaluations, val: km.data.CocoDataset, folder: pathlib.Path) -> None:
    """AP, AP at each IoU threshold, and what was found on the first pictures."""
    shown = [record.image_id for record in val.records[:SHOWN_IMAGES]]
    if "mask" in evaluations:
        found = evaluations["mask"].cocoDt
        found = found.loadAnns(found.getAnnIds(imgIds=shown))
        write_json([kept_detection(detection) for detection in found], folder / "detections.json")
    by_iou = {}
    for kind, evaluation in evaluations.items():
        precision = evaluation.eval["precision"][..., 0, -1]  # of all sizes: IoU, recall, class
        by_iou[kind] = [float(values[values > -1].mean()) for values in precision]
    write_json({**figures(evaluations), "ap_by_iou": by_iou}, folder / "results.json")


def kept_detection(found: dict) -> dict:
    """A detection of pycocotools as JSON can hold it."""
    size, counts = found["segmentation"]["size"], found["segmentation"]["counts"]
    counts = counts if isinstance(counts, str) else counts.decode()
    mask = {"size": [int(side) for side in size], "counts": counts}
    return {**{n: found[n] for n in ("image_id", "category_id", "score")}, "segmentation": mask}


class StopWithParent(keras.callbacks.Callback):
    """Ends a run whose parent is gone, so that none goes on unseen beside its successor."""

    def __init__(self):
        super().__init__()
        self.parent = os.getppid()

    def on_train_batch_end(self, batch, logs=None):
        if os.getppid() != self.parent:
            sys.exit("the process that started this run is gone")


def run_folder(args: argparse.Namespace, variant: str, seed: int) -> pathlib.Path:
    """Where a run is kept."""
    return args.output / variant / f"seed{seed}"


def is_done(args: argparse.Namespace, variant: str, seed: int) -> bool:
    """Whether a run has ended; one of another config is an error."""
    folder = run_folder(args, variant, seed)
    if not (folder / "config.yaml").is_file():
        return False
    kept = km.MaskRCNNConfig.from_yaml(folder / "config.yaml")
    if kept != km.MaskRCNNConfig(**ALL[variant]):
        sys.exit(f"{folder} holds a run of another config than {variant} has now: remove it.")
    return (folder / "results.json").is_file()


def note_settings(args: argparse.Namespace) -> None:
    """Write down what all runs share; runs of other settings are not mixed with these."""
    settings = {
        "scale": args.scale,
        "size": SIZE,
        "batch_size": BATCH_SIZE,
        "steps": EPOCHS * epoch_length(args, STEPS),
        "start_steps": EPOCHS * epoch_length(args, START_STEPS),
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "scene": vars(SCENE),
    }
    path = args.output / "settings.json"
    settings = json.loads(json.dumps(settings))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
        sys.exit(f"{path} says that other settings were used there: choose another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings, path)


def write_json(content, path: pathlib.Path) -> None:
    """Write all of it or nothing."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="steps and training pictures, x")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", dest="variants", nargs="+", choices=VARIANTS, default=list(VARIANTS)
    )
    parser.add_argument("--parallel", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/ablations"))
    parser.add_argument("--report", type=pathlib.Path, help="default: OUTPUT/paper_ablations.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.scale <= 0 or args.parallel < 1:
        parser.error("--scale must be above 0 and --parallel at least 1")
    args.report = args.report or args.output / "paper_ablations.md"
    return args


if __name__ == "__main__":
    main()
