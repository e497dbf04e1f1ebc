"""Detectron's checkpoints (Caffe2): the names of their blobs, and what they imply."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.weights.layout import Slot

NAME = "Detectron"
# Momenta of the solver, the classifier of ImageNet, and its first bias, which nothing used.
IGNORED = re.compile(r"_momentum$|^__preserve__/|^(fc1000|pred)_[wb]$|^conv1_b$|^lr$")
WEIGHTS = {
    "kernel": "w",
    "bias": "b",
    "gamma": "bn_s",
    "beta": "bn_b",
    "moving_mean": "bn_rm",
    "moving_variance": "bn_riv",
}
PARTS = {
    "stem": "conv1",
    "rpn.conv1": "conv_rpn",
    "rpn.objectness": "rpn_cls_logits",
    "rpn.deltas": "rpn_bbox_pred",
    "box.fc1": "fc6",
    "box.fc2": "fc7",
    "box.classes": "cls_score",
    "box.deltas": "bbox_pred",
    "mask.deconv": "conv5_mask",
    "mask.predictor": "mask_fcn_logits",
}
BRANCHES = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
# Names say the last block of a stage, the first level of a shared head, and the kind of norm.
REWRITTEN = (
    (re.compile(r"^fpn_inner_res(\d)_\d+_sum(_lateral)?_"), r"fpn_lateral\1_"),
    (re.compile(r"^fpn_res(\d)_\d+_sum_"), r"fpn_output\1_"),
    (re.compile(r"^(conv_rpn|rpn_cls_logits|rpn_bbox_pred)_fpn2_"), r"\1_"),
    (re.compile(r"^res_conv1_"), "conv1_"),
    (re.compile(r"_gn_([sb])$"), r"_bn_\1"),
)


def recognises(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the blobs of a ResNet or ResNeXt, with or without a detector."""
    return {"conv1_w", "res2_0_branch2a_w"} <= tensors.keys()


def prepare(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by rewritten names; an affine map becomes a norm of mean 0 and variance 1."""
    prepared = {}
    for name, tensor in tensors.items():
        rewritten = name
        for pattern, replacement in REWRITTEN:
            rewritten = pattern.sub(replacement, rewritten)
        prepared[rewritten] = tensor
        if name.endswith("_bn_s") and name.removesuffix("s") + "rm" not in tensors:
            layer = rewritten.removesuffix("_bn_s")
            prepared[f"{layer}_bn_rm"] = np.zeros_like(tensor)
            prepared[f"{layer}_bn_riv"] = np.ones_like(tensor)
    return prepared


def tensor_name(part: str, weight: str, neck: str) -> str:
    """The name of the blob of a `Slot`."""
    if part in PARTS:
        blob = PARTS[part]
    elif part.startswith("res"):
        stage, block, conv = part.split(".")
        blob = f"{stage}_{block}_{BRANCHES[conv]}"
    else:
        blob = part.replace("fpn.", "fpn_").replace("box.conv", "head_conv")
        blob = blob.replace("mask.conv", "_[mask]_fcn")
    return f"{blob}_{WEIGHTS[weight]}"


def adapt(slot: Slot, tensor: np.ndarray) -> np.ndarray:
    """The tensor for RGB pixels, and with the background last; Detectron has BGR and it first."""
    if (slot.part, slot.weight) == ("stem", "kernel"):
        return tensor[:, ::-1]
    return background_last(slot, tensor)


def background_last(slot: Slot, tensor: np.ndarray) -> np.ndarray:
    """The tensor of a predictor, its rows for class 0, the background, moved or dropped."""
    if slot.part == "box.classes":
        return np.roll(tensor, -1, axis=0)
    if slot.part == "mask.predictor" and len(tensor) == 1:  # of no class
        return tensor
    first = {"box.deltas": 4, "mask.predictor": 1}.get(slot.part, 0)
    return tensor[first:]


def settings(tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that Detectron's baselines agree on for `fields`."""
    resnet = fields["backbone"].startswith("resnet")
    backbone = {
        "stride_in_1x1": resnet and fields.get("norm") != "group_norm",
        # Affine maps: no variance to add to. Real statistics have Caffe2's default.
        "norm_epsilon": 0.0 if _is_affine(tensors) else 1e-5,
        "pixel_mean": (122.7717, 115.9465, 102.9801),
        "pixel_std": (1.0, 1.0, 1.0),
    }
    if "neck" not in fields:
        return backbone
    return {
        **backbone,
        "resize_style": "detectron2",
        "anchor_style": "detectron",
        "roi_aligned": False,
        "roi_sampling_ratio": 2 if fields["neck"] == "fpn" else 0,
        "rpn_min_size": 0.0,
        "box_min_size": 0.0,
        "rpn_smooth_l1_beta": 1.0 / 9.0,
        "box_smooth_l1_beta": 1.0,
    }


def _is_affine(tensors):
    variance = tensors.get("conv1_bn_riv")
    return variance is not None and bool(np.all(np.asarray(variance) == 1.0))
