"""`export`: a model for servers, ONNX Runtime and LiteRT."""

import argparse

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model

OPTIONS_OF_FORMATS = {
    "saved_model": ("roi_align", "dtype", "pasted_masks"),
    "onnx": (),
    "litert": ("image_size", "quantize"),
}
EXAMPLES = """\
examples:
  keras-maskrcnn export --run runs/mine --output serving/1
  keras-maskrcnn export --model model_final_f10217.pkl --dtype bfloat16 --output serving/2
  keras-maskrcnn export --run runs/mine --box-score-threshold 0.5 --pasted-masks --output serving/3
  keras-maskrcnn export --run runs/mine --format onnx --output m.onnx
  keras-maskrcnn export --run runs/mine --format litert --image-size 480 640 --output m.tflite

TensorFlow Serving loads serving/ as a model with the versions 1, 2 and 3.
"""


def add_verb(verbs) -> None:
    """Adds `export`."""
    parser = options.add_verb(
        verbs,
        "export",
        export,
        usage="(--model FILE | --run DIR) --output PATH [options]",
        summary="Write a model for TensorFlow Serving, ONNX Runtime or LiteRT.",
        examples=EXAMPLES,
    )
    options.add_model(parser)
    parser.add_argument(
        "--output", metavar="PATH", required=True, help="e.g. serving/1, m.onnx or m.tflite"
    )
    parser.add_argument(
        "--format",
        choices=tuple(OPTIONS_OF_FORMATS),
        default="saved_model",
        help="default: %(default)s",
    )
    _add_format_options(parser)
    options.add_changes(parser)


def _add_format_options(parser):
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
        type=options.positive_int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of all images (default: the config's image_min_size and image_max_size)",
    )
    litert.add_argument(
        "--quantize", choices=("dynamic_int8",), help="weights in 8 bits (default: in float32)"
    )


def export(args: argparse.Namespace) -> int:
    """Write a model for TensorFlow Serving, or for whatever else loads it."""
    names = {name for of_format in OPTIONS_OF_FORMATS.values() for name in of_format}
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    for name in given.keys() - set(OPTIONS_OF_FORMATS[args.format]):
        raise ValueError(f"--{name.replace('_', '-')} has no meaning for --format {args.format}.")
    load_model(args).export(args.output, format=args.format, **given)
    return 0
