"""Checks of a config: the type of each field, and fields that contradict each other."""

import math
import typing
from collections.abc import Sequence


def convert(name: str, value: typing.Any, kind: typing.Any) -> typing.Any:
    """`value` as the type that the field `name` declares, where nothing is lost by it.

    Raises:
        ValueError: Something would be lost.
    """
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} must be a list, got {value!r}.")
        return tuple(convert(f"{name}[{i}]", item, item_kind) for i, item in enumerate(value))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and (whole or isinstance(value, float)) and math.isfinite(value):
        return float(value)
    if isinstance(value, kind) and (kind is not int or whole) and kind is not float:
        return value
    raise ValueError(f"{name} must be {_describe(kind)}, got {value!r}.")


def _describe(kind):
    return {int: "a whole number", float: "a finite number", bool: "true or false"}.get(
        kind, "text"
    )


def check_agreement(config) -> None:
    """Finds fields of a `MaskRCNNConfig` that are each possible but contradict each other.

    Raises:
        ValueError: The first contradiction found.
    """
    _check_ranges(config)
    _check_anchors(config)
    _check_groups(config)


def _check_ranges(config):
    if config.rpn_bg_iou_threshold > config.rpn_fg_iou_threshold:
        raise ValueError(
            f"rpn_bg_iou_threshold ({config.rpn_bg_iou_threshold}) must not exceed "
            f"rpn_fg_iou_threshold ({config.rpn_fg_iou_threshold})."
        )
    if config.image_min_size > config.image_max_size:
        raise ValueError(
            f"image_min_size ({config.image_min_size}) must not exceed "
            f"image_max_size ({config.image_max_size})."
        )
    if config.class_names and len(config.class_names) != config.num_classes:
        raise ValueError(
            f"class_names has {len(config.class_names)} names for num_classes={config.num_classes}."
        )


def _check_anchors(config):
    if len(config.anchor_sizes) != len(config.levels):
        raise ValueError(
            f"anchor_sizes needs one list a level ({', '.join(config.levels)}), "
            f"got {len(config.anchor_sizes)}."
        )
    counts = {len(sizes) for sizes in config.anchor_sizes}
    if len(counts) != 1 or min(min(sizes, default=0.0) for sizes in config.anchor_sizes) <= 0:
        raise ValueError(
            "anchor_sizes needs the same number of sizes above 0 on each level, "
            f"got {[list(sizes) for sizes in config.anchor_sizes]}."
        )


def _check_groups(config):
    channels = {"norm": [config.backbone_width], "head_norm": [config.fpn_channels]}
    channels["head_norm"] += [*config.box_head_channels, *config.mask_head_channels]
    for norm, widths in channels.items():
        if getattr(config, norm) == "group_norm" and any(width % 32 for width in widths):
            raise ValueError(
                f"{norm}='group_norm' has 32 groups: backbone_width ({config.backbone_width}), "
                f"fpn_channels ({config.fpn_channels}) must be multiples of 32, and so must "
                f"box_head_channels {list(config.box_head_channels)} and mask_head_channels "
                f"{list(config.mask_head_channels)}."
            )
    if config.backbone_width % 32 and config.backbone.startswith("resnext"):
        raise ValueError(
            f"{config.backbone} has 32 groups: backbone_width must be a multiple of 32, "
            f"got {config.backbone_width}."
        )
