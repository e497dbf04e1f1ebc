"""Fine-tune a trained model on your own classes.

    python examples/finetune.py --weights model_final_f10217.pkl \\
        --train my/train.json my/images --val my/val.json my/images
    python examples/finetune.py --preset mask_rcnn_resnet50_fpn_3x_coco    # fetches the weights

Without `--train` and `--val` it generates a set of three classes to try things on. The weights are
a file that Detectron2, Detectron or torchvision published, or a preset; the model's architecture
is read from them, and the last layers of its heads start anew for your classes. What the script
writes lies in `runs/finetune/`: the best model, the log, and TensorBoard's files where TensorBoard
is installed.
"""

import argparse
import importlib.util
import pathlib

import keras
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.evaluation.coco import results_table

CLASSES = ("ring", "star", "cross")


def main(arguments: list[str] | None = None) -> None:
    """Fine-tune as the command line says."""
    args = parse(arguments)
    keras.utils.set_random_seed(0)
    train, val = datasets(args)
    model = start(args, train.class_names)

    # A tenth of the rate from scratch: the weights are good already. Frozen are the first stages
    # of the backbone (freeze_at), which know edges and textures of any picture.
    optimizer = keras.optimizers.AdamW(args.learning_rate, weight_decay=0.05, clipnorm=10.0)
    model.compile(optimizer=optimizer)
    batches = train.batches(model.config, batch_size=args.batch_size, training=True)
    model.fit(batches, epochs=args.epochs, shuffle=False, callbacks=callbacks(args, val))

    Console().print(results_table(km.evaluate(model, val, verbose=0)))
    print(f"The best model: {args.output / 'best.keras'}, for keras.models.load_model")


def start(args: argparse.Namespace, class_names: tuple[str, ...]) -> km.MaskRCNN:
    """The trained model with new heads for `class_names`."""
    fields = {
        "num_classes": len(class_names),
        "class_names": class_names,
        "freeze_at": args.freeze_at,
    }
    if args.image_size:
        fields |= {"image_min_size": args.image_size, "image_max_size": 2 * args.image_size}
    if args.weights:
        return km.MaskRCNN.from_checkpoint(args.weights, **fields)
    return km.MaskRCNN.from_preset(args.preset, **fields)


def datasets(args: argparse.Namespace) -> tuple[km.data.CocoDataset, km.data.CocoDataset]:
    """Your own data, whose class ids follow the training set's names, or generated shapes."""
    if args.train:
        train = km.data.CocoDataset(*args.train)
        return train, km.data.CocoDataset(*args.val, class_names=train.class_names)
    folder, size = args.output / "data", args.image_size or 192
    options = {"size": size, "class_names": CLASSES}
    return (
        km.data.shapes.generate(folder / "train", args.images, seed=0, **options),
        km.data.shapes.generate(folder / "val", max(args.images // 5, 1), seed=1, **options),
    )


def callbacks(args: argparse.Namespace, val: km.data.CocoDataset) -> list:
    """Evaluation first: those behind it see its figures."""
    evaluation = km.callbacks.CocoEvaluation(val)
    monitor = {"monitor": "val_mask_ap", "mode": "max"}
    chosen = [
        evaluation,
        km.callbacks.NaNGuard(),
        km.callbacks.LearningRate(),
        km.callbacks.ImagesPerSecond(args.batch_size),
        keras.callbacks.EarlyStopping(**monitor, patience=3, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(args.output / "best.keras", **monitor, save_best_only=True),
        keras.callbacks.CSVLogger(args.output / "log.csv"),
    ]
    if importlib.util.find_spec("tensorboard"):
        chosen.append(keras.callbacks.TensorBoard(args.output / "tensorboard"))
        chosen.append(km.callbacks.DetectionSummaries(args.output / "tensorboard", evaluation))
    return chosen


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", type=pathlib.Path, help="a published checkpoint file")
    weights.add_argument("--preset", help="a preset; `keras-maskrcnn info --presets` lists them")
    pair = {"nargs": 2, "metavar": ("JSON", "FOLDER")}
    parser.add_argument("--train", help="COCO annotations and their pictures", **pair)
    parser.add_argument("--val", help="the same to evaluate on", **pair)
    parser.add_argument("--images", type=int, default=200, help="generated pictures")
    parser.add_argument("--epochs", type=int, default=20, help="at most; it stops early")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--freeze-at", type=int, default=2, help="backbone stages to keep, 0 to 5")
    parser.add_argument("--image-size", type=int, help="short side; that of the weights if absent")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/finetune"))
    args = parser.parse_args(arguments)
    if bool(args.train) != bool(args.val):
        parser.error("--train and --val belong together: give both or none")
    args.output.mkdir(parents=True, exist_ok=True)
    return args


if __name__ == "__main__":
    main()
