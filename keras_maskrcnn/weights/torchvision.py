"""torchvision's checkpoints: Mask and Faster R-CNN of both versions, and ImageNet classifiers."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.weights.detectron import background_last
from keras_maskrcnn.weights.layout import Slot

NAME = "torchvision"
IGNORED = re.compile(r"num_batches_tracked$|^fc\.(weight|bias)$")
NORM_WEIGHTS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
PARTS = {
    "rpn.objectness": "rpn.head.cls_logits",
    "rpn.deltas": "rpn.head.bbox_pred",
    "box.fc1": "roi_heads.box_head.fc6",
    "box.fc2": "roi_heads.box_head.fc7",
    "box.classes": "roi_heads.box_predictor.cls_score",
    "box.deltas": "roi_heads.box_predictor.bbox_pred",
    "mask.deconv": "roi_heads.mask_predictor.conv5_mask",
    "mask.predictor": "roi_heads.mask_predictor.mask_fcn_logits",
}
# Each is a list of convolutions, the norm of each beside it; ours count from 1, pyramids from 2.
LISTS = {
    "fpn.lateral": ("backbone.fpn.inner_blocks", 2),
    "fpn.output": ("backbone.fpn.layer_blocks", 2),
    "rpn.conv": ("rpn.head.conv", 1),
    "box.conv": ("roi_heads.box_head", 1),
    "mask.conv": ("roi_heads.mask_head", 1),
}
OLD_BLOCKS = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")
OLD_MASK_HEAD = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")
OLD_RPN = re.compile(r"^rpn\.head\.conv\.(weight|bias)$")
FULLY_CONNECTED = re.compile(r"^roi_heads\.box_head\.\d+\.(weight|bias)$")
CLASSIFIER = re.compile(r"^(conv1|bn1|layer\d)\.")


def recognises(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the names of a detector with an FPN, or of a classifier."""
    detector = {"backbone.body.conv1.weight", "rpn.head.cls_logits.weight"}
    classifier = {"conv1.weight", "layer1.0.conv3.weight"}
    return detector <= tensors.keys() or classifier <= tensors.keys()


def prepare(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by the names of a version 1 detector in torchvision of today."""
    prepared = {}
    for name, tensor in tensors.items():
        name = OLD_BLOCKS.sub(r"\1.0.\2", name)
        name = OLD_MASK_HEAD.sub(
            lambda match: f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}", name
        )
        name = OLD_RPN.sub(r"rpn.head.conv.0.0.\1", name)
        name = FULLY_CONNECTED.sub(r"roi_heads.box_head.fc6.\1", name)
        prepared[CLASSIFIER.sub(r"backbone.body.\g<0>", name)] = tensor
    return prepared


def tensor_name(part: str, weight: str, neck: str) -> str:
    """The name of the tensor of a `Slot`."""
    conv, norm = _modules(part)
    if weight in NORM_WEIGHTS:
        return f"{norm}.{NORM_WEIGHTS[weight]}"
    return f"{conv}.{'weight' if weight == 'kernel' else weight}"


def _modules(part):
    """The names of a convolution, or a predictor, and of its norm."""
    if part in PARTS:
        return PARTS[part], None
    if part == "stem":
        return "backbone.body.conv1", "backbone.body.bn1"
    if part.startswith("res"):
        stage, block, conv = part.removeprefix("res").split(".")
        block = f"backbone.body.layer{int(stage) - 1}.{block}"
        if conv == "shortcut":
            return f"{block}.downsample.0", f"{block}.downsample.1"
        return f"{block}.{conv}", f"{block}.{conv.replace('conv', 'bn')}"
    name, number = re.fullmatch(r"(.*\D)(\d+)", part).groups()
    if name not in LISTS:
        return part, part
    modules, first = LISTS[name]
    return tuple(f"{modules}.{int(number) - first}.{i}" for i in (0, 1))


def adapt(slot: Slot, tensor: np.ndarray) -> np.ndarray:
    """The tensor with the background last; torchvision has it first."""
    return background_last(slot, tensor)


def settings(tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that torchvision's models agree on for `fields`."""
    backbone = {
        "stride_in_1x1": False,
        "norm_epsilon": 1e-5,
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375),
    }
    if "neck" not in fields:
        return backbone
    # A norm that counts batches trains. The frozen ones of the published detectors had no epsilon
    # when they were trained, and torchvision removes it as it loads them.
    trains = "backbone.body.bn1.num_batches_tracked" in tensors
    return {
        **backbone,
        "norm": "batch_norm" if trains else "frozen_batch_norm",
        "norm_epsilon": 1e-5 if trains else 0.0,
        "resize_style": "torchvision",
        "anchor_style": "torchvision",
        "mask_target_style": "torchvision",
        "roi_aligned": False,
        "roi_sampling_ratio": 2,
        "rpn_min_size": 1e-3,
        "box_min_size": 1e-2,
        "rpn_post_nms_top_n_train": 2000,
        "rpn_smooth_l1_beta": 1.0 / 9.0,
        "box_smooth_l1_beta": 1.0 / 9.0,
    }
