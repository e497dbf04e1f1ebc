"""Trains the small model of `../shared/bench/peer_train.py` on the same data, from the same start.

    python benchmarks/learning.py --seeds 0 1                                    # ours alone
    python benchmarks/learning.py --seeds 0 1 --peer ../peer/bin/python          # and the peer

The model, data and schedule are those that the peer's docstring describes. With the peer both
sides start from the very weights that torchvision draws for the seed, since some starts learn
better than others; reading them needs `pip install 'maskrcnn-keras[torch]'`. Without it they are
drawn here, from the same distributions. Prints box and mask AP on the 200 validation images and the
seconds of the training steps, without those of the evaluation, and of both sides, one after the
other, if a peer is given.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.training.schedules import WarmupMultiStep
from keras_maskrcnn.weights.checkpoint import read_checkpoint

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
EVALUATIONS = 3  # a run

CONFIG = km.MaskRCNNConfig(
    backbone="resnet14",
    norm="batch_norm",
    freeze_at=0,
    stride_in_1x1=False,
    num_classes=6,
    fpn_channels=64,
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
    image_min_size=192,
    image_max_size=192,
    anchor_sizes=((16,), (32,), (64,), (128,), (256,)),
    anchor_style="torchvision",
    rpn_pre_nms_top_n_train=500,
    rpn_pre_nms_top_n_test=500,
    rpn_post_nms_top_n_train=300,
    rpn_post_nms_top_n_test=100,
    rpn_batch_size_per_image=128,
    rpn_smooth_l1_beta=1 / 9,
    box_head_units=(256, 256),
    box_batch_size_per_image=64,
    box_smooth_l1_beta=1 / 9,
    roi_sampling_ratio=2,
    roi_aligned=False,
    mask_head_channels=(64, 64, 64, 64),
    mask_deconv_channels=64,
)


def start_as_torchvision(model):
    """torch.nn.Linear draws weights and biases from U(-1/sqrt(n), 1/sqrt(n)), n inputs."""
    rng = np.random.default_rng(int(np.sum(np.abs(np.array(model.box_head.classes.kernel))) * 1e6))
    for layer in [*model.box_head.fully_connected, model.box_head.classes, model.box_head.deltas]:
        bound = 1 / np.sqrt(layer.kernel.shape[0])
        for variable in (layer.kernel, layer.bias):
            variable.assign(rng.uniform(-bound, bound, variable.shape))
    # The mask predictor's convolutions: He, fan out, background counted as a class.
    head = model.mask_head
    kernel = head.predictor_kernel
    kernel.assign(rng.normal(0, np.sqrt(2 / (kernel.shape[0] + 1)), kernel.shape))
    for variable, inputs in ((head.deconv.bias, 4 * 64), (head.predictor_bias, 64)):
        variable.assign(rng.uniform(-(inputs**-0.5), inputs**-0.5, variable.shape))


class AdamW(keras.optimizers.AdamW):
    """AdamW with PyTorch's epsilon, which is added after the bias correction.

    Keras adds it before: at the first step 1e-8 there stands for 3e-7 here, and the gradients of
    the coarse levels of the pyramid begin near 1e-6.
    """

    def update_step(self, gradient, variable, learning_rate):
        step = tf.cast(self.iterations + 1, tf.float32)
        epsilon = self.epsilon
        self.epsilon = epsilon * tf.sqrt(1.0 - tf.pow(self.beta_2, step))
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = epsilon


class TrainingTime(keras.callbacks.Callback):
    """Seconds spent in training steps, the building of the graph included."""

    seconds = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self.seconds, self.start = self.seconds + now - self.start, now


@dataclasses.dataclass(frozen=True)
class Task:
    """What both sides learn: a model, pictures, and the peer's script for the same."""

    peer_script: str  # in `shared/bench`
    config: km.MaskRCNNConfig
    train_data: tuple[pathlib.Path, pathlib.Path]  # annotations and images
    val_data: tuple[pathlib.Path, pathlib.Path]
    batch_size: int


SHAPES = Task(
    peer_script="peer_train",
    config=CONFIG,
    train_data=(
        SHARED / "data/shapes192/train/annotations.json",
        SHARED / "data/shapes192/train/images",
    ),
    val_data=(
        SHARED / "data/shapes192/val/annotations.json",
        SHARED / "data/shapes192/val/images",
    ),
    batch_size=8,
)

PEER_START = """
import importlib, sys, torch
sys.path.insert(0, sys.argv[1])
torch.manual_seed(int(sys.argv[3]))
torch.save(importlib.import_module(sys.argv[2]).build().state_dict(), sys.argv[4])
"""


def start_of_peer(model, python, task, seed):
    """The weights that the peer's script starts from."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "start.pth"
        command = [python, "-c", PEER_START, SHARED / "bench", task.peer_script, str(seed), path]
        subprocess.run(command, check=True)
        read_checkpoint(path).load_into(model)


def train(task, seed, steps, peer=None):
    """One run: AP of boxes and masks after each third of the steps, and the seconds of all."""
    keras.utils.set_random_seed(seed)
    model = km.MaskRCNN(task.config)
    if peer:
        start_of_peer(model, peer, task, seed)
    else:
        start_as_torchvision(model)
    dataset = km.data.CocoDataset(*task.train_data)
    schedule = WarmupMultiStep(1e-3, warmup_steps=100, milestones=[steps * 3 // 4])
    model.compile(optimizer=AdamW(schedule, weight_decay=0.05, epsilon=1e-8))
    batches = dataset.batches(model.config, task.batch_size, training=True, seed=seed).repeat()
    timer = TrainingTime()
    curve = km.callbacks.CocoEvaluation(km.data.CocoDataset(*task.val_data), batch_size=8)
    history = model.fit(
        batches,
        steps_per_epoch=steps // EVALUATIONS,
        epochs=EVALUATIONS,
        verbose=2,
        callbacks=[timer, curve],
        shuffle=False,
    ).history
    curves = {name: history[f"val_{name}"] for name in ("box_ap", "mask_ap")}
    return {
        "curve": [list(point) for point in zip(*curves.values(), strict=True)],
        **{name: curve[-1] for name, curve in curves.items()},
        "seconds": timer.seconds,
    }


def train_peer(task, seed, steps, python):
    """The same of torchvision, in seconds without its evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "curve.json"
        log = subprocess.run(
            [python, SHARED / f"bench/{task.peer_script}.py"]
            + f"--steps {steps} --every {every(task, steps)} --seed {seed} --out {out}".split(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        points = json.loads(out.read_text())["curve"]
    curve = [[point[f"{kind}_ap_ap50_ap75"][0] for kind in ("box", "mask")] for point in points]
    progress = [line for line in log.splitlines() if line.startswith(f"{steps} ")]
    return {
        "curve": curve,
        "box_ap": curve[-1][0],
        "mask_ap": curve[-1][1],
        "seconds": float(progress[0].split()[1]),
    }


def every(task, steps):
    """Steps from one evaluation of the peer to the next; `peer_train`'s clock counts them in."""
    return steps if task.peer_script == "peer_train" else steps // EVALUATIONS


def main(task, description):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--peer", help="a Python with torchvision, to train it as well")
    parser.add_argument("--out", help="a JSON file for the figures")
    args = parser.parse_args()
    runs = []
    for seed in args.seeds:
        sides = {"keras_maskrcnn": train(task, seed, args.steps, args.peer)}
        if args.peer:
            sides["torchvision"] = train_peer(task, seed, args.steps, args.peer)
        for side, result in sides.items():
            runs.append({"side": side, "seed": seed, **result})
            print(json.dumps(runs[-1]), flush=True)
    for side in dict.fromkeys(run["side"] for run in runs):
        mean = {
            name: round(float(np.mean([run[name] for run in runs if run["side"] == side])), 4)
            for name in ("box_ap", "mask_ap", "seconds")
        }
        print(f"{side}, mean of {len(args.seeds)} seeds: {mean}")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main(SHAPES, __doc__)
