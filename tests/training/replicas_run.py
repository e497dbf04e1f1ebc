"""Trains a small model under a strategy; run by `test_distribution.py` in processes of its own.

python replicas_run.py OUT.npz none|mirrored|workers [options as JSON]
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

# Nothing is sampled: all anchors and regions fit in.
CONFIG = {
    "backbone": "resnet14",
    "backbone_width": 8,
    "norm": "batch_norm",
    "freeze_at": 0,
    "num_classes": 6,
    "image_min_size": 64,
    "image_max_size": 96,
    "box_score_threshold": 0.0,
    "fpn_channels": 16,
    "anchor_sizes": [[8], [16], [32], [64], [128]],
    "rpn_pre_nms_top_n_train": 50,
    "rpn_post_nms_top_n_train": 30,
    "rpn_batch_size_per_image": 2000,
    "rpn_positive_fraction": 1.0,
    "box_batch_size_per_image": 40,
    "box_positive_fraction": 1.0,
    "box_head_units": [32],
    "roi_sampling_ratio": 2,
    "mask_head_channels": [16],
    "mask_deconv_channels": 16,
    "gt_mask_size": 28,
}
STEPS = 5


def make_strategy(kind):
    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "none":
        return tf.distribute.get_strategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def batches(number=STEPS, batch_size=2):
    """Twice `number` images that have one object and two, by turns."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2 * number, 64, 96, 3)).astype(np.float32)
    sizes = np.tile([[64, 96], [48, 80]], (number, 1)).astype(np.int32)
    boxes = np.tile([[[4, 6, 40, 50], [50, 10, 78, 40]]], (2 * number, 1, 1)).astype(np.float32)
    classes = np.tile([[0, 2], [1, -1]], (number, 1)).astype(np.int32)
    masks = rng.integers(0, 2, (2 * number, 2, 28, 28), dtype=np.uint8)
    x = {"images": images, "image_sizes": sizes}
    y = {"boxes": boxes, "classes": classes, "masks": masks}
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size, drop_remainder=True)


def main(out, kind, options="{}"):
    import keras_maskrcnn as km

    # A unit within rounding of ReLU's kink has a gradient on some machines and none on others: one
    # in res4 changes the gradients of the backbone by 1 %. ELU has the same slope on both sides.
    tf.nn.relu = tf.nn.elu
    options = json.loads(options)
    strategy = make_strategy(kind)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = km.MaskRCNN({**CONFIG, **options.get("config", {})})
        model.compile(
            optimizer=keras.optimizers.SGD(0.01, momentum=0.5),
            steps_per_execution=options.get("steps_per_execution", 1),
        )
    start = [weight.numpy() for weight in model.weights]
    log = model.fit(
        batches(batch_size=options.get("batch_size", 2)),
        epochs=options.get("epochs", 1),
        verbose=0,
        shuffle=False,
        validation_data=batches(1),
        callbacks=callbacks(options.get("folder"), strategy),
    ).history
    weights = {f"weight {i}": weight.numpy() for i, weight in enumerate(model.weights)}
    moved = any(np.any(old != new) for old, new in zip(start, weights.values(), strict=True))
    log = {f"log {name}": values for name, values in log.items()}
    np.savez(out, moved=moved, replicas=strategy.num_replicas_in_sync, **weights, **log)


def callbacks(folder, strategy):
    """Evaluation, checkpoints and a backup; each worker has a folder of its own."""
    import keras_maskrcnn as km

    if folder is None:
        return []
    resolver = strategy.cluster_resolver
    folder = pathlib.Path(folder) / str(resolver.task_id if resolver else 0)
    val = km.data.shapes.generate(folder / "data", 3, size=64)
    return [
        km.callbacks.CocoEvaluation(val, verbose=False),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras", "val_box_ar", mode="max"),
        keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False),
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
