"""Fine-tunes the demo's model for new classes, and trains one from scratch in twice the steps.

    python benchmarks/finetune.py
    python benchmarks/finetune.py --pretrain-steps 40 --steps 40 --images 80   # only to see it run

The model of `configs/demo_shapes.yaml` is trained on four kinds of shapes. Its heads are replaced
for two kinds that it never saw, and it is trained on pictures of these for half of the steps that a
model from random weights takes. Both are evaluated on the same pictures; the fine-tuned one is to
have at least the AP of the other.
"""

import argparse
import json
import pathlib

import keras

import keras_maskrcnn as km
from keras_maskrcnn.training.schedules import WarmupMultiStep
from keras_maskrcnn.weights.transfer import transfer_weights

FOLDER = pathlib.Path("runs/finetune-benchmark")
OLD, NEW = ("ellipse", "rectangle", "triangle", "star"), ("ring", "cross")
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 8, 1e-3, 0.05


def new_model(class_names):
    return km.MaskRCNN("demo_shapes", num_classes=len(class_names), class_names=class_names)


def train(model, dataset, steps, seed):
    """As the demo trains: warm-up, and a tenth of the rate in the last quarter."""
    schedule = WarmupMultiStep(LEARNING_RATE, min(100, steps // 4), milestones=[steps * 3 // 4])
    model.compile(optimizer=keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY))
    batches = dataset.batches(model.config, batch_size=BATCH_SIZE, training=True, seed=seed)
    model.fit(batches.repeat(), steps_per_epoch=steps, verbose=2, shuffle=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pretrain-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=600, help="from scratch; half to fine-tune")
    parser.add_argument("--images", type=int, default=1600, help="to train on, of each class set")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    shapes, few = km.data.shapes.generate, max(args.images // 8, 1)
    old = shapes(FOLDER / "old", args.images, seed=args.seed, class_names=OLD)
    new = shapes(FOLDER / "new", args.images, seed=args.seed + 1, class_names=NEW)
    val = shapes(FOLDER / "val", few, seed=args.seed + 2, class_names=NEW)

    trained = new_model(OLD)
    train(trained, old, args.pretrain_steps, args.seed)
    tuned, scratch = new_model(NEW), new_model(NEW)
    transfer_weights(tuned, len(OLD), lambda source: source.set_weights(trained.get_weights()))
    for name, model, steps in (
        ("fine-tuned", tuned, args.steps // 2),
        ("from scratch", scratch, args.steps),
    ):
        train(model, new, steps, args.seed)
        results = km.evaluate(model, val, batch_size=BATCH_SIZE, verbose=0)
        figures = {figure: round(results[figure], 4) for figure in ("box_ap", "mask_ap")}
        print(json.dumps({"model": name, "steps": steps, **figures}), flush=True)


if __name__ == "__main__":
    main()
