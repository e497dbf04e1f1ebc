"""Options that several verbs share, and what options may hold."""

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable, Collection

import yaml

from keras_maskrcnn.config import BACKBONES, FIELDS_AFTER_TRAINING, MaskRCNNConfig

DEFAULT_CONFIG = "mask_rcnn_resnet50_fpn"
DATA_FORMATS = (
    "PATH is a COCO, VIA or CVAT file, a YOLO data.yaml, a VOC split "
    "(ImageSets/Segmentation/*.txt), or a folder: of LabelMe's files, of Pascal VOC, of images/ "
    "and masks/, of a Supervisely project, or one that an annotator exported or convert-dataset "
    "wrote."
)
FIELDS = tuple(field.name for field in dataclasses.fields(MaskRCNNConfig))


def add_verb(
    verbs,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    usage: str,
    summary: str,
    examples: str,
) -> argparse.ArgumentParser:
    """The parser of one verb.

    Args:
        verbs: What `ArgumentParser.add_subparsers` gives.
        name: Of the verb.
        run: The function that runs it, from its arguments to its exit code.
        usage: What follows the verb in its usage.
        summary: One sentence for both helps.
        examples: What its help ends with.
    """
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
    parser.set_defaults(run_verb=run)
    return parser


def add_model(parser: argparse.ArgumentParser):
    """`--model` and `--run`; returns their group, of which one option at most may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--model",
        metavar="FILE|PRESET",
        help="a saved model (.keras), a checkpoint (.pkl, .pth), or a preset: a name (see info "
        "--presets), a folder of save_to_preset, or hf://user/name",
    )
    group.add_argument("--run", metavar="DIR", help="a run folder of train: its best model")
    return group


def add_data(group, prefix: str, what: str, *, required: bool = True) -> None:
    """`--data`, which is also called `--annotations`, and `--images`.

    Args:
        group: Of the parser.
        prefix: What the names of the options begin with: `"train-"`.
        what: The help of `--data`.
        required: Whether it must be given.
    """
    group.add_argument(
        f"--{prefix}data",
        f"--{prefix}annotations",
        metavar="PATH",
        required=required,
        default=argparse.SUPPRESS,
        help=what,
    )
    group.add_argument(
        f"--{prefix}images",
        metavar="DIR",
        help="folder of its pictures (default: where the format has them; of a COCO file, images/ "
        "beside it, or its own folder)",
        default=argparse.SUPPRESS,
    )


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """`--tile-size` and `--tile-overlap`."""
    parser.add_argument(
        "--tile-size",
        type=positive_int,
        metavar="N",
        help="look at pictures in overlapping squares of N pixels, and join what their seams cut: "
        "large pictures keep their small objects",
    )
    parser.add_argument(
        "--tile-overlap",
        type=float,
        default=0.25,
        metavar="X",
        help="least share of a square that the next one has in common with it, from 0 to below 1 "
        "(default: %(default)s)",
    )


def given_tiles(args: argparse.Namespace) -> dict[str, typing.Any]:
    """The tiles that were asked for, as `predict` and `evaluate` take them.

    Raises:
        ValueError: They cannot be.
    """
    from keras_maskrcnn.prediction.tiles import check_tiles

    if args.tile_size is not None:
        check_tiles(args.tile_size, args.tile_overlap)
    return {"tile_size": args.tile_size, "tile_overlap": args.tile_overlap}


def add_changes(parser: argparse.ArgumentParser) -> None:
    """`--thresholds-from`, and an option for each field that can change after training."""
    parser.add_argument(
        "--thresholds-from",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="take class_score_thresholds from the report in this folder: of each class the score "
        "from which its F1 was the best",
    )
    add_fields(parser, FIELDS_AFTER_TRAINING, defaults=None)


def add_fields(
    parser: argparse.ArgumentParser, names: Collection[str], defaults: MaskRCNNConfig | None
) -> None:
    """An option for each of these fields of the config; only those given reach the result.

    Args:
        parser: Of the verb.
        names: The fields.
        defaults: The config whose values are shown as the defaults; if None, they are the model's.
    """
    group = parser.add_argument_group(
        "configuration",
        "The defaults are the model's."
        if defaults is None
        else f"Every field of the config. Lists are YAML. The defaults are of {DEFAULT_CONFIG}.",
    )
    described = descriptions(MaskRCNNConfig)
    values = {} if defaults is None else defaults.to_dict()
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in names:
            continue
        kind, metavar = _KINDS.get(field.type, (yaml_value, "LIST"))
        description = described[field.name]
        if field.name in values:
            default = yaml.safe_dump(values[field.name], default_flow_style=True)
            description += f" (default: {default.splitlines()[0]})"
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=kind,
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=description.replace("%", "%%"),
        )


def descriptions(described: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each of its fields."""
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", described.__doc__ or "", re.MULTILINE)
    return {
        name: " ".join(text.split())
        .rstrip(".")
        .replace("`BACKBONES`", ", ".join(BACKBONES))
        .replace("`", "")
        for name, text in entries
    }


def given_fields(args: argparse.Namespace) -> dict[str, typing.Any]:
    """The fields of the config that were given as options, by name."""
    return {name: value for name, value in vars(args).items() if name in FIELDS}


def yaml_value(text: str) -> typing.Any:
    """What the text means as YAML, or an error that argparse shows."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"not YAML: {text!r}") from None


def positive_int(text: str) -> int:
    """A whole number from 1 up, or an error that argparse shows."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def positive_float(text: str) -> float:
    """A number above 0, or an error that argparse shows."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return float(text)


_KINDS = {
    int: (int, "N"),
    float: (float, "X"),
    str: (str, "NAME"),
    bool: (yaml_value, "true|false"),
}
