"""The paper's ablations at the scale of one machine: which of its claims show with this code.

    pip install 'keras-maskrcnn[examples]'
    python examples/paper_ablations.py                    # on 2 cores in under 3 hours
    python examples/paper_ablations.py --scale 8 --seeds 0 1 2 3 4 --output runs/ablations8
    python examples/paper_ablations.py --only c5 c5_roi_pool --seeds 0

Pictures of thin, touching and overlapping shapes of many sizes are generated, and a backbone learns
to tell the shapes apart, as the paper's had learned ImageNet. Each variant of the model starts from
it, its batch norms frozen, and is trained on the same pictures with the same schedule; runs of one
seed see the same batches. One variant starts from nothing, with group norms. What has run is kept
in `runs/ablations/<variant>/seed<k>/`: config, log, results on pictures that no model was trained
on, and detections. It is not run again; a run that was killed goes on from its last backup. At the
end `paper_ablations_report.py` makes tables and plots of what is there.

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

import cv2
import keras
import numpy as np
from paper_ablations_report import write_report

import keras_maskrcnn as km
from keras_maskrcnn.backbones import ResNet
from keras_maskrcnn.evaluation.coco import figures, run_coco_eval
from keras_maskrcnn.run_folder import epochs_before
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import WarmupMultiStep

SIZE, BATCH_SIZE = 256, 4
STEPS, EPOCHS, EVALUATE_EVERY, BACKUP_EVERY = 800, 10, 2, 100  # an epoch is a line of the log
TRAIN_IMAGES, VAL_IMAGES, CURVE_IMAGES, SHOWN_IMAGES = 1600, 300, 40, 6
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-3, 0.05, 10.0
SCENE = km.data.shapes.Scene(number=(4, 12), radius=(0.05, 0.3), thickness=0.6, touching=0.5)
CROP, CROP_MARGIN, CLASSIFIER_BATCH, CLASSIFIER_STEPS = 64, 0.2, 64, 1500

BASE = {
    "backbone": "resnet14",
    "backbone_width": 32,
    "norm": "frozen_batch_norm",
    "freeze_at": 2,
    "stride_in_1x1": False,
    "num_classes": 6,
    "pixel_std": (58.395, 57.12, 57.375),
    "image_min_size": SIZE,
    "image_max_size": SIZE,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_train": 200,
    "rpn_post_nms_top_n_test": 100,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 32,
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
    "fpn_softmax": {**FPN, "mask_loss": "softmax"},
    "fpn_class_agnostic": {**FPN, "class_agnostic_mask": True},
    "fpn_no_mask": {**FPN, "mask": False},
    "fpn_group_norm": {**FPN, "norm": "group_norm", "freeze_at": 0},
}


def main(arguments: list[str] | None = None) -> None:
    """Run what has not run yet, then write the report."""
    args = parse(arguments)
    if args.child:
        child(args)
        return
    note_settings(args)
    start = time.perf_counter()
    datasets(args)
    runs = [(variant, seed) for seed in args.seeds for variant in args.variants]
    missing = [run for run in runs if not is_done(args, *run)]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there already", flush=True)
    cores = os.cpu_count() or 1
    backbone = args.output / "backbone"
    needed = missing and not (backbone / "results.json").is_file()
    if needed and spawn(args, "backbone", 0, backbone, cores):
        sys.exit(f"the backbone failed: see {backbone / 'output.txt'}")
    failed = run_all(args, missing, max(1, cores // args.parallel))
    print(f"took {(time.perf_counter() - start) / 60:.0f} minutes")
    print(f"report: {write_report(args.output, args.report)}")
    if failed:
        sys.exit("failed, see output.txt in " + ", ".join(str(folder) for folder in failed))


def run_all(
    args: argparse.Namespace, runs: list[tuple[str, int]], threads: int
) -> list[pathlib.Path]:
    """Do the runs, some at a time, and return the folders of those that failed."""
    folders = [run_folder(args, *run) for run in runs]
    with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        started = [
            pool.submit(spawn, args, *run, folder, threads)
            for run, folder in zip(runs, folders, strict=True)
        ]
        try:
            codes = [future.result() for future in started]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return [folder for folder, code in zip(folders, codes, strict=True) if code]


def spawn(
    args: argparse.Namespace, name: str, seed: int, folder: pathlib.Path, threads: int
) -> int:
    """One run in a process of its own; its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--seeds", seed, "--scale", args.scale, "--output", args.output]
    command = [sys.executable, __file__, "--child", name, *options]
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **dict.fromkeys(names, str(threads))}
    start = time.perf_counter()
    with open(folder / "output.txt", "a", encoding="utf-8") as output:
        code = subprocess.run(
            [str(part) for part in command], env=environment, stdout=output, stderr=output
        ).returncode
    seconds = time.perf_counter() - start
    print(f"{name} seed {seed}: {f'failed ({code})' if code else f'{seconds:.0f} s'}", flush=True)
    return code


def child(args: argparse.Namespace) -> None:
    """What a process of `spawn` does."""
    train, val, curve = datasets(args)
    if args.child == "backbone":
        train_backbone(args, train, curve)
    else:
        train_variant(args, args.child, args.seeds[0], train, val, curve)


def datasets(args: argparse.Namespace) -> list[km.data.CocoDataset]:
    """Pictures to train on, to measure at the end, and to measure learning curves; made if new."""
    numbers = {
        "train": max(2 * BATCH_SIZE, round(TRAIN_IMAGES * args.scale)),
        "val": max(SHOWN_IMAGES, round(VAL_IMAGES * min(args.scale, 1))),
        "curve": max(2, round(CURVE_IMAGES * min(args.scale, 1))),
    }
    found = []
    for seed, (name, number) in enumerate(numbers.items()):
        folder = args.output / "data" / name
        if (folder / "annotations.json").is_file():
            found.append(km.data.CocoDataset(folder / "annotations.json", folder / "images"))
        else:
            found.append(km.data.shapes.generate(folder, number, SIZE, seed, scene=SCENE))
    return found


def train_backbone(
    args: argparse.Namespace, train: km.data.CocoDataset, val: km.data.CocoDataset
) -> None:
    """A ResNet that names the shape in a small cut-out, kept as the start of the detectors."""
    folder = args.output / "backbone"
    keras.utils.set_random_seed(0)
    stages = (BASE["backbone"], BASE["backbone_width"], BASE["stride_in_1x1"], "batch_norm")
    backbone = ResNet(*stages, name="backbone")
    config = km.MaskRCNNConfig(**FPN)
    variance = [std**2 for std in config.pixel_std]
    pixels = keras.Input((CROP, CROP, 3))
    hidden = keras.layers.RandomFlip("horizontal_and_vertical")(pixels)
    hidden = keras.layers.Normalization(mean=config.pixel_mean, variance=variance)(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(backbone(hidden)["res5"])
    classifier = keras.Model(pixels, keras.layers.Dense(config.num_classes)(hidden))
    crops, labels = cut_outs(train)
    steps = max(1, round(CLASSIFIER_STEPS * args.scale))
    epochs = max(1, round(steps * CLASSIFIER_BATCH / len(crops)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-3, steps))
    classifier.compile(optimizer, loss, metrics=["accuracy"])
    log = keras.callbacks.CSVLogger(folder / "log.csv")
    data = {"validation_data": cut_outs(val), "batch_size": CLASSIFIER_BATCH}
    history = classifier.fit(
        crops, labels, epochs=epochs, callbacks=[log, StopWithParent()], verbose=2, **data
    ).history
    layers = [backbone.stem, *backbone.blocks]
    np.savez(folder / "weights.npz", *(w.numpy() for layer in layers for w in layer.weights))
    write_json({"accuracy": history["val_accuracy"][-1]}, folder / "results.json")


def cut_outs(dataset: km.data.CocoDataset) -> tuple[np.ndarray, np.ndarray]:
    """Each object in a square of its own (n, CROP, CROP, 3), and its class (n,)."""
    crops, labels = [], []
    for index in range(len(dataset)):
        example = dataset.example(index)
        for (x1, y1, x2, y2), label in zip(example["boxes"], example["class_ids"], strict=True):
            zoom = CROP / (max(x2 - x1, y2 - y1) * (1 + 2 * CROP_MARGIN))
            x, y = CROP / 2 - zoom * (x1 + x2) / 2, CROP / 2 - zoom * (y1 + y2) / 2
            place = np.array([[zoom, 0, x], [0, zoom, y]])
            crops.append(
                cv2.warpAffine(
                    example["image"], place, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE
                )
            )
            labels.append(label)
    return np.array(crops), np.array(labels)


def start_from_backbone(model: km.MaskRCNN, path: pathlib.Path) -> None:
    """Set the stem and the stages of the model, stage 5 in its head too, to what was learned."""
    res5 = model.res5.blocks if model.config.neck == "c4" else []
    layers = [model.backbone.stem, *model.backbone.blocks, *res5]
    variables = [variable for layer in layers for variable in layer.weights]
    with np.load(path) as file:
        for variable, name in zip(variables, file.files, strict=True):
            variable.assign(file[name])


def train_variant(
    args: argparse.Namespace,
    variant: str,
    seed: int,
    train: km.data.CocoDataset,
    val: km.data.CocoDataset,
    curve: km.data.CocoDataset,
) -> None:
    """One run: trained, from its last backup if there is one, measured, and written down."""
    folder = run_folder(args, variant, seed)
    keras.utils.set_random_seed(seed)
    config = km.MaskRCNNConfig(**VARIANTS[variant])
    config.to_yaml(folder / "config.yaml")
    model = km.MaskRCNN(config)
    if config.norm == "frozen_batch_norm":
        start_from_backbone(model, args.output / "backbone/weights.npz")
    steps_per_epoch = max(1, round(STEPS * args.scale / EPOCHS))
    steps = EPOCHS * steps_per_epoch
    schedule = WarmupMultiStep(LEARNING_RATE, max(1, steps // 10), [steps * 3 // 4])
    optimizer = make_optimizer("adamw", schedule, WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
    model.compile(optimizer=optimizer)
    backup = km.callbacks.Backup(folder / "backup", steps_per_epoch, BACKUP_EVERY)
    epochs_before(folder / "log.csv", backup.epoch)  # cuts off what will be logged again
    batches = train.batches(config, BATCH_SIZE, training=True, seed=seed, start=backup.step)
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
    write_measurements(run_coco_eval(model, val, BATCH_SIZE, verbose=0), val, folder)
    shutil.rmtree(folder / "backup")


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
    if kept != km.MaskRCNNConfig(**VARIANTS[variant]):
        sys.exit(f"{folder} holds a run of another config than {variant} has now: remove it.")
    return (folder / "results.json").is_file()


def note_settings(args: argparse.Namespace) -> None:
    """Write down what all runs share; runs of other settings are not mixed with these."""
    settings = {
        "scale": args.scale,
        "size": SIZE,
        "batch_size": BATCH_SIZE,
        "steps": EPOCHS * max(1, round(STEPS * args.scale / EPOCHS)),
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
