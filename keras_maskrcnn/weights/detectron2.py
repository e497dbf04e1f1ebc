"""Detectron2's checkpoints: the names of their tensors, and what they imply."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.weights.layout import Slot

NAME = "Detectron2"
# Buffers that hold nothing learned; the config says the same.
IGNORED = re.compile(r"pixel_mean|pixel_std|anchor_generator\.|num_batches_tracked")
WEIGHTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "norm.weight",
    "beta": "norm.bias",
    "moving_mean": "norm.running_mean",
    "moving_variance": "norm.running_var",
}
PARTS = {
    "fpn.": "backbone.fpn_",
    "rpn.conv1": "proposal_generator.rpn_head.conv",
    "rpn.conv": "proposal_generator.rpn_head.conv.conv",
    "rpn.objectness": "proposal_generator.rpn_head.objectness_logits",
    "rpn.deltas": "proposal_generator.rpn_head.anchor_deltas",
    "box.classes": "roi_heads.box_predictor.cls_score",
    "box.deltas": "roi_heads.box_predictor.bbox_pred",
    "box.": "roi_heads.box_head.",
    "mask.conv": "roi_heads.mask_head.mask_fcn",
    "mask.": "roi_heads.mask_head.",
}


def recognises(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the names of a Detectron2 model with an FPN, or of a C4 one."""
    fpn = {"backbone.bottom_up.stem.conv1.weight", "backbone.fpn_lateral2.weight"}
    c4 = {"backbone.stem.conv1.weight", "roi_heads.res5.0.conv1.weight"}
    return fpn <= tensors.keys() or c4 <= tensors.keys()


def prepare(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors as they are."""
    return dict(tensors)


def tensor_name(part: str, weight: str, neck: str) -> str:
    """The name of the tensor of a `Slot` in a model with that neck."""
    if part.startswith(("stem", "res")):
        home = "backbone.bottom_up" if neck == "fpn" else "backbone"
        if neck == "c4" and part.startswith("res5"):
            home = "roi_heads"
        part = f"{home}.stem.conv1" if part == "stem" else f"{home}.{part}"
    else:
        ours = next(ours for ours in PARTS if part.startswith(ours))
        part = PARTS[ours] + part.removeprefix(ours)
    return f"{part}.{WEIGHTS[weight]}"


def adapt(slot: Slot, tensor: np.ndarray) -> np.ndarray:
    """The tensor for RGB pixels; Detectron2 feeds BGR."""
    return tensor[:, ::-1] if (slot.part, slot.weight) == ("stem", "kernel") else tensor


def settings(tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that Detectron2's baselines agree on for `fields`."""
    resnext = fields["backbone"].startswith("resnext")
    return {
        "stride_in_1x1": not resnext and fields.get("norm") != "group_norm",
        "norm_epsilon": 1e-5,
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375) if resnext else (1.0, 1.0, 1.0),
        "resize_style": "detectron2",
        "anchor_style": "detectron2",
        "roi_aligned": True,
        "rpn_min_size": 0.0,
        "box_min_size": 0.0,
    }
