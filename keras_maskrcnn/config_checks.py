"""Checks of a config: the type of each field, and fields that contradict each other."""

import math
import typing
from collections.abc import Mapping, Sequence

MOST_CHANNELS = 16
# With this width each of the 32 groups of stage 2 has one channel.
NARROWEST = {"resnext50_32x4d": 16, "resnext101_32x8d": 8}


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


def check_values(config, choices: Mapping[str, Sequence[str]]) -> None:
    """Finds fields of a `MaskRCNNConfig` whose value is impossible.

    Args:
        config: The config.
        choices: What the fields that name something may name.

    Raises:
        ValueError: The first such field found.
    """
    kinds = typing.get_type_hints(type(config))
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(
                f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}."
            )
    smallest = {name: 1 for name, kind in kinds.items() if kind is int}
    smallest |= {"freeze_at": 0, "roi_sampling_ratio": 0}
    smallest |= dict.fromkeys(("rpn_smooth_l1_beta", "box_smooth_l1_beta"), 0.0)
    smallest |= dict.fromkeys(("norm_epsilon", "rpn_min_size", "box_min_size"), 0.0)
    for name, low in smallest.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} must be at least {low}, got {getattr(config, name)}.")
    for name, high in (("freeze_at", 5), ("channels", MOST_CHANNELS)):
        if getattr(config, name) > high:
            raise ValueError(f"{name} must be at most {high}, got {getattr(config, name)}.")
    for name in kinds:
        value = getattr(config, name)
        if name.endswith(("_threshold", "_fraction")) and not 0 <= value <= 1:
            raise ValueError(f"{name} must be within 0..1, got {value}.")
    _check_lists(config)


def _check_lists(config):
    for name in (
        "anchor_aspect_ratios",
        "box_regression_weights",
        "pixel_std",
        "box_head_channels",
        "box_head_units",
        "mask_head_channels",
    ):
        values = getattr(config, name)
        may_be_empty = name == "box_head_channels" or (config.neck == "c4" and "_head_" in name)
        if (not values and not may_be_empty) or min(values, default=1) <= 0:
            raise ValueError(f"{name} needs values above 0, got {list(values)}.")
    of_pixels = (3, config.channels)  # of RGB, or one a channel
    lengths = {"pixel_mean": of_pixels, "pixel_std": of_pixels}
    for name, allowed in {**lengths, "pixel_range": (2,), "box_regression_weights": (4,)}.items():
        if len(getattr(config, name)) not in allowed:
            needed = " or ".join(map(str, dict.fromkeys(allowed)))
            raise ValueError(f"{name} needs {needed} values, got {len(getattr(config, name))}.")
    low, high = config.pixel_range
    if low >= high:
        raise ValueError(f"pixel_range needs the lowest value first, got {[low, high]}.")
    for i, value in enumerate(config.class_score_thresholds):
        if not 0 <= value <= 1:
            raise ValueError(f"class_score_thresholds[{i}] must be within 0..1, got {value}.")


def check_agreement(config) -> None:
    """Finds fields of a `MaskRCNNConfig` that are each possible but contradict each other.

    Raises:
        ValueError: The first contradiction found.
    """
    _check_ranges(config)
    _check_anchors(config)
    _check_groups(config)
    if config.class_agnostic_mask and config.mask_loss == "softmax":
        raise ValueError(
            "class_agnostic_mask leaves no classes that could compete in mask_loss='softmax': "
            "use mask_loss='sigmoid'."
        )


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
    thresholds = config.class_score_thresholds
    if thresholds and len(thresholds) != config.num_classes:
        raise ValueError(
            f"class_score_thresholds has {len(thresholds)} values for "
            f"num_classes={config.num_classes}: give one a class, or none."
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
    narrowest = NARROWEST.get(config.backbone, 1)
    if config.backbone_width % narrowest:
        raise ValueError(
            f"{config.backbone} has 32 groups: backbone_width must be a multiple of {narrowest}, "
            f"got {config.backbone_width}."
        )
