"""Detectron2's checkpoints: their names, their layouts, and the config that they imply."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.backbones.resnet import ARCHITECTURES
from keras_maskrcnn.weights.assign import Source

STEM = "backbone.bottom_up.stem.conv1"
# Buffers of Detectron2 that hold nothing learned; the config says the same.
IGNORED = re.compile(r"pixel_mean|pixel_std|anchor_generator\.|num_batches_tracked")


def recognises(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the names of a Detectron2 model with an FPN."""
    return f"{STEM}.weight" in tensors and "backbone.fpn_lateral2.weight" in tensors


def infer_config(tensors: Mapping[str, np.ndarray], origin: str) -> dict[str, Any]:
    """The fields of the config that the tensors' names and shapes determine.

    Raises:
        ValueError: The blocks of the stages are those of no known backbone.
    """
    blocks = tuple(
        _count(rf"backbone\.bottom_up\.res{i}\.(\d+)\.conv1\.weight", tensors) for i in range(2, 6)
    )
    conv2 = tensors["backbone.bottom_up.res2.0.conv2.weight"]
    groups = conv2.shape[0] // conv2.shape[1]
    width = tensors[f"{STEM}.weight"].shape[0]
    shape = (blocks, groups, conv2.shape[0] // width)
    names = [name for name, architecture in ARCHITECTURES.items() if tuple(architecture) == shape]
    if not names:
        raise ValueError(
            f"{origin}: no known backbone has {blocks} blocks a stage, {groups} groups and a "
            f"bottleneck of {conv2.shape[0]} channels on a stem of {width}."
        )
    config = {
        "backbone": names[0],
        "backbone_width": width,
        "neck": "fpn",
        "num_classes": tensors["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1,
        "fpn_channels": tensors["backbone.fpn_lateral2.weight"].shape[0],
        "box_head_units": _widths(r"roi_heads\.box_head\.fc\d+\.weight", tensors),
        "mask": "roi_heads.mask_head.predictor.weight" in tensors,
        "stride_in_1x1": groups == 1,
    }
    if groups > 1:  # Detectron2's ResNeXt models divide by the std of ImageNet
        config["pixel_std"] = (58.395, 57.12, 57.375)
    if config["mask"]:
        config["mask_head_channels"] = _widths(
            r"roi_heads\.mask_head\.mask_fcn\d+\.weight", tensors
        )
        config["mask_deconv_channels"] = tensors["roi_heads.mask_head.deconv.weight"].shape[1]
    return config


def ignored(tensors: Mapping[str, np.ndarray]) -> set[str]:
    """Names of the tensors that hold nothing learned."""
    return {name for name in tensors if IGNORED.search(name)}


def sources(model) -> list[Source]:
    """For each variable of `model`, the Detectron2 tensor that it comes from."""
    found = _backbone(model.backbone)
    for i, lateral, output in zip(
        range(2, 6), model.fpn.lateral, model.fpn.output_convs, strict=True
    ):
        found += _conv(lateral, f"backbone.fpn_lateral{i}")
        found += _conv(output, f"backbone.fpn_output{i}")
    rpn = "proposal_generator.rpn_head"
    found += _conv(model.rpn_head.conv, f"{rpn}.conv")
    found += _conv(model.rpn_head.objectness, f"{rpn}.objectness_logits")
    found += _conv(model.rpn_head.deltas, f"{rpn}.anchor_deltas")
    found += _box_head(model)
    if model.config.mask:
        found += _mask_head(model.mask_head)
    return found


def _backbone(backbone):
    # Detectron2 feeds BGR, this package RGB.
    found = _conv(backbone.stem, STEM, kernel=lambda kernel: _conv_kernel(kernel)[:, :, ::-1])
    for stage, blocks in enumerate(backbone.stages, start=2):
        for i, block in enumerate(blocks):
            prefix = f"backbone.bottom_up.res{stage}.{i}"
            for name in ("conv1", "conv2", "conv3", "shortcut"):
                conv = getattr(block, name)
                if conv is not None:
                    found += _conv(conv, f"{prefix}.{name}")
    return found


def _box_head(model):
    side, channels = model.config.box_pool_size, model.config.fpn_channels

    def flattened(kernel):  # (units, C * h * w) of features laid out C, h, w
        kernel = kernel.reshape(len(kernel), channels, side, side)
        return kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))

    found = []
    for i, layer in enumerate(model.box_head.fully_connected, start=1):
        kernel = flattened if i == 1 else np.transpose
        found += _dense(layer, f"roi_heads.box_head.fc{i}", kernel)
    found += _dense(model.box_head.classes, "roi_heads.box_predictor.cls_score")
    found += _dense(model.box_head.deltas, "roi_heads.box_predictor.bbox_pred")
    return found


def _mask_head(head):
    prefix = "roi_heads.mask_head"
    found = []
    for i, conv in enumerate(head.convs, start=1):
        found += _conv(conv, f"{prefix}.mask_fcn{i}")
    found += [
        # PyTorch keeps (in, out, h, w), Keras (h, w, out, in).
        Source(head.deconv.kernel, f"{prefix}.deconv.weight", _conv_kernel),
        Source(head.deconv.bias, f"{prefix}.deconv.bias", _same),
        Source(head.predictor_kernel, f"{prefix}.predictor.weight", lambda k: k[:, :, 0, 0]),
        Source(head.predictor_bias, f"{prefix}.predictor.bias", _same),
    ]
    return found


def _conv(layer, name, kernel=None):
    found = [Source(layer.kernel, f"{name}.weight", kernel or _conv_kernel)]
    if layer.norm is None:
        return [*found, Source(layer.bias, f"{name}.bias", _same)]
    parts = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    for ours, theirs in parts.items():
        if hasattr(layer.norm, ours):
            found.append(Source(getattr(layer.norm, ours), f"{name}.norm.{theirs}", _same))
    return found


def _dense(layer, name, kernel=np.transpose):
    return [
        Source(layer.kernel, f"{name}.weight", kernel),
        Source(layer.bias, f"{name}.bias", _same),
    ]


def _conv_kernel(kernel):
    """(out, in, h, w) as (h, w, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def _same(value):
    return value


def _count(pattern, tensors):
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def _widths(pattern, tensors):
    return [tensors[name].shape[0] for name in sorted(tensors) if re.fullmatch(pattern, name)]
