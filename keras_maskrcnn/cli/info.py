"""`info` and `build-ops`: what is installed."""

import argparse
import sys

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.config import MaskRCNNConfig, shipped_configs

# On the package index; this project's distribution is maskrcnn-keras.
OTHER_PROJECT = "keras-maskrcnn"
BUILD_OPS_EXAMPLES = """\
examples:
  keras-maskrcnn build-ops
  CXX=clang++ keras-maskrcnn build-ops --no-cuda

It takes about a minute and needs a C++ compiler. `keras-maskrcnn info` says which RoIAlign runs.
"""
INFO_EXAMPLES = """\
examples:
  keras-maskrcnn info
  keras-maskrcnn info --model runs/mine/best.keras
  keras-maskrcnn info --config mask_rcnn_resnet50_fpn > mine.yaml
  keras-maskrcnn info --presets
"""


def add_verbs(verbs) -> None:
    """Adds `build-ops` and `info`."""
    parser = options.add_verb(
        verbs,
        "build-ops",
        build_ops,
        usage="[--no-cuda]",
        summary="Compile RoIAlign for the TensorFlow that is installed; many times faster than "
        "without.",
        examples=BUILD_OPS_EXAMPLES,
    )
    parser.add_argument(
        "--no-cuda",
        action="store_true",
        help="leave out the kernels for GPUs, which are built where there is an nvcc",
    )
    parser = options.add_verb(
        verbs,
        "info",
        info,
        usage="[--model FILE | --run DIR | --config NAME | --presets]",
        summary="Print versions, devices and shipped configs; or one config, as YAML; or the "
        "presets.",
        examples=INFO_EXAMPLES,
    )
    group = options.add_model(parser)
    group.add_argument("--config", metavar="NAME|FILE", help="a shipped config or a YAML file")
    group.add_argument(
        "--presets", action="store_true", help="the published weights that from_preset knows"
    )


def build_ops(args: argparse.Namespace) -> int:
    """Compile RoIAlign for the TensorFlow that is installed."""
    from keras_maskrcnn.ops import build

    print(f"built {build.build(cuda=not args.no_cuda)}")
    return 0


def info(args: argparse.Namespace) -> int:
    """Print versions, devices and shipped configs, or one config as YAML, or the presets."""
    if args.model or args.run:
        print(load_model(args).config.to_yaml(), end="")
    elif args.config:
        print(MaskRCNNConfig.from_name_or_file(args.config).to_yaml(), end="")
    elif args.presets:
        _print_presets()
    else:
        _print_installation()
    return 0


def _print_installation():
    import importlib.metadata

    import keras
    import tensorflow as tf
    from rich.console import Console

    import keras_maskrcnn
    from keras_maskrcnn.ops import compiled_roi_align

    devices = [
        tf.config.experimental.get_device_details(device).get("device_name", "CPU")
        for device in tf.config.list_physical_devices()
    ]
    console = Console()
    for name, value in (
        ("keras_maskrcnn", keras_maskrcnn.__version__),
        ("TensorFlow", tf.__version__),
        ("Keras", keras.__version__),
        ("devices", ", ".join(devices)),
        ("RoIAlign", compiled_roi_align.load().description),
    ):
        console.print(f"{name:<15} {value}", highlight=False, soft_wrap=True)
    console.print(_configs_table())
    try:
        version = importlib.metadata.version(OTHER_PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return
    print(
        f"keras-maskrcnn: warning: {OTHER_PROJECT} {version} is installed here too, another "
        "project whose files lie in the same folder as this one's: pip uninstall it, then install "
        "maskrcnn-keras again.",
        file=sys.stderr,
    )


def _configs_table():
    from rich.table import Table

    table = Table(title="Shipped configs")
    for column in ("config", "backbone", "neck", "norm", "classes", "masks"):
        table.add_column(column, no_wrap=column == "config")
    for name in shipped_configs():
        config = MaskRCNNConfig.from_name(name)
        masks = "yes" if config.mask else "no"
        values = (config.backbone, config.neck, config.norm, str(config.num_classes), masks)
        table.add_row(name, *values)
    return table


def _print_presets():
    from rich.console import Console

    from keras_maskrcnn.weights.presets import presets_table

    console = Console(width=110)  # 80, which a pipe counts as, would cut off names and digests
    console.print(presets_table(), highlight=False)
    console.print(
        "AP on COCO val2017 as published, in percent; a dash is an ImageNet backbone. demo_shapes "
        "ships with the package; its AP is on pictures of km.data.shapes."
    )
