"""What the command line takes: options, help and examples of each verb."""

import argparse

from keras_maskrcnn.cli import examples as cli_examples
from keras_maskrcnn.cli import predict as cli_predict
from keras_maskrcnn.cli.options import (
    DEFAULT_CONFIG,
    add_fields,
    positive_float,
    positive_int,
)

EXPORT_OPTIONS = {
    "saved_model": ("roi_align", "dtype", "pasted_masks"),
    "onnx": (),
    "litert": ("image_size", "quantize"),
}
DATA_FORMATS = (
    "PATH is a COCO or VIA file, a VOC split (ImageSets/Segmentation/*.txt), or a folder: of "
    "LabelMe's files, of Pascal VOC, of images/ and masks/, or one that convert-dataset wrote."
)
TARGETS = ("coco", "labelme", "via", "voc", "mask-png", "tfrecord")


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line; `verb` in its result names the verb."""
    parser = argparse.ArgumentParser(
        prog="keras-maskrcnn",
        description="Mask R-CNN for Keras 3: train on annotated pictures, evaluate, predict.",
        epilog=cli_examples.VERBS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    _add_train(verbs)
    _add_evaluate(verbs)
    _add_predict(verbs)
    _add_merge_results(verbs)
    _add_inspect_dataset(verbs)
    _add_convert_dataset(verbs)
    _add_export(verbs)
    _add_build_ops(verbs)
    _add_info(verbs)
    return parser


def _add_train(verbs):
    usage = "--train-data PATH [--train-images DIR] [options]"
    summary = "Train a model on annotated pictures; everything goes to a run folder."
    parser = _add_verb(verbs, "train", usage, summary, cli_examples.TRAIN)
    data = parser.add_argument_group("data", DATA_FORMATS)
    _add_data(data, "train-", "annotations to train on", required=True)
    _add_data(data, "val-", "annotations to evaluate on", required=False)

    model = parser.add_argument_group("model")
    model.add_argument(
        "--config",
        metavar="NAME|FILE",
        default=DEFAULT_CONFIG,
        help="a shipped config (see info) or a YAML file (default: %(default)s); the classes come "
        "from the annotations",
    )
    model.add_argument(
        "--weights",
        metavar="FILE",
        help="weights to start from: a published checkpoint (.pkl, .pth, .h5) or a model's "
        ".weights.h5",
    )

    _add_training(parser)
    add_fields(parser)


def _add_training(parser):
    run = parser.add_argument_group("training")
    run.add_argument(
        "--epochs",
        type=positive_int,
        metavar="N",
        help="passes over the data (default: 12, or as many as a schedule of 1x to 3x takes)",
    )
    run.add_argument("--batch-size", type=positive_int, default=2, metavar="N", help="default: 2")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    run.add_argument(
        "--augment",
        choices=("flip", "multiscale", "lsj"),
        default="flip",
        help="flip half of the pictures; multiscale: their short side from 0.8 to 1 of "
        "--image-min-size too; lsj: large-scale jitter, 0.1 to 2 of a square of --image-max-size, "
        "for long runs (default: flip)",
    )
    run.add_argument(
        "--mixed-precision",
        choices=("bfloat16", "float16"),
        help="compute in half precision; float16 with a loss scale (default: float32)",
    )
    _add_run(run)
    _add_optimizer(parser)


def _add_run(run):
    """How a run is watched, kept and gone on with."""
    run.add_argument(
        "--evaluate-every",
        type=positive_int,
        default=1,
        metavar="N",
        help="evaluate after each N epochs (default: 1)",
    )
    run.add_argument(
        "--patience",
        type=positive_int,
        metavar="N",
        help="stop after N evaluations without a better AP, of masks if there are any "
        "(default: never)",
    )
    run.add_argument(
        "--output", metavar="DIR", help="the run's folder, new (default: runs/<config>-<time>)"
    )
    run.add_argument(
        "--backup-every",
        type=positive_int,
        default=1000,
        metavar="N",
        help="write what --resume needs each N steps, and at each epoch's start (default: 1000)",
    )
    run.add_argument(
        "--resume",
        action=_Resume,
        metavar="RUN",
        help="go on with a run that was interrupted, to the weights that it would have had; all "
        "other options are those of its start",
    )


class _Resume(argparse.Action):
    """The folder of a run, from which all else comes: nothing else is required."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, values)
        for action in parser._actions:
            action.required = False


def _add_optimizer(parser):
    group = parser.add_argument_group(
        "optimizer", "Norms and biases have no weight decay. --freeze-at says what does not train."
    )
    group.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd", help="default: sgd")
    _add_learning_rate(group)
    group.add_argument(
        "--weight-decay",
        type=float,
        metavar="X",
        help="default: 0.05 for adamw; 0.001 for sgd, which does as much as 0.0001 in Detectron, "
        "whose decay passes through the momentum",
    )
    group.add_argument(
        "--clip-norm",
        type=positive_float,
        metavar="X",
        help="longest norm of all gradients together (default: no limit)",
    )
    group.add_argument(
        "--accumulate",
        type=positive_int,
        default=1,
        metavar="N",
        help="batches whose mean gradient makes one step of the optimizer (default: 1)",
    )
    group.add_argument(
        "--ema",
        type=positive_float,
        metavar="X",
        help="evaluate and save a moving average of the weights, which keeps this share of itself "
        "at each batch, e.g. 0.999 (default: none)",
    )


def _add_learning_rate(group):
    group.add_argument(
        "--learning-rate",
        type=positive_float,
        metavar="X",
        help="peak, after the warm-up (default: 0.00125 an image of a step for sgd, which is "
        "Detectron's 0.02 for 16, and 0.0001 for adamw)",
    )
    group.add_argument(
        "--schedule",
        choices=("cosine", "multistep", "1x", "2x", "3x"),
        default="cosine",
        help="how the rate falls: along a cosine; to a tenth after 2/3 and again after 8/9 of the "
        "epochs; or as Detectron's, which last 90,000, 180,000 and 270,000 steps of 16 images, "
        "whatever the batch size (default: cosine)",
    )
    group.add_argument(
        "--warmup-steps",
        type=int,
        metavar="N",
        help="steps of linear warm-up (default: a tenth of all, at most 1000; of 1x to 3x 1000 of "
        "16 images)",
    )


def _add_evaluate(verbs):
    usage = "(--model FILE | --run DIR) --data PATH [--images DIR] [options]"
    summary = "Print the COCO results of a model on annotated pictures."
    parser = _add_verb(verbs, "evaluate", usage, summary, cli_examples.EVALUATE)
    _add_model(parser, required=True)
    _add_data(parser.add_argument_group("data", DATA_FORMATS), "", "annotations", required=True)
    parser.add_argument(
        "--batch-size", type=positive_int, default=1, metavar="N", help="default: 1"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    add_fields(parser)


def _add_predict(verbs):
    usage = "(--model FILE | --run DIR) (PICTURE... | --input-list PATH) [options]"
    summary = "Find the objects of pictures; write the pictures with them drawn, and a JSON file."
    parser = _add_verb(verbs, "predict", usage, summary, cli_examples.PREDICT)
    _add_model(parser, required=True)
    parser.add_argument(
        "images", metavar="PICTURE", nargs="*", help="picture files, or folders of pictures"
    )
    parser.add_argument(
        "--output",
        metavar="DIR|FILE",
        help="a folder (default: predictions), or with --input-list a file (default: results.json)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="keep objects that score at least this (default: %(default)s)",
    )
    cli_predict.add_options(parser)
    add_fields(parser)


def _add_merge_results(verbs):
    summary = "Join the results of the shards of a long list into one file."
    usage = "RESULTS... --output FILE"
    parser = _add_verb(verbs, "merge-results", usage, summary, cli_examples.MERGE)
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="what the shards wrote")
    parser.add_argument("--output", metavar="FILE", required=True)


def _add_inspect_dataset(verbs):
    summary = "Print what is in a dataset, list what is broken, draw a sheet of its pictures."
    parser = _add_dataset_verb(verbs, "inspect-dataset", "", summary, cli_examples.INSPECT)
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="inspection",
        help="for contact_sheet.png and problems.txt (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        type=positive_int,
        default=24,
        metavar="N",
        help="on the contact sheet (default: %(default)s)",
    )


def _add_convert_dataset(verbs):
    summary = "Write a dataset in another format, its pictures along."
    needs = "--to FORMAT --output DIR "
    parser = _add_dataset_verb(verbs, "convert-dataset", needs, summary, cli_examples.CONVERT)
    parser.add_argument("--to", choices=TARGETS, required=True, help=", ".join(TARGETS))
    parser.add_argument("--output", metavar="DIR", required=True, help="new or empty")
    parser.add_argument(
        "--link-images", action="store_true", help="symbolic links to the pictures, not copies"
    )


def _add_dataset_verb(verbs, name, needs, summary, examples):
    parser = _add_verb(verbs, name, f"PATH {needs}[options]", summary, examples)
    parser.add_argument("data", metavar="PATH", help=DATA_FORMATS)
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--class-attribute",
        metavar="NAME",
        help="of a VIA file, the region attribute that holds the class (default: the only one)",
    )
    return parser


def _add_data(group, prefix, what, required):
    """`--data`, which is also called `--annotations`, and `--images`."""
    group.add_argument(
        f"--{prefix}annotations", f"--{prefix}data", metavar="PATH", required=required, help=what
    )
    group.add_argument(
        f"--{prefix}images",
        metavar="DIR",
        help="folder of its pictures (default: where the format has them; of a COCO file, images/ "
        "beside it, or its own folder)",
    )


def _add_export(verbs):
    usage = "(--model FILE | --run DIR) --output PATH [options]"
    summary = "Write a model for TensorFlow Serving, ONNX Runtime or LiteRT."
    parser = _add_verb(verbs, "export", usage, summary, cli_examples.EXPORT)
    _add_model(parser, required=True)
    parser.add_argument(
        "--output", metavar="PATH", required=True, help="e.g. serving/1, m.onnx or m.tflite"
    )
    parser.add_argument(
        "--format",
        choices=tuple(EXPORT_OPTIONS),
        default="saved_model",
        help="default: %(default)s",
    )
    saved_model = parser.add_argument_group("saved_model")
    saved_model.add_argument(
        "--roi-align",
        choices=("portable", "custom"),
        help="custom: the compiled op, for servers that link it (default: portable)",
    )
    saved_model.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="compute in this (default: the model's)"
    )
    saved_model.add_argument(
        "--pasted-masks",
        action="store_true",
        default=None,
        help="return masks of the size of the pictures too, a byte a pixel and object",
    )
    litert = parser.add_argument_group("litert")
    litert.add_argument(
        "--image-size",
        type=positive_int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of all images (default: the config's image_min_size and image_max_size)",
    )
    litert.add_argument(
        "--quantize", choices=("dynamic_int8",), help="weights in 8 bits (default: in float32)"
    )
    add_fields(parser)


def _add_build_ops(verbs):
    summary = (
        "Compile RoIAlign for the TensorFlow that is installed; many times faster than without."
    )
    parser = _add_verb(verbs, "build-ops", "[--no-cuda]", summary, cli_examples.BUILD_OPS)
    parser.add_argument(
        "--no-cuda",
        action="store_true",
        help="leave out the kernels for GPUs, which are built where there is an nvcc",
    )


def _add_info(verbs):
    summary = "Print versions, devices and shipped configs; or one config, as YAML; or the presets."
    usage = "[--model FILE | --run DIR | --config NAME | --presets]"
    parser = _add_verb(verbs, "info", usage, summary, cli_examples.INFO)
    group = _add_model(parser, required=False)
    group.add_argument("--config", metavar="NAME|FILE", help="a shipped config or a YAML file")
    group.add_argument(
        "--presets", action="store_true", help="the published weights that from_preset knows"
    )


def _add_verb(verbs, name, usage, summary, examples):
    parser = verbs.add_parser(
        name,
        usage=f"keras-maskrcnn {name} {usage}",
        help=summary,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_model(parser, required):
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--model", metavar="FILE", help="a saved model (.keras) or checkpoint (.pkl, .pth)"
    )
    group.add_argument("--run", metavar="DIR", help="a run folder of train: its best model")
    return group
