"""The weights of a model by the part that they belong to, and the config that tensors imply.

Every source of checkpoints names the same parts in its own way: `stem`, `res3.0.conv2`,
`fpn.lateral4`, `rpn.conv1`, `box.fc1`, `mask.deconv` and so on. Tensors are in PyTorch's layout.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_maskrcnn.backbones.resnet import ARCHITECTURES
from keras_maskrcnn.weights.assign import Source
from keras_maskrcnn.weights.transfer import spread_kernel

Transform = Callable[[np.ndarray], np.ndarray]
# (part, weight) as in `Slot` to the name of a tensor.
Naming = Callable[[str, str], str]
NORM_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")


class Slot(NamedTuple):
    """A variable of the model, and how a tensor in PyTorch's layout becomes its value."""

    variable: keras.Variable
    part: str
    weight: str  # kernel, bias, or one of NORM_WEIGHTS
    transform: Transform


def backbone_slots(model) -> list[Slot]:
    """The slots of the stem and the stages, stage 5 of C4 included."""
    kernel, *rest = _conv(model.backbone.stem, "stem")
    channels = model.config.stem_channels
    spread = kernel._replace(transform=lambda k: spread_kernel(_conv_kernel(k), channels))
    found = [spread, *rest]
    stages = list(model.backbone.stages)
    if model.config.neck == "c4":
        stages.append(model.res5.blocks)
    for stage, blocks in enumerate(stages, start=2):
        for i, block in enumerate(blocks):
            for name in ("conv1", "conv2", "conv3", "shortcut"):
                if getattr(block, name) is not None:
                    found += _conv(getattr(block, name), f"res{stage}.{i}.{name}")
    return found


def detector_slots(model) -> list[Slot]:
    """The slots of all that comes behind the backbone."""
    found = []
    if model.config.neck == "fpn":
        for i, (lateral, output) in enumerate(
            zip(model.fpn.lateral, model.fpn.output_convs, strict=True), start=2
        ):
            found += _conv(lateral, f"fpn.lateral{i}") + _conv(output, f"fpn.output{i}")
    for i, conv in enumerate(model.rpn_head.convs, start=1):
        found += _conv(conv, f"rpn.conv{i}")
    found += _conv(model.rpn_head.objectness, "rpn.objectness")
    found += _conv(model.rpn_head.deltas, "rpn.deltas")
    found += _box_head(model)
    if model.config.mask:
        found += _mask_head(model.mask_head)
    return found


def sources(model, source: types.ModuleType, whole: bool = True) -> list[Source]:
    """For each variable of a `MaskRCNN`, the tensor of a source that it comes from.

    Args:
        model: A `MaskRCNN`.
        source: The module of the source, e.g. `weights.detectron2`.
        whole: All of the model, or only its backbone.
    """
    return [
        Source(
            slot.variable,
            source.tensor_name(slot.part, slot.weight, model.config.neck),
            lambda tensor, slot=slot: slot.transform(source.adapt(slot, tensor)),
        )
        for slot in backbone_slots(model) + (detector_slots(model) if whole else [])
    ]


def _box_head(model):
    side = model.config.box_pool_size

    def flattened(kernel):  # (units, C * h * w) of features laid out C, h, w
        kernel = kernel.reshape(len(kernel), -1, side, side)
        return kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))

    head, found = model.box_head, []
    for i, conv in enumerate(head.convs, start=1):
        found += _conv(conv, f"box.conv{i}")
    for i, layer in enumerate(head.fully_connected, start=1):
        found += _layer(layer, f"box.fc{i}", flattened if i == 1 else np.transpose)
    found += _layer(head.classes, "box.classes", np.transpose)
    return found + _layer(head.deltas, "box.deltas", np.transpose)


def _mask_head(head):
    found = []
    for i, conv in enumerate(head.convs, start=1):
        found += _conv(conv, f"mask.conv{i}")
    # PyTorch keeps a transposed convolution as (in, out, h, w), Keras as (h, w, out, in).
    found += _layer(head.deconv, "mask.deconv", _conv_kernel)
    return [
        *found,
        Slot(head.predictor_kernel, "mask.predictor", "kernel", lambda kernel: kernel[:, :, 0, 0]),
        Slot(head.predictor_bias, "mask.predictor", "bias", np.asarray),
    ]


def _conv(layer, part):
    if layer.norm is None:
        return _layer(layer, part, _conv_kernel)
    norm = [
        Slot(getattr(layer.norm, weight), part, weight, np.asarray)
        for weight in NORM_WEIGHTS
        if hasattr(layer.norm, weight)
    ]
    return [Slot(layer.kernel, part, "kernel", _conv_kernel), *norm]


def _layer(layer, part, kernel):
    return [Slot(layer.kernel, part, "kernel", kernel), Slot(layer.bias, part, "bias", np.asarray)]


def _conv_kernel(kernel):
    """(out, in, h, w) as (h, w, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def infer_backbone(tensors: Mapping[str, np.ndarray], name: Naming) -> dict[str, Any]:
    """The fields of the config that the tensors of a backbone determine.

    Raises:
        ValueError: The blocks of the stages are those of no known backbone.
    """
    stages = (_count(tensors, name, f"res{i}.{{}}.conv1", first=0) for i in range(2, 6))
    blocks = tuple(stages)
    conv2 = tensors[name("res2.0.conv2", "kernel")]
    width = len(tensors[name("stem", "kernel")])
    groups = len(conv2) // conv2.shape[1]
    shape = (blocks, groups, len(conv2) // width)
    names = [known for known, architecture in ARCHITECTURES.items() if tuple(architecture) == shape]
    if not names:
        raise ValueError(
            f"no known backbone has {blocks} blocks a stage, {groups} groups and a bottleneck of "
            f"{len(conv2)} channels on a stem of {width}"
        )
    fields = {"backbone": names[0], "backbone_width": width}
    if name("stem", "moving_mean") not in tensors:
        fields["norm"] = "group_norm"
    return fields


def infer_detector(tensors: Mapping[str, np.ndarray], name: Naming) -> dict[str, Any]:
    """The fields of the config that the tensors behind the backbone determine."""
    fields: dict[str, Any] = {
        "num_classes": len(tensors[name("box.classes", "kernel")]) - 1,
        "mask": name("mask.predictor", "kernel") in tensors,
        "rpn_conv_depth": _count(tensors, name, "rpn.conv{}"),
        "box_head_channels": _widths(tensors, name, "box.conv{}"),
        "box_head_units": _widths(tensors, name, "box.fc{}"),
    }
    if name("fpn.lateral2", "kernel") in tensors:
        fields["neck"] = "fpn"
        fields["fpn_channels"] = len(tensors[name("fpn.lateral2", "kernel")])
        fields["head_norm"] = _norm(tensors, name, "fpn.lateral2")
    else:
        fields["neck"] = "c4"
    if fields["mask"]:
        # Nobody publishes masks of a softmax; of one class both kinds of masks are the same.
        masks = len(tensors[name("mask.predictor", "kernel")])
        fields["mask_loss"] = "sigmoid"
        fields["class_agnostic_mask"] = masks == 1 < fields["num_classes"]
        fields["mask_head_channels"] = _widths(tensors, name, "mask.conv{}")
        fields["mask_deconv_channels"] = tensors[name("mask.deconv", "kernel")].shape[1]
    return fields


def _norm(tensors, name, part):
    if name(part, "moving_mean") in tensors:
        return "batch_norm"
    return "group_norm" if name(part, "gamma") in tensors else "none"


def _count(tensors, name, part, first=1):
    number = 0
    while name(part.format(number + first), "kernel") in tensors:
        number += 1
    return number


def _widths(tensors, name, part):
    number = _count(tensors, name, part)
    return [len(tensors[name(part.format(i), "kernel")]) for i in range(1, number + 1)]
