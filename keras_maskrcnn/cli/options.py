"""Options that several verbs share: the fields of the config, and what options may hold."""

import argparse
import dataclasses
import re
import typing

import yaml

from keras_maskrcnn.config import BACKBONES, MaskRCNNConfig

DEFAULT_CONFIG = "mask_rcnn_resnet50_fpn"


def add_fields(parser: argparse.ArgumentParser) -> None:
    """An option for each field of the config; only those that are given reach the result."""
    group = parser.add_argument_group(
        "configuration",
        f"Every field of the config. Lists are YAML. The defaults are those of {DEFAULT_CONFIG}.",
    )
    defaults, descriptions = MaskRCNNConfig(), _field_descriptions()
    for field in dataclasses.fields(MaskRCNNConfig):
        kind, metavar = _KINDS.get(field.type, (yaml_value, "LIST"))
        default = _plain(getattr(defaults, field.name))
        default = yaml.safe_dump(default, default_flow_style=True).split("\n")[0]
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=kind,
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=f"{descriptions.get(field.name, '')} (default: {default})".replace("%", "%%"),
        )


def _field_descriptions():
    """What the docstring of the config says of each field."""
    entries = re.findall(
        r"^ {8}(\w+): (.*(?:\n {12}.*)*)", MaskRCNNConfig.__doc__ or "", re.MULTILINE
    )
    return {
        name: " ".join(text.split())
        .rstrip(".")
        .replace("`BACKBONES`", ", ".join(BACKBONES))
        .replace("`", "")
        for name, text in entries
    }


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


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
